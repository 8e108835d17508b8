# SPDX-License-Identifier: Apache-2.0
"""A program that makes one change of a repository, to be cut off: ``python one_change.py REPOSITORY CHANGE``."""

import sys
from collections.abc import Callable
from pathlib import Path

from repo_tool.errors import RepoToolError
from repo_tool.repository.labels import move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import publish, rewrite, staging
from repo_tool.workflows.remove_versions import remove_model, remove_version
from support.storm_publisher import publish_once, staged


def publish_two(repository: ModelRepository) -> None:
    """A further version of one model, and a new model."""
    with staging(repository) as stage:
        models = [staged(stage.repository.model(name), 3, f"{name} 3") for name in ("churn", "new")]
        publish(models, repository)


def move_label(repository: ModelRepository) -> None:
    move(repository, "churn", "canary", 2)


def remove_a_version(repository: ModelRepository) -> None:
    remove_version(repository, "churn", 1)


def remove_a_model(repository: ModelRepository) -> None:
    remove_model(repository, "wine")


def configure_two(repository: ModelRepository) -> None:
    paths = [f"{name}/config.pbtxt" for name in ("churn", "wine")]
    texts = {path: (repository.path / path).read_text() for path in paths}
    rewrite(repository, {path: (text, text + "max_batch_size: 8\n") for path, text in texts.items()})


CHANGES: dict[str, Callable[[ModelRepository], None]] = {
    "publish two": publish_two,
    "move a label": move_label,
    "remove a version": remove_a_version,
    "remove a model": remove_a_model,
    "configure two": configure_two,
}


def make_repository(repository: ModelRepository) -> None:
    """Two models with two versions each, and one with a label."""
    for name in ("churn", "churn", "wine", "wine", "fraud"):
        publish_once(repository, name, name)
    move(repository, "fraud", "stable", 1)


def main(repository: ModelRepository, change: str) -> int:
    """0 done, 2 refused."""
    try:
        CHANGES[change](repository)
    except (OSError, RepoToolError) as error:
        print(repr(error), file=sys.stderr)  # noqa: T201 - what failed
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(ModelRepository(Path(sys.argv[1])), sys.argv[2]))
