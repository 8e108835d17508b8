# SPDX-License-Identifier: Apache-2.0
"""The worker process of `repo_tool.pipelines.foreign`: walls first, then a step's own file, one question, and gone.

It is run as a file: importing the package that it lies in would start NumPy's threads, which walls do not reach.
"""

__all__ = ["decoded", "encoded"]

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repo_tool import sandbox


def encoded(value: Any) -> Any:
    """As JSON; a file is ``{"file": path}``."""
    if isinstance(value, Path):
        return {"file": str(value.absolute())}
    if isinstance(value, Mapping):
        return {key: encoded(inner) for key, inner in value.items()}
    return [encoded(inner) for inner in value] if isinstance(value, list | tuple) else value


def decoded(value: Any) -> Any:
    """What ``encoded`` was given."""
    if isinstance(value, dict):
        is_file = set(value) == {"file"} and isinstance(value["file"], str)
        return Path(value["file"]) if is_file else {key: decoded(each) for key, each in value.items()}
    return [decoded(each) for each in value] if isinstance(value, list) else value


def main(folder: Path, *, memory_bytes: int, cpu_s: int) -> None:
    """Answer the question left in ``folder``; an exception that is not the step's ends the process."""
    sandbox.enter([folder], memory_bytes=memory_bytes, cpu_s=cpu_s)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    answer: dict[str, Any]
    try:
        answer = {"answer": _QUESTIONS[job["question"]](_load(Path(job["file"]), job["class"]), job, folder)}
    except _Refusal as refusal:
        answer = {"refused": str(refusal)}
    except Exception as error:  # noqa: BLE001 - a person's code raises anything
        answer = {"failed": f"{type(error).__name__}: {error}"}
    partial = folder / "answer.partial"
    partial.write_text(json.dumps(answer), encoding="utf-8")
    partial.rename(folder / "answer.json")  # a worker that dies while writing has not answered


class _Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """What the step says against its parameters, its inputs or a row."""


def _load(path: Path, name: str) -> type[Any]:
    import importlib.util

    own_name = f"step_{path.stem}"  # as in the generated model: copy.py is not Python's `copy`
    spec = importlib.util.spec_from_file_location(own_name, path)
    assert spec is not None  # noqa: S101 - it ends in .py
    assert spec.loader is not None  # noqa: S101 - so it has one
    module = sys.modules[own_name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)  # type: ignore[no-any-return]  # whatever the file has


def _describe(code: type[Any], _: Mapping[str, Any], __: Path) -> dict[str, Any]:
    """What a step's class says of itself."""
    import dataclasses
    import inspect

    import pydantic

    if not dataclasses.is_dataclass(code):
        raise _Refusal("the class is not a dataclass, whose fields are the step's parameters")
    missing = [name for name in ("run", "outputs") if not callable(getattr(code, name, None))]
    if missing:
        raise _Refusal(f"it has no method {missing[0]}")
    contract: Any = code
    run = list(inspect.signature(contract.run).parameters.values())[1:]
    unset = dataclasses.MISSING
    return {
        "fields": {
            field.name: field.default is unset and field.default_factory is unset
            for field in dataclasses.fields(code)
            if field.init
        },
        "schema": pydantic.TypeAdapter(code).json_schema(),
        "inputs": [each.name for each in run if each.kind is not inspect.Parameter.VAR_KEYWORD],
        "packages": list(getattr(code, "packages", ())),
        "heavy": bool(getattr(code, "heavy", False)),
        "about": inspect.getdoc(code) or "",
    }


def _make(code: type[Any], job: Mapping[str, Any], _: Path) -> dict[str, Any]:
    """All parameters, the others at their defaults, and the names of its inputs where it tells them itself."""
    import dataclasses

    made = _made(code, job)
    values = {field.name: encoded(getattr(made, field.name)) for field in dataclasses.fields(made) if field.init}
    return {"parameters": values, "input_names": list(made.input_names()) if hasattr(made, "input_names") else None}


def _outputs(code: type[Any], job: Mapping[str, Any], _: Path) -> dict[str, Any]:
    wires = {name: (datatype, tuple(dims)) for name, (datatype, dims) in job["wires"].items()}
    made = _made(code, job)
    try:
        return {name: [datatype, list(dims)] for name, (datatype, dims) in made.outputs(wires).items()}
    except ValueError as error:
        raise _Refusal(str(error)) from error


def _run(code: type[Any], job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Arrays come and go by ``tensor``, or by ``tensor/row`` where a dim is free."""
    from repo_tool.samples import Sample, read_published_sample, write_published_sample

    stored = read_published_sample(folder / "inputs.npz").inputs
    tensors = {
        name: stored[name] if rows is None else [stored[f"{name}/{row}"] for row in range(rows)]
        for name, rows in job["rows"].items()
    }
    try:
        results = _made(code, job).run(**tensors)
    except ValueError as error:
        raise _Refusal(str(error)) from error
    found: dict[str, Any] = {}
    for name, value in results.items():
        rows = {f"{name}/{row}": each for row, each in enumerate(value)} if isinstance(value, list) else {name: value}
        found |= {key: _array(each) for key, each in rows.items()}
    write_published_sample(folder / "outputs.npz", Sample(inputs={}, outputs=found), compress=False)
    return {name: len(value) if isinstance(value, list) else None for name, value in results.items()}


def _made(code: type[Any], job: Mapping[str, Any]) -> Any:
    import pydantic

    try:
        return pydantic.TypeAdapter(code).validate_python(
            {name: decoded(value) for name, value in job["parameters"].items()}
        )
    except pydantic.ValidationError as error:
        raise _Refusal("; ".join(_problem(each) for each in error.errors())) from error


def _problem(error: Mapping[str, Any]) -> str:
    place = ".".join(map(str, error["loc"])) or "together"
    return f"{place}: {error['msg'].lower().removeprefix('value error, ')}"


def _array(value: Any) -> Any:
    import numpy as np

    from repo_tool.samples import as_bytes

    array = np.asarray(value)
    return as_bytes(array) if array.dtype.kind in "OUS" else np.ascontiguousarray(array)


_QUESTIONS = {"describe": _describe, "make": _make, "outputs": _outputs, "run": _run}


if __name__ == "__main__":
    sandbox.die_with(int(sys.argv[1]))
    main(Path(sys.argv[2]), memory_bytes=int(sys.argv[3]), cpu_s=int(sys.argv[4]))
