# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that calls other models as a pipeline's blocks say: when, for each, again.

Copied as ``model.py`` into the version folder, beside ``step_model.py``, which tells what the parameters ``steps`` and
``wires`` hold. Here an entry of ``steps`` may also be

``{model, version, max_batch_size, inputs, outputs}``
    A model of the repository, called with as many rows at a time as it takes, and of one shape.

``{block, name, inputs, outputs, wires, steps, ...}``
    Entries that run inside a block: ``inputs`` and ``outputs`` map wires inside to wires outside, and ``wires`` are
    those inside. ``block`` is

    ``when``: the rows for which ``comparison`` (a name and a value, which is cast to the wire's datatype) holds on
    ``wire``; for the other rows the outputs are ``otherwise``: ``{wire: name}`` or a value that fills the row. A NaN
    is refused, ``holds``, or goes ``otherwise``, as ``if_nan`` says.

    ``for_each``: every item of ``items`` (wires inside to wires) as a row, the first ``count`` of each row where that
    wire is given; results are put back together and filled up with ``pad``.

    ``repeat``: again with what ``carry`` maps (written wires to read ones), until ``until`` holds for a row, and
    ``at_most`` so many times.

A request that was cancelled, or whose own ``timeout`` has passed, ends before the next stage, and what is left of the
timeout goes on to the models that are called.
"""

import json
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray
from step_model import (  # type: ignore[import-not-found]  # copied beside this file
    Answers,
    RowNames,
    Rows,
    Step,
    StepError,
    Tensors,
    Wire,
    is_of_rows,
    load_step,
    read_passed,
    read_wires,
    take,
)

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "is_below": operator.lt,
    "is_at_most": operator.le,
    "is_at_least": operator.ge,
    "is_above": operator.gt,
    "equals": operator.eq,
}
_CALLS_AT_ONCE = 8
_ASK_EVERY_S = 0.05


class TritonPythonModel:
    """Requests of a batch go through the blocks together, and each alone where that fails."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the configuration and load the steps' files."""
        config = json.loads(args["model_config"])
        wires = read_wires(config["parameters"]["wires"]["string_value"])
        declared = json.loads(config["parameters"]["steps"]["string_value"])
        self._pool = ThreadPoolExecutor(_CALLS_AT_ONCE)
        self._watch = Watch()
        stages = Loader(folder=Path(__file__).parent, pool=self._pool, watch=self._watch).stages(declared, wires)
        self._answers = Answers(
            run=stages.run,
            wires=wires,
            are_batched=config["max_batch_size"] > 0,
            passed=read_passed(config),
            before=self._watch.follow,
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, in their order."""
        self._watch.start()
        try:
            responses: list[Any] = self._answers.to(requests)
        finally:
            self._watch.stop()
        return responses

    def finalize(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()


# --- time ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Watch:
    """How long the rows that are run are waited for; those of several requests as long as the most patient waits."""

    started: float = 0.0
    timeouts_us: Sequence[int] = ()
    cancelled: Sequence[Callable[[], bool]] = ()
    asked: float = 0.0  # when Triton was last asked, which takes a message to its process and back

    def start(self) -> None:
        """A batch comes: its timeouts count from now."""
        self.started = time.monotonic()

    def follow(self, requests: Sequence[Any]) -> None:
        """Their rows are next."""
        self.timeouts_us = [request.timeout() for request in requests]
        self.cancelled, self.asked = [request.is_cancelled for request in requests], 0.0

    def stop(self) -> None:
        """All are answered: Triton wants its requests back."""
        self.timeouts_us, self.cancelled = (), ()

    def _ask(self) -> bool:
        if time.monotonic() - self.asked < _ASK_EVERY_S:
            return False
        is_over = any(is_cancelled() for is_cancelled in self.cancelled)  # the others then run alone
        self.asked = 0.0 if is_over else time.monotonic()
        return is_over

    @property
    def remaining_us(self) -> int:
        """What is left of the longest timeout, at least 1; 0: there is none."""
        if not self.timeouts_us or not all(self.timeouts_us):
            return 0
        return max(1, max(self.timeouts_us) - int((time.monotonic() - self.started) * 1e6))

    def check(self) -> None:
        """Go on while somebody waits.

        Raises:
            StepError: there is no time left, or one was cancelled.
        """
        if self.remaining_us == 1:
            why = "Request timeout expired"  # Triton's own words, which clients know
            raise StepError("the request", why, code=pb_utils.TritonError.UNAVAILABLE)
        if self._ask():
            raise StepError("the request", "it was cancelled", code=pb_utils.TritonError.CANCELLED)


# --- stages ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stages:
    """Stages in their order; neighbouring calls of models that do not wait for one another are made at once."""

    waves: "Sequence[Sequence[Step | Call | When | ForEach | Repeat]]"
    watch: Watch

    @property
    def reads(self) -> frozenset[str]:
        """The wires that they read, among them some that they write."""
        stages = [stage for wave in self.waves for stage in wave]
        maps = [stage.inputs if isinstance(stage, Step | Call) else stage.scope.inputs for stage in stages]
        return frozenset(wire for inputs in maps for wire in inputs.values())

    def run(self, tensors: Tensors, names: RowNames) -> Tensors:
        """All wires, those given included.

        Raises:
            StepError: a step or a model fails.
        """
        for wave in self.waves:
            self.watch.check()
            calls = [(call, call.start(tensors, names)) for call in wave if isinstance(call, Call)]
            written = [call.finish(started, names) for call, started in calls]
            written += [stage.run(tensors, names) for stage in wave if not isinstance(stage, Call)]
            for results in written:
                tensors = tensors | results
        return tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Makes stages of the entries of ``steps``."""

    folder: Path
    pool: ThreadPoolExecutor
    watch: Watch

    def stages(self, declared: Sequence[Mapping[str, Any]], wires: Mapping[str, Wire]) -> Stages:
        """All of them, in waves."""
        return Stages(list(_waves(self._stage(entry, wires) for entry in declared)), self.watch)

    def _stage(self, entry: Mapping[str, Any], wires: Mapping[str, Wire]) -> Any:
        if "model" in entry:
            return Call(**entry, wires=wires, pool=self.pool, watch=self.watch)
        if "block" not in entry:
            return load_step(entry, wires, self.folder)
        inside = read_wires(json.dumps(entry["wires"]))
        scope = Scope(
            title=f"block '{entry['name']}'",
            inputs=entry["inputs"],
            outputs=entry["outputs"],
            inside=inside,
            outside=wires,
            stages=self.stages(entry["steps"], inside),
        )
        return _BLOCKS[entry["block"]](scope, **{key: entry[key] for key in _FIELDS[entry["block"]]})


def _waves(stages: Iterable[Any]) -> Iterator[list[Any]]:
    wave: list[Any] = []
    for stage in stages:
        if wave and not (isinstance(stage, Call) and all(_is_beside(stage, before) for before in wave)):
            yield wave
            wave = []
        wave = [*wave, stage]
    if wave:
        yield wave


def _is_beside(call: "Call", before: Any) -> bool:
    """Whether it needs nothing of what stands before it."""
    return isinstance(before, Call) and set(before.outputs.values()).isdisjoint(call.inputs.values())


# --- models ----------------------------------------------------------------------------------------------------------

Started = list[tuple[list[int], "Future[dict[str, NDArray[Any]]]"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One version of a model of the same server."""

    model: str
    version: int
    max_batch_size: int  # 0: a request is one batch
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    wires: Mapping[str, Wire]
    pool: ThreadPoolExecutor
    watch: Watch

    def start(self, tensors: Tensors, names: RowNames) -> Started:
        """Ask for as many rows at a time as the model takes; the rows of one request have one shape."""
        sent = {own: tensors[wire] for own, wire in self.inputs.items()}
        return [
            (
                places,
                self.pool.submit(self._ask, {own: take(rows, places) for own, rows in sent.items()}, places, names),
            )
            for places in self._requests(sent, len(names))
        ]

    def finish(self, started: Started, names: RowNames) -> Tensors:
        """Wait for all, and bring the answers into the order of the rows.

        Raises:
            StepError: the model refuses a row.
        """
        if len(started) == 1:  # all rows in their order
            arrays = started[0][1].result()
            free = {own: self.wires[wire].is_free for own, wire in self.outputs.items()}
            return {wire: list(arrays[own]) if free[own] else arrays[own] for own, wire in self.outputs.items()}
        rows: dict[str, list[Any]] = {own: [None] * len(names) for own in self.outputs}
        for places, future in started:
            for own, array in future.result().items():
                for place, row in zip(places, array, strict=True):
                    rows[own][place] = row
        return {wire: gather(rows[own], self.wires[wire]) for own, wire in self.outputs.items()}

    def _requests(self, sent: Mapping[str, Rows], count: int) -> Iterator[list[int]]:
        alike: dict[Any, list[int]] = {}
        for place in range(count):
            alike.setdefault(tuple(rows[place].shape for rows in sent.values()), []).append(place)
        for places in alike.values():
            size = self.max_batch_size or count
            yield from (places[start : start + size] for start in range(0, len(places), size))

    def _ask(self, sent: Mapping[str, Rows], places: Sequence[int], names: RowNames) -> dict[str, NDArray[Any]]:
        row = names[places[0]] if len(places) == 1 else None
        who = f"model '{self.model}' version {self.version}"
        try:
            return self._infer(sent, len(places))
        except _RefusedError as refused:
            code = refused.code if self._is_ready() else pb_utils.TritonError.UNAVAILABLE
            if row is None and self.max_batch_size > 0 and is_of_rows(code):
                self._ask_one_by_one(sent, places, names)
            raise StepError(who, str(refused), row=row, code=code) from None
        except Exception as error:  # the stub's own, when the server has no memory left or is ending
            raise StepError(who, str(error), row=row, code=pb_utils.TritonError.INTERNAL) from error

    def _is_ready(self) -> bool:
        """As Triton says; it answers a call of a model that is not there as if that were its own mistake."""
        return bool(pb_utils.is_model_ready(self.model, str(self.version)))

    def _ask_one_by_one(self, sent: Mapping[str, Rows], places: Sequence[int], names: RowNames) -> None:
        """Fail of the row to blame, if it can be told."""
        for at, place in enumerate(places):
            self._ask({own: take(rows, [at]) for own, rows in sent.items()}, [place], names)

    def _infer(self, sent: Mapping[str, Rows], count: int) -> dict[str, NDArray[Any]]:
        arrays = {
            own: np.asarray(rows) if isinstance(rows, np.ndarray) else np.stack(rows) for own, rows in sent.items()
        }
        request = pb_utils.InferenceRequest(
            model_name=self.model,
            model_version=self.version,
            requested_output_names=list(self.outputs),
            timeout=self.watch.remaining_us,
            inputs=[pb_utils.Tensor(own, np.ascontiguousarray(array)) for own, array in arrays.items()],
            # A model on a GPU would answer in its memory, where NumPy cannot read.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise _RefusedError(response.error())
        found = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
        odd = [own for own in self.outputs if own not in found or len(found[own]) != count]
        if odd:
            raise _RefusedError(pb_utils.TritonError(f"it does not give one row of '{odd[0]}' for each that it takes"))
        return {own: found[own] for own in self.outputs}


class _RefusedError(Exception):
    """A model's own error."""

    def __init__(self, error: Any) -> None:
        super().__init__(error.message())
        self.code: int = error.code()


# --- blocks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The stages inside a block, its wires, and which of them are which outside."""

    title: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    inside: Mapping[str, Wire]
    outside: Mapping[str, Wire]
    stages: Stages

    def enter(self, tensors: Tensors) -> Tensors:
        """The wires that are read inside, by their names there."""
        return {own: tensors[wire] for own, wire in self.inputs.items()}

    def leave(self, written: Mapping[str, Sequence[NDArray[Any]]]) -> Tensors:
        """Rows by wires inside, as the wires outside."""
        return {wire: gather(written[own], self.outside[wire]) for own, wire in self.outputs.items()}

    def run(self, tensors: Tensors, names: RowNames) -> Tensors:
        """Run the stages; errors name the block too.

        Raises:
            StepError: a step or a model fails.
        """
        try:
            return self.stages.run(tensors, names)
        except StepError as error:
            raise StepError(f"{self.title}, {error.who}", error.why, row=error.row, code=error.code) from error

    def failure(self, why: str, row: str) -> StepError:
        """Of the block itself."""
        return StepError(self.title, why, row=row)


@dataclass(frozen=True, slots=True)
class When:
    """The rows for which a condition holds go through the stages, and the others have a value given for them."""

    scope: Scope
    wire: str
    comparison: tuple[str, Any]
    if_nan: str
    otherwise: Mapping[str, Any]

    def run(self, tensors: Tensors, names: RowNames) -> Tensors:
        """Both kinds of rows, in their order."""
        entered = self.scope.enter(tensors)
        chosen = np.flatnonzero(self._holds(np.asarray(entered[self.wire]).reshape(-1), names)).tolist()
        results: Tensors = {}
        if chosen:
            some = {own: take(rows, chosen) for own, rows in entered.items()}
            results = self.scope.run(some, [names[place] for place in chosen])
        written = {own: self._others(own, entered, len(names)) for own in self.scope.outputs}
        for own, rows in written.items():
            for at, place in enumerate(chosen):
                rows[place] = results[own][at]
        return self.scope.leave(written)

    def _holds(self, values: NDArray[Any], names: RowNames) -> Any:
        name, value = self.comparison
        holds = _COMPARISONS[name](values, filled(self.scope.inside[self.wire], value))
        nan = np.flatnonzero(values != values)  # noqa: PLR0124 - as only NaN does, whatever the datatype
        if self.if_nan == "refuse" and len(nan):
            raise self.scope.failure(f"'{self.wire}' is NaN, and compares with nothing", names[nan[0]])
        holds[nan] = self.if_nan == "holds"
        return holds

    def _others(self, own: str, entered: Tensors, count: int) -> list[NDArray[Any]]:
        value = self.otherwise[own]
        if isinstance(value, dict):
            return list(entered[value["wire"]])
        return [filled(self.scope.inside[own], value)] * count


@dataclass(frozen=True, slots=True)
class ForEach:
    """The items of each row are rows of their own inside."""

    scope: Scope
    items: Mapping[str, str]
    count: str | None
    pad: Mapping[str, Any]

    def run(self, tensors: Tensors, names: RowNames) -> Tensors:
        """The results of the items of each row, put back together."""
        entered = self.scope.enter(tensors)
        sizes = [self._size(entered, row, name) for row, name in enumerate(names)]
        counts = [self._count(entered, row, name, sizes[row]) for row, name in enumerate(names)]
        places = [(row, item) for row, count in enumerate(counts) for item in range(count)]
        results: Tensors = {}
        if places:
            labels = [f"{names[row]}, item {item}" for row, item in places]
            results = self.scope.run(self._as_rows(entered, places), labels)
        ends = np.cumsum(counts).tolist()
        return self.scope.leave(
            {
                own: [
                    self._together(own, list(results[own][end - count : end]) if count else [], size)
                    for size, count, end in zip(sizes, counts, ends, strict=True)
                ]
                for own in self.scope.outputs
            }
        )

    def _as_rows(self, entered: Tensors, places: Sequence[tuple[int, int]]) -> Tensors:
        """Each item as a row, and beside it what its row has of the other wires that are read."""
        shared = self.scope.stages.reads - self.items.keys()
        owners = [row for row, _ in places]
        inside = {own: take(rows, owners) for own, rows in entered.items() if own in shared}
        for own, wire in self.items.items():
            dims = self.scope.inside[own].dims
            rows = [_as_row(entered[wire][row][item], dims) for row, item in places]
            inside[own] = gather(rows, self.scope.inside[own])
        return inside

    def _size(self, entered: Tensors, row: int, name: str) -> int:
        sizes = {wire: len(entered[wire][row]) for wire in self.items.values()}
        if len(set(sizes.values())) > 1:
            told = " and ".join(f"{size} of '{wire}'" for wire, size in sizes.items())
            raise self.scope.failure(f"there are {told}", name)
        return next(iter(sizes.values()))

    def _count(self, entered: Tensors, row: int, name: str, size: int) -> int:
        if self.count is None:
            return size
        count = int(entered[self.count][row].reshape(-1)[0])
        if not 0 <= count <= size:
            raise self.scope.failure(f"'{self.count}' says {count} and there are {size} items", name)
        return count

    def _together(self, own: str, results: Sequence[NDArray[Any]], size: int) -> NDArray[Any]:
        wire = self.scope.inside[own]
        rest = [filled(wire, self.pad.get(own))] * (size - len(results))
        items = [*results, *rest]
        together = np.stack(items) if items else np.empty((0, *wire.dims), dtype=wire.dtype)
        is_flat = len(self.scope.outside[self.scope.outputs[own]].dims) == 1
        return together.reshape(size) if is_flat else together


@dataclass(frozen=True, slots=True)
class Repeat:
    """The stages run again with what they wrote; each row ends by itself."""

    scope: Scope
    carry: Mapping[str, str]
    until: str | None
    at_most: int

    def run(self, tensors: Tensors, names: RowNames) -> Tensors:
        """What each row's last round wrote."""
        entered = self.scope.enter(tensors)
        last: dict[str, list[Any]] = {own: [None] * len(names) for own in self.scope.outputs}
        running = list(range(len(names)))
        for _ in range(self.at_most):
            results = self.scope.run(entered, [names[place] for place in running])
            for own, rows in last.items():
                for at, place in enumerate(running):
                    rows[place] = results[own][at]
            going = [at for at in range(len(running)) if self.until is None or not results[self.until][at].all()]
            carried = {read: results[written] for written, read in self.carry.items()}
            entered = {own: take(rows, going) for own, rows in (entered | carried).items()}
            running = [running[at] for at in going]
            if not running:
                break
        return self.scope.leave(last)


_BLOCKS: dict[str, Any] = {"when": When, "for_each": ForEach, "repeat": Repeat}
_FIELDS = {
    "when": ("wire", "comparison", "if_nan", "otherwise"),
    "for_each": ("items", "count", "pad"),
    "repeat": ("carry", "until", "at_most"),
}


# --- rows ------------------------------------------------------------------------------------------------------------


def gather(rows: Sequence[NDArray[Any]], wire: Wire) -> Rows:
    """Single rows as the rows of a wire: a list, or one array where its dims are fixed."""
    if wire.is_free:
        return list(rows)
    return np.stack(rows) if rows else np.empty((0, *wire.dims), dtype=wire.dtype)


def filled(wire: Wire, value: Any) -> NDArray[Any]:
    """A row that is all ``value``; free dims are 1."""
    row = np.empty([abs(dim) for dim in wire.dims], dtype=wire.dtype)
    row[...] = _value(wire, value)  # np.full would cut zeros off the end of bytes
    return row


def _value(wire: Wire, value: Any) -> Any:
    if value is None:
        return b"" if wire.datatype == "BYTES" else 0
    return str(value).encode() if wire.datatype == "BYTES" else value


def _as_row(item: Any, dims: tuple[int, ...]) -> NDArray[Any]:
    """An item of a wire [k] is [1]."""
    array = np.asarray(item, dtype=object if isinstance(item, bytes) else None)
    return array.reshape(1) if array.ndim == 0 and len(dims) == 1 else array
