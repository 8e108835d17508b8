# SPDX-License-Identifier: Apache-2.0
"""One of many publishers at once.

``python storm_publisher.py REPOSITORY NAME TIMES MODEL…`` says ``ready``, waits for a line, publishes versions of
the models in turn, and prints ``MODEL VERSION WORDS`` for each, the words being the file's content.
"""

import sys
from pathlib import Path

from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, next_version, publish, staging


def staged(directory: ModelDirectory, version: int, words: str) -> StagedModel:
    folder = directory.version_path(version)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text(words)
    write_provenance(directory.provenance_path(version), {"model": directory.name, "files": digests_of(folder)})
    directory.config_path.write_text(
        f'name: "{directory.name}"\nbackend: "onnxruntime"\nversion_policy {{ latest {{ num_versions: 1 }} }}\n'
    )
    return StagedModel(directory=directory, version=version)


def publish_once(repository: ModelRepository, model: str, words: str) -> int:
    with staging(repository) as stage:
        version = next_version(repository.model(model))
        return publish([staged(stage.repository.model(model), version, words)], repository, renumber=True)


def main(repository: ModelRepository, name: str, times: int, models: list[str]) -> None:
    print("ready", flush=True)  # noqa: T201 - whoever starts it waits for that
    sys.stdin.readline()
    for turn in range(times):
        model, words = models[turn % len(models)], f"{name}-{turn}"
        print(model, publish_once(repository, model, words), words, flush=True)  # noqa: T201 - what it is run for


if __name__ == "__main__":
    main(ModelRepository(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
