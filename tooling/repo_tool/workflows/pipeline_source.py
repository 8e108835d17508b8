# SPDX-License-Identifier: Apache-2.0
"""A pipeline by what a person names: a pipeline file, ``file.py:name``, or one that is published."""

__all__ = ["published_version", "read_pipeline_source"]

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from repo_tool.environment import without_credentials
from repo_tool.errors import PipelineError, error_from_dict
from repo_tool.importers.foreign import refusing
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.spec import PUBLISHED_NAME, PipelineFile, read_pipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.sandbox import memory_limit

_TIMEOUT_S = 120
_LOG_BYTES = 2**12


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
    """The newest version of the pipeline called ``name`` in the repository; None where there is no such pipeline."""
    if Path(name).name != name or not (repository.path / name).is_dir():
        return None
    model = repository.model(name)
    found = [version for version in model.versions() if (model.version_path(version) / PUBLISHED_NAME).is_file()]
    return max(found, default=None)


def _unknown(file: str, repository: ModelRepository | None) -> PipelineError:
    models = [] if repository is None or not repository.path.is_dir() else [each.name for each in repository.models()]
    known = [name for name in models if repository and published_version(name, repository)]
    if file in models:
        return PipelineError(
            f"model '{file}' was not published as a pipeline",
            cause=f"there is no {PUBLISHED_NAME} in its versions",
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
        status = _run_worker(file, Path(folder), log)
        answer = _read_answer(Path(folder))
        if answer is None:
            raise _died(file, status, log)
    pipeline = PipelineFile.model_validate(answer["pipeline"]).found_in(file.parent)
    for asset in pipeline.file_names:
        pipeline.file(asset)
    return pipeline


def _run_worker(file: Path, folder: Path, log: IO[bytes]) -> int:
    # -P: a file in the caller's folder called like a package must not shadow it.
    command = [sys.executable, "-P", "-m", "repo_tool.workflows._pipeline_worker", str(os.getpid()), str(folder)]
    command += [str(memory_limit()), str(_TIMEOUT_S * (os.cpu_count() or 1))]
    worker = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return worker.wait(_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise PipelineError(
            f"'{file}' took longer than {_TIMEOUT_S} s",
            cause="a file that describes a pipeline is run to its end",
            next_step="leave the training out of it, e.g. under `if __name__ == '__main__':`",
        ) from error
    finally:
        with suppress(ProcessLookupError):  # the group also holds what the file may have started
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return without_credentials(os.environ) | kept | {"TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def _read_answer(folder: Path) -> Mapping[str, Any] | None:
    path = folder / "answer.json"
    if not path.is_file():
        return None
    with refusing("the process of the file left no answer that reads", next_step="run it again", kind=PipelineError):
        answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        error = error_from_dict(answer["error"]) if "error" in answer else None
    if error is not None:
        raise error
    return answer


def _died(file: Path, status: int, log: IO[bytes]) -> PipelineError:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
    printed = "\n".join(f"  {line}" for line in log.read().decode(errors="replace").splitlines()[-8:])
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    return PipelineError(
        f"the process that evaluated '{file}' died",
        cause=f"it ended with {ended}; the last it printed:\n{printed}" if printed else f"it ended with {ended}",
        next_step=f"run it yourself: python {file}",
    )
