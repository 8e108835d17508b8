# SPDX-License-Identifier: Apache-2.0
"""The worker process of ``read_pipeline_source``: walls first, then the person's Python file, one answer, and gone."""

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repo_tool import sandbox

if TYPE_CHECKING:
    from repo_tool.errors import PipelineError
    from repo_tool.pipelines import Pipeline


def main(folder: Path, *, memory_bytes: int, cpu_s: int) -> None:
    """Answer the job left in ``folder``; an exception that is not ours ends the process."""
    sandbox.enter([folder], memory_bytes=memory_bytes, cpu_s=cpu_s)

    from repo_tool.errors import RepoToolError  # only now, since NumPy starts threads, which walls do not reach

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        answer: dict[str, Any] = {"pipeline": _found(job["name"], _run(Path(job["file"])), job["file"]).to_dict()}
    except RepoToolError as error:
        answer = {"error": error.to_dict()}
    partial = folder / "answer.partial"
    partial.write_text(json.dumps(answer), encoding="utf-8")
    partial.rename(folder / "answer.json")  # a worker that dies while writing has not answered


def _run(file: Path) -> dict[str, Any]:
    """What the file defines, imported as a module of its own folder."""
    import importlib.util

    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None  # noqa: S101 # it ends in .py
    assert spec.loader is not None  # noqa: S101 # so it has one
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a person's code raises anything
        raise _failed(file, error) from error
    return vars(module)


def _failed(file: Path, error: Exception) -> "PipelineError":
    from repo_tool.errors import PipelineError, RepoToolError

    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"'{file.name}', line {line}" if line else f"'{file.name}'"
    if isinstance(error, RepoToolError):
        return PipelineError(f"{place}: {error.fact}", cause=error.cause, next_step=error.next_step)
    return PipelineError(
        f"{place} fails: {type(error).__name__}", cause=str(error), next_step=f"run it: python {file.name}"
    )


def _found(name: str, values: dict[str, Any], file: str) -> "Pipeline":
    from repo_tool.errors import PipelineError
    from repo_tool.near_names import did_you_mean
    from repo_tool.pipelines import Pipeline

    pipelines = {key: value for key, value in values.items() if isinstance(value, Pipeline)}
    if name in pipelines:
        return pipelines[name]
    if not name and len(pipelines) == 1:
        return next(iter(pipelines.values()))
    known = ", ".join(pipelines) or "none"
    what = f"no pipeline '{name}'" if name else "several pipelines" if pipelines else "no pipeline"
    raise PipelineError(
        f"'{Path(file).name}' holds {what}",
        cause=f"it holds {known}",
        next_step=did_you_mean(name, pipelines) or f"name one: {Path(file).name}:{next(iter(pipelines), 'name')}",
    )


if __name__ == "__main__":
    sandbox.die_with(int(sys.argv[1]))
    main(Path(sys.argv[2]), memory_bytes=int(sys.argv[3]), cpu_s=int(sys.argv[4]))
