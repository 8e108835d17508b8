# SPDX-License-Identifier: Apache-2.0
"""A pipeline by what a person names: a pipeline file, ``file.py:name``, or one that is published."""

__all__ = ["published_version", "read_pipeline_source"]

import json
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError, PipelineError, RepositoryError, error_from_dict
from repo_tool.importers.foreign import refusing
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.spec import PUBLISHED_NAME, PipelineFile, read_pipeline
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.worker_process import left_by_worker, run_worker, what_it_died_of

_TIMEOUT_S = 120
_WORKER = ("-m", "repo_tool.workflows._pipeline_worker")


def read_pipeline_source(source: str | Path, repository: ModelRepository | None = None) -> PipelineFile:
    """The pipeline in a YAML or JSON file, in ``file.py`` or ``file.py:name``, or published in ``repository``.

    A Python file is evaluated in a walled process of its own.

    Raises:
        PipelineError: there is none of that name, or it is not of the form of a pipeline.
    """
    file, _, name = str(source).rpartition(":") if ".py:" in str(source) else (str(source), "", "")
    if file.endswith(".py"):
        return _from_python(Path(file), name)
    if Path(file).is_file():
        return read_pipeline(Path(file))
    if repository is not None and (version := published_version(file, repository)) is not None:
        return read_pipeline(repository.model(file).version_path(version) / PUBLISHED_NAME)
    raise _unknown(file, repository)


def published_version(name: str, repository: ModelRepository) -> int | None:
    """The version of the pipeline called ``name`` that answers requests, also after a rollback.

    The newest where its ``config.pbtxt`` serves none that is there; None where what it serves is no pipeline.
    """
    if Path(name).name != name or not (repository.path / name).is_dir():
        return None
    model = repository.model(name)
    there = model.versions()
    candidates = _served(model, there) or there
    newest = max(candidates, default=None)
    return newest if newest is not None and (model.version_path(newest) / PUBLISHED_NAME).is_file() else None


def _served(model: ModelDirectory, there: tuple[int, ...]) -> tuple[int, ...]:
    try:
        policy = model.read_config().version_policy
    except (RepositoryError, ConfigError):
        return ()
    return tuple(version for version in served_versions(policy, there) if version in there)


def _unknown(file: str, repository: ModelRepository | None) -> PipelineError:
    models = [] if repository is None or not repository.path.is_dir() else [each.name for each in repository.models()]
    known = [name for name in models if repository and published_version(name, repository)]
    if file in models:
        return PipelineError(
            f"model '{file}' was not published as a pipeline",
            cause=f"there is no {PUBLISHED_NAME} in the version that is served",
            next_step="give a pipeline file, or add it again with repo-tool add-pipeline",
        )
    return PipelineError(
        f"there is no pipeline '{file}'",
        cause=f"neither a file of that name nor a pipeline in '{repository.path}'" if repository else "no such file",
        next_step=did_you_mean(file, known) or "give the path of a pipeline file",
    )


def _from_python(file: Path, name: str) -> PipelineFile:
    if not file.is_file():
        raise PipelineError(f"there is no file '{file}'", next_step="give the path of a Python file")
    with TemporaryDirectory(prefix="repo-tool-pipeline-") as folder, TemporaryFile() as log:
        job = {"file": str(file.resolve()), "name": name}
        (Path(folder) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        status = _evaluate(file, Path(folder), log)
        pipeline = _read_answer(Path(folder))
        if pipeline is None:
            raise PipelineError(
                f"the process that evaluated '{file}' died",
                cause=what_it_died_of(status, log),
                next_step=f"run it yourself: python {file}",
            )
    found = pipeline.found_in(file.parent)
    for asset in found.file_names:
        found.file(asset)
    return found


def _evaluate(file: Path, folder: Path, log: IO[bytes]) -> int:
    try:
        return run_worker(_WORKER, folder, log, timeout_s=_TIMEOUT_S)
    except TimeoutError as error:
        raise PipelineError(
            f"'{file}' took longer than {_TIMEOUT_S} s",
            cause="a file that describes a pipeline is run to its end",
            next_step="leave the training out of it, e.g. under `if __name__ == '__main__':`",
        ) from error


def _read_answer(folder: Path) -> PipelineFile | None:
    text = left_by_worker(folder / "answer.json")
    if text is None:
        return None
    # Code in the file may have written the answer.
    with refusing("the process of the file left no answer that reads", next_step="run it again", kind=PipelineError):
        answer: dict[str, Any] = json.loads(text)
        if "error" in answer:
            raise error_from_dict(answer["error"])
        return PipelineFile.model_validate(answer["pipeline"])
