# SPDX-License-Identifier: Apache-2.0
"""The worker process of ``ask_reference``: walls first, then the function, row after row, and gone."""

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repo_tool import sandbox

if TYPE_CHECKING:
    from repo_tool.samples import Array, Tensors

_ANNOTATED = {str: "text", "str": "text", bytes: "bytes", "bytes": "bytes", dict: "document", "dict": "document"}
_ONE_VALUE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def main(folder: Path, *, memory_bytes: int, cpu_s: int) -> None:
    """Answer the job left in ``folder``; an exception that is not ours ends the process."""
    sandbox.enter([folder], memory_bytes=memory_bytes, cpu_s=cpu_s)

    from repo_tool.errors import RepoToolError  # only now, since NumPy starts threads, which walls do not reach

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        answer: dict[str, Any] = {"wires": _answer_rows(job, folder)}
    except RepoToolError as error:
        answer = {"error": error.to_dict()}
    partial = folder / "answer.partial"
    partial.write_text(json.dumps(answer), encoding="utf-8")
    partial.rename(folder / "answer.json")  # a worker that dies while writing has not answered


def _answer_rows(job: Mapping[str, Any], folder: Path) -> list[str]:
    from repo_tool.samples import Sample, read_published_sample, write_published_sample
    from repo_tool.workflows.reference import ROWS_A_FILE

    inputs = read_published_sample(folder / "sample.npz").inputs
    function = _load(job)
    forms = _forms(job, function, inputs)
    wires: list[str] = []
    with (folder / "done").open("ab", buffering=0) as done:
        for start in range(0, job["rows"], ROWS_A_FILE):
            stored: dict[str, Array] = {}
            for row in range(start, min(start + ROWS_A_FILE, job["rows"])):
                arrays = _call(job, function, inputs, forms, row)
                wires = wires or list(arrays)
                _require_the_same(job, wires, arrays, row)
                stored |= {f"{row - start}/{wire}": array for wire, array in arrays.items()}
                done.write(b".")
            write_published_sample(folder / f"rows-{start}.npz", Sample(inputs={}, outputs=stored), compress=False)
    return wires


def _require_that_file(job: Mapping[str, Any], module: Any) -> None:
    """A file called like a module of Python's own would not be the one that is imported."""
    from repo_tool.errors import PipelineError

    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != Path(job["file"]):
        raise PipelineError(
            f"'{job['source']}' is not what Python imports as '{job['module']}'",
            cause=f"that is {found or 'a module of Python itself'}",
            next_step="give the file another name",
        )


def _load(job: Mapping[str, Any]) -> Callable[..., Any]:
    import importlib
    import importlib.util

    from repo_tool.errors import PipelineError
    from repo_tool.importers.foreign import refusing

    sys.path.insert(0, job["root"])
    with refusing(
        f"'{job['source']}' cannot be imported", next_step="import it in Python yourself", kind=PipelineError
    ):
        module = importlib.import_module(job["module"])
    _require_that_file(job, module)
    found = getattr(module, job["function"], None)
    if not callable(found):
        raise PipelineError(
            f"'{job['source']}' is no function",
            cause=f"'{job['module']}' has {'nothing' if found is None else type(found).__name__} of that name",
            next_step="check the name after the colon",
        )
    return found  # type: ignore[no-any-return]  # whatever a person's module has


def _forms(job: Mapping[str, Any], function: Callable[..., Any], inputs: "Tensors") -> dict[str, str]:
    """Which inputs the function takes, and how it wants its BYTES."""
    from repo_tool.errors import PipelineError

    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {name for name, parameter in parameters.items() if parameter.kind not in _ONE_VALUE}
    needed = {
        name
        for name in named
        if parameters[name].default is inspect.Parameter.empty
        and parameters[name].kind is not inspect.Parameter.VAR_KEYWORD
    }
    if needed - set(inputs) or not (takes_all or named & set(inputs)):
        raise PipelineError(
            f"'{job['source']}' does not take the pipeline's inputs",
            cause=f"it takes {', '.join(parameters) or 'nothing'}; the inputs are {', '.join(inputs)}",
            next_step="call its parameters as the inputs are called",
        )
    return {
        name: _ANNOTATED.get(parameters[name].annotation if name in parameters else None, job["forms"].get(name, ""))
        for name in inputs
        if takes_all or name in named
    }


def _call(
    job: Mapping[str, Any], function: Callable[..., Any], inputs: "Tensors", forms: Mapping[str, str], row: int
) -> dict[str, "Array"]:
    from repo_tool.errors import PipelineError
    from repo_tool.importers.foreign import refusing

    arguments = {name: _value(inputs[name][row], form) for name, form in forms.items()}
    with refusing(
        f"'{job['source']}' fails on row {row}",
        next_step="call it with that row in Python; a BYTES input comes as text where its parameter says `: str`",
        kind=PipelineError,
    ):
        answer = function(**arguments)
        named = answer if isinstance(answer, Mapping) else {"": answer}
        return {str(wire): _plain(value) for wire, value in named.items()}


def _value(array: "Array", form: str) -> Any:
    """A scalar for one value, an array for more."""
    if array.dtype == object:
        array = _formed(array, form)
    return array.item() if array.size == 1 and array.ndim <= 1 else array


def _formed(array: "Array", form: str) -> "Array":
    import numpy as np

    if form not in ("text", "document"):
        return array
    read: Callable[[bytes], Any] = bytes.decode if form == "text" else json.loads
    values = np.empty(array.size, dtype=object)
    values[:] = [read(value) for value in array.ravel()]
    return values.reshape(array.shape)


def _plain(value: Any) -> "Array":
    """A numpy array of numbers, or of bytes.

    Raises:
        ValueError: it is none.
    """
    import numpy as np

    from repo_tool.samples import as_bytes

    detached = value.detach().cpu() if hasattr(value, "detach") else value  # a torch tensor that may need gradients
    array = np.asarray(detached)
    if array.dtype.kind in "OUS" and all(isinstance(each, str | bytes) for each in array.ravel().tolist()):
        return as_bytes(array)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"it answers {type(value).__name__}, which makes an array of {array.dtype}")
    return np.ascontiguousarray(array)


def _require_the_same(job: Mapping[str, Any], wires: list[str], arrays: Mapping[str, "Array"], row: int) -> None:
    from repo_tool.errors import PipelineError

    if set(wires) != set(arrays) or not arrays:
        raise PipelineError(
            f"'{job['source']}' answers other wires for row {row} than for row 0",
            cause=f"{', '.join(arrays) or 'none'} instead of {', '.join(wires)}",
            next_step="answer the same for every row",
        )


if __name__ == "__main__":
    sandbox.die_with(int(sys.argv[1]))
    main(Path(sys.argv[2]), memory_bytes=int(sys.argv[3]), cpu_s=int(sys.argv[4]))
