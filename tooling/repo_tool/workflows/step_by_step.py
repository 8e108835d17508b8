# SPDX-License-Identifier: Apache-2.0
"""A pipeline's stages one by one: each step run here, each model asked alone. What a compiled pipeline is held to.

The rows of a wire are one array whose first dimension counts them; where a dim is free (-1) they are a list of arrays.
"""

__all__ = ["BlockVisits", "Rows", "Values", "as_values", "run_stages", "stacked", "take"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError, SampleError
from repo_tool.pipelines.spec import ForEach, OtherWire, Repeat, When
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage
from repo_tool.pipelines.wire import Wire
from repo_tool.samples import Array, Tensors
from repo_tool.verification import Infer

Rows = Array | list[Array]
Values = dict[str, Rows]  # by wire
Wires = Mapping[str, Wire]
Places = Sequence[int] | NDArray[np.intp]

_COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    "is_below": np.less,
    "is_at_most": np.less_equal,
    "is_at_least": np.greater_equal,
    "is_above": np.greater,
    "equals": np.equal,
}


def run_stages(
    stages: Sequence[Stage],
    wires: Wires,
    values: Mapping[str, Rows],
    members: Mapping[str, Infer],
    visits: dict[str, "BlockVisits"] | None = None,
) -> Values:
    """All wires, with those that the stages write.

    Args:
        stages: what to run.
        wires: the type of each wire, those that are written included.
        values: what is there before.
        members: how to ask each model, by its name.
        visits: takes what went into each `when` block, by its name.

    Raises:
        PipelineError: a step fails on a row.
    """
    found = dict(values)
    for stage in stages:
        given = {own: found[wire] for own, wire in stage.inputs.items()}
        results = _run_stage(stage, wires, given, members, visits)
        found |= {wire: results[own] for own, wire in stage.outputs.items()}
    return found


def _run_stage(
    stage: Stage,
    wires: Wires,
    given: Values,
    members: Mapping[str, Infer],
    visits: dict[str, "BlockVisits"] | None,
) -> Mapping[str, Rows]:
    if isinstance(stage, StepStage):
        return run_step(stage, given)
    if isinstance(stage, ModelStage):
        return _run_member(stage, wires, given, members[stage.config.name])
    return _run_block(stage, wires, given, members, visits)


def run_step(stage: StepStage, given: Mapping[str, Rows]) -> Mapping[str, Rows]:
    """Its own outputs.

    Raises:
        PipelineError: it fails on a row.
    """
    try:
        results: Mapping[str, Rows] = stage.step.run(given)  # type: ignore[arg-type]  # rows of free size are lists
    except ValueError as error:
        raise PipelineError(
            f"step '{stage.name or stage.step.name}' fails on the sample",
            cause=str(error),
            next_step="mend the sample or the step",
        ) from error
    return results


def _run_member(stage: ModelStage, wires: Wires, given: Values, infer: Infer) -> Mapping[str, Rows]:
    rows, size = _count(given), stage.config.max_batch_size
    if rows == 0:
        return {own: _none(wires[wire]) for own, wire in stage.outputs.items()}
    parts = [infer(request) for request in _requests(given, rows, size)]
    return {own: as_rows([part[own] for part in parts], wires[wire]) for own, wire in stage.outputs.items()}


def _requests(given: Values, rows: int, size: int) -> Iterator[Tensors]:
    """As many rows as the model takes at once; one where rows differ in shape. ``size`` 0: all, it does not batch."""
    is_even = all(isinstance(array, np.ndarray) or len({row.shape for row in array}) == 1 for array in given.values())
    step = rows if size == 0 else size if is_even else 1
    for start in range(0, rows, step):
        yield {name: stacked(take(array, range(start, min(start + step, rows)))) for name, array in given.items()}


# --- rows ------------------------------------------------------------------------------------------------------------


def as_values(tensors: Tensors, wires: Wires) -> Values:
    """Arrays as the steps take them."""
    return {name: as_rows([array], wires[name]) for name, array in tensors.items()}


def as_rows(parts: Sequence[Array], wire: Wire) -> Rows:
    """All rows of the parts."""
    return [row for part in parts for row in part] if -1 in wire.dims else np.concatenate(parts)


def take(rows: Rows, places: Places) -> Rows:
    """Those rows, in that order."""
    return [rows[place] for place in places] if isinstance(rows, list) else rows[np.asarray(places, dtype=np.intp)]


def stacked(rows: Rows) -> Array:
    """As one array.

    Raises:
        SampleError: they differ in shape.
    """
    if not isinstance(rows, list):
        return rows
    shapes = sorted({row.shape for row in rows})
    if len(shapes) > 1:
        raise SampleError(
            "the rows of the sample differ in shape",
            cause=f"some are {list(shapes[0])}, others {list(shapes[1])}, and one request carries rows of one shape",
            next_step="give rows of one shape",
        )
    return np.stack(rows) if rows else np.empty((0,))


def _count(values: Mapping[str, Rows]) -> int:
    return len(next(iter(values.values())))


def _none(wire: Wire) -> Rows:
    return [] if -1 in wire.dims else np.empty((0, *wire.dims), dtype=_numpy(wire))


def _collected(rows: Sequence[Array], wire: Wire) -> Rows:
    if -1 in wire.dims:
        return list(rows)
    return np.stack(rows) if rows else _none(wire)


def _numpy(wire: Wire) -> Any:
    return object if wire.datatype is DataType.BYTES else wire.datatype.numpy


def _filled(shape: Sequence[int], wire: Wire, value: Any) -> Array:
    array = np.empty(tuple(shape), dtype=_numpy(wire))
    array[...] = str(value).encode() if wire.datatype is DataType.BYTES else value
    return array


# --- blocks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockVisits:
    """How many rows came to a `when` block, and for how many its condition held."""

    rows: int = 0
    entered: int = 0


def _run_block(
    block: BlockStage,
    wires: Wires,
    given: Values,
    members: Mapping[str, Infer],
    visits: dict[str, BlockVisits] | None,
) -> Mapping[str, Rows]:
    if visits is not None and block.kind == "when":
        _note(visits, block, rows=_count(given))

    def run(values: Values) -> Values:
        if visits is not None and block.kind == "when":
            _note(visits, block, entered=_count(values))
        if _count(values) == 0:
            return {own: _none(block.wires[own]) for own in block.wires}
        return run_stages(block.stages, block.wires, values, members, visits)

    control = block.control
    if isinstance(control, When):
        return _when(block, control, given, run)
    if isinstance(control, ForEach):
        return _for_each(block, control, wires, given, run)
    return _repeat(block, control, given, run)


def _note(visits: dict[str, BlockVisits], block: BlockStage, *, rows: int = 0, entered: int = 0) -> None:
    before = visits.get(block.name, BlockVisits())
    visits[block.name] = BlockVisits(rows=before.rows + rows, entered=before.entered + entered)


def _when(block: BlockStage, control: When, given: Values, run: Callable[[Values], Values]) -> Mapping[str, Rows]:
    holds = _holds(block, control, given)
    chosen = np.flatnonzero(holds)
    found = run({name: take(rows, chosen) for name, rows in given.items()})
    place_of = {int(row): place for place, row in enumerate(chosen)}
    results = {}
    for own in block.outputs:
        wire = block.wires[own]
        others = _otherwise(control.otherwise[own], wire, given, len(holds))
        results[own] = _collected(
            [found[own][place_of[row]] if row in place_of else others[row] for row in range(len(holds))], wire
        )
    return results


def _holds(block: BlockStage, control: When, given: Values) -> NDArray[np.bool_]:
    """For each row whether the condition holds, its value being one of the wire's datatype."""
    name, value = control.comparison
    values = np.asarray(given[control.wire]).reshape(-1)
    holds = np.asarray(_COMPARISONS[name](values, _filled((1,), block.wires[control.wire], value)), dtype=bool)
    nan = np.flatnonzero(values != values)  # noqa: PLR0124 - as only NaN does, whatever the datatype
    if control.if_nan == "refuse" and len(nan):
        raise PipelineError(
            f"block '{block.name or block.kind}' compares '{control.wire}', which is NaN in row {nan[0]}",
            cause="NaN is neither below nor above anything",
            next_step="mend what writes it, or say `if_nan: holds` or `if_nan: otherwise` under `when:`",
        )
    holds[nan] = control.if_nan == "holds"
    return holds


def _otherwise(told: OtherWire | Any, wire: Wire, given: Values, rows: int) -> Rows:
    if isinstance(told, OtherWire):
        return given[told.wire]
    shape = [1 if size == -1 else size for size in wire.dims]
    return [_filled(shape, wire, told) for _ in range(rows)]


def _for_each(
    block: BlockStage, control: ForEach, wires: Wires, given: Values, run: Callable[[Values], Values]
) -> Mapping[str, Rows]:
    rows = _count(given)
    whole = given[next(iter(control.items.values()))]
    sizes = [len(row) for row in whole]
    counts = [int(np.asarray(row).ravel()[0]) for row in given[control.count]] if control.count else sizes
    owners = [row for row in range(rows) for _ in range(counts[row])]
    values: Values = {name: take(array, owners) for name, array in given.items()}
    for inside, outside in control.items.items():
        items = [_item(given[outside][row][at]) for row in range(rows) for at in range(counts[row])]
        values[inside] = _collected(items, block.wires[inside])
    found = run(values)
    return {
        own: _regrouped(found[own], block.wires[own], wires[outer], counts, sizes, control.pad.get(own))
        for own, outer in block.outputs.items()
    }


def _item(value: Any) -> Array:
    return value if isinstance(value, np.ndarray) and value.ndim else np.array([value], dtype=_kept(value))


def _kept(value: Any) -> Any:
    return object if isinstance(value, bytes) else np.asarray(value).dtype


def _regrouped(found: Rows, inside: Wire, outside: Wire, counts: Sequence[int], sizes: Sequence[int], pad: Any) -> Rows:
    """The items of each row together again, up to its size; items [1] are single values of it."""
    flat = inside.dims == (1,) and len(outside.dims) == 1
    rows, start = [], 0
    blank = ("" if inside.datatype is DataType.BYTES else 0) if pad is None else pad
    for count, size in zip(counts, sizes, strict=True):
        items = [found[at] for at in range(start, start + count)]
        start += count
        shape = items[0].shape if items else tuple(1 if dim == -1 else dim for dim in inside.dims)
        grouped = _filled((size, *shape), inside, blank)
        for at, item in enumerate(items):
            grouped[at] = item
        rows.append(grouped[:, 0] if flat else grouped)
    return _collected(rows, outside)


def _repeat(block: BlockStage, control: Repeat, given: Values, run: Callable[[Values], Values]) -> Mapping[str, Rows]:
    rows = _count(given)
    running = np.arange(rows)
    values = dict(given)
    last: dict[str, list[Any]] = {own: [None] * rows for own in block.outputs}
    for _ in range(control.at_most):
        found = run(values)
        for own, answers in last.items():
            for place, row in enumerate(running):
                answers[int(row)] = found[own][place]
        stopped = [bool(np.asarray(row).ravel()[0]) for row in found[control.until]] if control.until else []
        going = [place for place in range(len(running)) if not (stopped and stopped[place])]
        if not going:
            break
        written = {read: found[own] for own, read in control.carry.items()}
        values = {name: take(written.get(name, array), going) for name, array in values.items()}
        running = running[going]
    return {own: _collected(answers, block.wires[own]) for own, answers in last.items()}
