# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that runs the processing steps named in its configuration, one after another.

Copied as ``model.py`` into the version folder, with the steps' own files in ``steps/`` and the files of their
parameters in ``assets/`` beside it; it needs numpy, and whatever the steps import. Parameters of ``config.pbtxt``, all
JSON, say what it does:

``steps``
    A list of ``{step, file, class, parameters, inputs, outputs}``: the name that messages give it, where its code is,
    and which wire is which of the step's own tensors. A parameter ``{"file": "assets/words.txt"}`` is that file of the
    version folder, as a ``Path``.
``wires``
    ``{wire: [datatype, dims]}`` of every wire, as on Triton's own wire and for one row.
``passed``
    ``{output: input}`` of what is answered as it came, once all steps have accepted it; there may be none.

The rows of a wire whose dims are all fixed are one array; where a dim is free (-1) they are a list of arrays, one for
each row, so that the images of a batch may differ in size; they are stacked where they leave the model.
"""

import asyncio  # noqa: F401  # Triton's stub imports it at the first request, which would wait for 50 ms
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

Rows = NDArray[Any] | list[NDArray[Any]]
Tensors = dict[str, Rows]  # by wire
RowNames = Sequence[str]  # how a message calls each row: "row 3", and inside a block "row 3, item 0"
Run = Callable[[Tensors, RowNames], Tensors]
Tell = Callable[[Sequence[Any]], None]

_DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
_ROW = re.compile(r"row (\d+):\s*(.*)", re.DOTALL)  # how a step's message begins
# Which kind of a step's numbers (b: bool, i, u, f) may travel as which, where their values fit.
_CHANGES = {"bi", "bu", "bf", "ii", "iu", "if", "ui", "uu", "uf", "ff"}
_LONGEST_MESSAGE = 4000  # bytes as gRPC sends it: in a header, of which clients take 8 KB in all
_PRINTED = range(0x20, 0x7F)  # what stands there as one byte each; others, and "%", as three


class TritonPythonModel:
    """Runs the requests of a batch together, and each alone where that fails, so that a bad row fails its own only."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration, load the steps' files, and let them load what they need before the first request."""
        config = json.loads(args["model_config"])
        wires = read_wires(config["parameters"]["wires"]["string_value"])
        declared = json.loads(config["parameters"]["steps"]["string_value"])
        self._steps = [load_step(step, wires, Path(__file__).parent) for step in declared]
        are_batched = config["max_batch_size"] > 0
        self._answers = Answers(run=self._run, wires=wires, are_batched=are_batched, passed=read_passed(config))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, in their order."""
        return self._answers.to(requests)

    def _run(self, tensors: Tensors, names: RowNames) -> Tensors:
        for step in self._steps:
            tensors = tensors | step.run(tensors, names)
        return tensors


# --- the requests of a batch -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers requests by ``run``, whose rows travel along ``wires``; ``are_batched``: rows do not depend on others."""

    run: Run
    wires: "Mapping[str, Wire]"
    are_batched: bool
    passed: Mapping[str, str] = field(default_factory=dict)  # of outputs: the inputs that they repeat
    before: Tell | None = None  # is told the requests whose rows are run next

    def to(self, requests: Sequence[Any]) -> list[Any]:
        """Run all rows at once; where that fails, each request alone, which tells the row as its sender counts it."""
        sent = [self._read(request) for request in requests]
        if len(requests) > 1 and self.are_batched:
            self._tell(requests)
            try:
                answers = self._together(sent)
            except StepError:
                pass  # one of them is to blame, and the others are answered below
            else:
                return [self._response(request, tensors) for request, tensors in zip(requests, answers, strict=True)]
        return [self._alone(request, tensors) for request, tensors in zip(requests, sent, strict=True)]

    def _tell(self, requests: Sequence[Any]) -> None:
        if self.before is not None:
            self.before(requests)

    def _read(self, request: Any) -> Tensors:
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        return {name: list(array) if self.wires[name].is_free else array for name, array in arrays.items()}

    def _together(self, sent: Sequence[Tensors]) -> list[Tensors]:
        joined = {name: join([tensors[name] for tensors in sent]) for name in sent[0]}
        ends = np.cumsum([count(tensors) for tensors in sent]).tolist()
        answered = self._ask(joined, _names(ends[-1]))
        places = list(zip([0, *ends[:-1]], ends, strict=True))
        return [{name: rows[start:end] for name, rows in answered.items()} for start, end in places]

    def _alone(self, request: Any, tensors: Tensors) -> Any:
        self._tell([request])
        try:
            return self._response(request, self._ask(tensors, _names(count(tensors))))
        except StepError as error:
            is_one = self.are_batched and is_of_rows(error.code) and not error.row
            found = self._first_failure(tensors) if is_one else None
            return _failure(found or error)

    def _first_failure(self, tensors: Tensors) -> "StepError | None":
        """What the first row to fail alone fails of, where a step did not tell its row; None where none fails alone."""
        for row, name in enumerate(_names(count(tensors))):
            try:
                self._ask({wire: take(rows, [row]) for wire, rows in tensors.items()}, [name])
            except StepError as error:
                return error
        return None

    def _ask(self, tensors: Tensors, names: RowNames) -> Tensors:
        """What comes of it, or a ``StepError`` whatever happens: an exception would fail all requests of the batch."""
        try:
            return self.run(tensors, names)
        except StepError:
            raise
        except Exception as error:  # a step may raise anything, and the other requests are to be answered
            row = names[0] if len(names) == 1 else None
            why = f"{type(error).__name__}: {_words(error)}"
            raise StepError("the steps", why, row=row, code=pb_utils.TritonError.INTERNAL) from error

    def _response(self, request: Any, tensors: Tensors) -> Any:
        try:
            wanted = request.requested_output_names()
            arrays = {name: stack(name, tensors[self.passed.get(name, name)]) for name in wanted}
        except StepError as error:
            return _failure(error)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(name, np.ascontiguousarray(array, self.wires[name].dtype))
                for name, array in arrays.items()
            ]
        )


def is_of_rows(code: int) -> bool:
    """Whether a row may be to blame for an error of that code."""
    return code not in (pb_utils.TritonError.UNAVAILABLE, pb_utils.TritonError.CANCELLED)


def _names(rows: int) -> list[str]:
    return [f"row {row}" for row in range(rows)]


def _failure(error: "StepError") -> Any:
    if error.code == pb_utils.TritonError.INTERNAL:
        pb_utils.Logger.log_error(_sendable("".join(traceback.format_exception(error))))
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(_shortened(_sendable(str(error))), error.code))


def _sendable(text: str) -> str:
    """Without what ends a message early or cannot be sent: control characters, and halves of characters."""
    return "".join(each if each.isprintable() or each in "\n\t" else " " for each in text)


def _shortened(message: str) -> str:
    """As much of it as a header takes."""
    size = 0
    for at, each in enumerate(message):
        size += sum(1 if byte in _PRINTED and each != "%" else 3 for byte in each.encode())
        if size > _LONGEST_MESSAGE:
            return f"{message[:at]} ..."
    return message


def _words(error: BaseException) -> str:
    """What an exception says; one of a step's own may fail to say it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its own code runs, which may raise anything
        return "it cannot be printed"


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wire:
    """A datatype and the dims of one row, as the ``outputs`` of a step tells them."""

    datatype: str
    dims: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """Of the arrays that travel along it."""
        return _DTYPES[self.datatype]

    @property
    def is_free(self) -> bool:
        """Whether its rows may differ in shape, and so are a list."""
        return -1 in self.dims

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a row may have that shape."""
        return len(shape) == len(self.dims) and all(dim in (-1, size) for dim, size in zip(self.dims, shape))  # noqa: B905 - of one length


def read_wires(text: str) -> dict[str, Wire]:
    """The parameter ``wires``."""
    return {name: Wire(datatype, tuple(dims)) for name, (datatype, dims) in json.loads(text).items()}


def read_passed(config: Mapping[str, Any]) -> dict[str, str]:
    """The parameter ``passed``."""
    found: dict[str, str] = json.loads(config["parameters"].get("passed", {}).get("string_value", "{}"))
    return found


def count(tensors: Tensors) -> int:
    """How many rows there are."""
    return len(next(iter(tensors.values())))


def join(parts: Sequence[Rows]) -> Rows:
    """All rows of the parts, one part after another."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return np.concatenate(parts)


def take(rows: Rows, places: Sequence[int]) -> Rows:
    """The rows at those places."""
    return [rows[place] for place in places] if isinstance(rows, list) else rows[list(places)]


def stack(name: str, rows: Rows) -> NDArray[Any]:
    """As one array.

    Raises:
        StepError: the rows differ in shape.
    """
    if not isinstance(rows, list):
        return rows
    for row, array in enumerate(rows):
        if array.shape != rows[0].shape:
            shapes = f"row 0 is {list(rows[0].shape)} and row {row} is {list(array.shape)}"
            why = f"the rows differ in shape, {shapes}: send them in requests of their own, or pad them"
            raise StepError(f"output '{name}'", why)
    return np.stack(rows)


# --- steps -----------------------------------------------------------------------------------------------------------


class StepError(Exception):
    """Who failed, at which row if that is known, and why; ``code`` is Triton's, None: the rows are to blame."""

    def __init__(self, who: str, why: str, *, row: str | None = None, code: int | None = None) -> None:
        super().__init__(f"{who}, {row}: {why}" if row else f"{who}: {why}")
        self.who, self.why, self.row = who, why, row
        self.code = pb_utils.TritonError.INVALID_ARG if code is None else code


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its parameters, between its wires."""

    name: str
    code: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    wires: Mapping[str, Wire]

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"step '{self.name}'"

    def run(self, tensors: Tensors, names: RowNames) -> Tensors:
        """What it writes.

        Raises:
            StepError: it fails, or gives what it did not announce.
        """
        try:
            results = self.code.run(**{own: tensors[wire] for own, wire in self.inputs.items()})
            return {wire: self._plain(own, results[own], names) for own, wire in self.outputs.items()}
        except StepError:
            raise
        except ValueError as error:
            row, why = _row_and_reason(_words(error), names)
            raise StepError(self.title, why, row=row) from error
        except BaseException as error:  # a step may raise anything, and the other requests are to be answered
            row, why = _row_and_reason(f"{type(error).__name__}: {_words(error)}", names)
            raise StepError(self.title, why, row=row, code=pb_utils.TritonError.INTERNAL) from error

    def _plain(self, tensor: str, value: Any, names: RowNames) -> Rows:
        wire = self.wires[self.outputs[tensor]]
        try:
            found: Rows = [_array(row, wire) for row in value] if wire.is_free else _array(value, wire)
        except _UnannouncedError as error:
            row = names[0] if len(names) == 1 else None
            why = f"it gives '{tensor}' as {error} and announced {wire.datatype}"
            raise StepError(self.title, why, row=row, code=pb_utils.TritonError.INTERNAL) from error
        shapes = [row.shape for row in found] if isinstance(found, list) else [found.shape[1:]]
        odd = [shape for shape in shapes if not wire.fits(shape)]
        if len(found) != len(names) or odd:
            gives = f"rows of {list(odd[0])}" if odd else f"{len(found)} rows for {len(names)}"
            why = f"it gives '{tensor}' as {gives} and announced {wire.datatype} {list(wire.dims)}"
            row = names[0] if len(names) == 1 else None
            raise StepError(self.title, why, row=row, code=pb_utils.TritonError.INTERNAL)
        return found


class _UnannouncedError(Exception):
    """What a step gives instead of the datatype that it announced."""


def _array(value: Any, wire: Wire) -> NDArray[Any]:
    """Of the wire's datatype, every value as the step gave it: floats may be rounded, and nothing else is changed."""
    if wire.datatype == "BYTES":
        texts = np.asarray(value, dtype=object)  # NumPy's own types of text and bytes lose zeros at the end
        return _filled_with([_bytes(each) for each in texts.ravel().tolist()], texts.shape)
    array = np.asarray(value)
    if array.dtype == wire.dtype or array.size == 0:
        return array.astype(wire.dtype, copy=False)
    kinds = array.dtype.kind + np.dtype(wire.dtype).kind
    if kinds not in _CHANGES:
        raise _UnannouncedError(array.dtype.name)
    with np.errstate(over="ignore"):
        cast = array.astype(wire.dtype)
    lost = np.isfinite(array) & ~np.isfinite(cast) if kinds[1] == "f" else cast != array
    if np.any(lost):
        raise _UnannouncedError(f"{array.dtype.name} {array[lost].flat[0]}")
    return cast


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise _UnannouncedError(type(value).__name__)


def _filled_with(values: Sequence[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


def _row_and_reason(text: str, names: RowNames) -> tuple[str | None, str]:
    """Which row a step's message blames, in the words of the request, and the rest of the message."""
    found = _ROW.match(text)
    if found and int(found[1]) < len(names):
        return names[int(found[1])], found[2]
    return (names[0] if len(names) == 1 else None), text


def load_step(declared: Mapping[str, Any], wires: Mapping[str, Wire], folder: Path) -> Step:
    """Make the step of an entry of ``steps``, all files being in ``folder``, and let it load what it needs.

    Raises:
        RuntimeError: it does not start, and so neither does the model.
    """
    try:
        kind = _load(folder / declared["file"], declared["class"])
        code = kind(**{name: _with_file(value, folder) for name, value in declared["parameters"].items()})
        if hasattr(code, "warm"):
            code.warm()
    except Exception as error:  # a step's own code starts here, which raises anything; the refusal names it
        raise RuntimeError(f"step '{declared['step']}' does not start: {type(error).__name__}: {error}") from error
    return Step(declared["step"], code, declared["inputs"], declared["outputs"], wires)


def _with_file(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        if set(value) == {"file"}:
            return folder / value["file"]
        return {key: _with_file(inner, folder) for key, inner in value.items()}
    return [_with_file(inner, folder) for inner in value] if isinstance(value, list) else value


def _load(path: Path, name: str) -> type[Any]:
    spec = importlib.util.spec_from_file_location(f"step_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no step at {path}")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return getattr(module, name)  # type: ignore[no-any-return]  # a step's file is typed by its own contract
