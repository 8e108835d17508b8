# SPDX-License-Identifier: Apache-2.0
"""What a block of steps takes from outside, gives its steps, and tells outside: checked and typed."""

__all__ = ["block_outputs", "given_inside", "required_outside"]

import math
from collections.abc import Iterable, Mapping
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.scope import Scope
from repo_tool.pipelines.spec import BlockDeclaration, ForEach, OtherWire, Repeat, Value, When
from repo_tool.pipelines.wire import Wire

_INTEGERS = tuple(datatype for datatype in DataType if datatype.name.startswith(("INT", "UINT")))
_YES_OR_NO = Wire(DataType.BOOL, (1,))


def required_outside(scope: Scope, at: int, block: BlockDeclaration) -> set[str]:
    """The wires that the block itself reads.

    Raises:
        PipelineError: one is not there, or of a type that it cannot use.
    """
    control = block.control
    if isinstance(control, When):
        _check_condition(scope, at, control)
        others = [value.wire for value in control.otherwise.values() if isinstance(value, OtherWire)]
        for name in others:
            _outside(scope, at, name, "otherwise")
        return {control.wire, *others}
    if isinstance(control, ForEach):
        if control.count is not None:
            wire = _outside(scope, at, control.count, "count")
            if wire.dims != (1,) or wire.datatype not in _INTEGERS:
                raise _misfit(scope, at, control.count, "count", "an integer [1], how many items a row has")
        return {*control.items.values(), *filter(None, [control.count])}
    for read in control.carry.values():
        _outside(scope, at, read, "carry")
    return set(control.carry.values())


def given_inside(scope: Scope, at: int, block: BlockDeclaration) -> dict[str, Wire]:
    """The wires that the block makes for its steps: the items of ``for_each``.

    Raises:
        PipelineError: they have no items, or differing numbers of them.
    """
    if not isinstance(block.control, ForEach):
        return {}
    given: dict[str, Wire] = {}
    sizes: dict[str, int] = {}
    for item, name in block.control.items.items():
        wire = _outside(scope, at, name, f"items: {item}")
        if item in scope.wires:
            raise PipelineError(
                f"{block.title} gives its steps '{item}', which is a wire outside",
                cause=f"it is {scope.wires[item]}, and a wire is written once",
                next_step=f"call the items otherwise, e.g. items: {{one_{item}: {name}}}",
            )
        given[item] = Wire(wire.datatype, wire.dims[1:] or (1,))
        sizes[name] = wire.dims[0]
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"'{name}' has {size}" for name, size in sizes.items())
        raise PipelineError(
            f"{block.title} takes items of wires that have different numbers of them",
            cause=counts.replace("has -1", "has any number"),
            next_step="take items that belong together, or use two blocks",
            drawing=scope.down_to(at, sizes, counts),
        )
    return given


def block_outputs(inside: Scope, scope: Scope, at: int, block: BlockDeclaration) -> dict[str, Wire]:
    """What is seen outside, by the names inside.

    Raises:
        PipelineError: a wire is not written inside, or what the block does with it cannot work.
    """
    control = block.control
    written = {name: wire for name, wire in inside.wires.items() if inside.writers[name].place > scope.spot(at).place}
    for name in block.told:
        _inside(inside, at, block, name, written, "outputs")
    if isinstance(control, When):
        _check_otherwise(scope, at, block, control, written)
    if isinstance(control, Repeat):
        _check_rounds(inside, scope, at, block, control, written)
    if not isinstance(control, ForEach):
        return {name: written[name] for name in block.told}
    _check_padding(scope, at, block, control, written)
    size = scope.wires[next(iter(control.items.values()))].dims[0]
    return {name: _put_back(scope, at, block, name, written[name], size) for name in block.told}


def _put_back(scope: Scope, at: int, block: BlockDeclaration, name: str, wire: Wire, size: int) -> Wire:
    """The results of the items of a row as one tensor."""
    if -1 in wire.dims:
        raise PipelineError(
            f"{block.title} cannot put the results '{name}' of its items together",
            cause=f"each is {wire}, so that two of them may differ in size",
            next_step="give them one size inside the block: resize, pad or cut",
            drawing=scope.after(at, [f"{name}: {wire} of each item"], "no tensor holds items of different sizes"),
        )
    return Wire(wire.datatype, (size,) if wire.dims == (1,) else (size, *wire.dims))


def _outside(scope: Scope, at: int, name: str, role: str) -> Wire:
    if name not in scope.wires:
        raise scope.missing(at, name, role, next_step=did_you_mean(name, scope.wires))
    return scope.wires[name]


def _inside(inside: Scope, at: int, block: BlockDeclaration, name: str, written: Mapping[str, Wire], role: str) -> Wire:
    if name in written:
        return written[name]
    raise PipelineError(
        f"`{role}:` of {block.title} names '{name}', which no step inside it writes",
        cause=f"they write {', '.join(written)}",
        next_step=did_you_mean(name, written) or "name one of them",
        drawing=inside.after(len(inside.steps) - 1, map(inside.shown, inside.newest()), f"no '{name}'"),
    )


def _check_condition(scope: Scope, at: int, control: When) -> None:
    wire = _outside(scope, at, control.wire, "when")
    comparison, value = control.comparison
    if wire.dims != (1,):
        raise _misfit(scope, at, control.wire, "when", "one value a row, [1]")
    if wire.datatype is DataType.BOOL and (comparison != "equals" or not isinstance(value, bool)):
        raise _misfit(scope, at, control.wire, "when", "a number for that comparison")
    if wire.datatype is not DataType.BOOL and isinstance(value, bool):
        raise _misfit(scope, at, control.wire, "when", "BOOL [1] where it has no comparison")
    if (wire.datatype is DataType.BYTES) != isinstance(value, str):
        wanted = "BYTES [1] to compare with text" if isinstance(value, str) else "a number for that comparison"
        raise _misfit(scope, at, control.wire, "when", wanted)
    if not _holds(wire.datatype, value):
        raise PipelineError(
            f"{scope.steps[at].title} compares '{control.wire}' {wire} with {value!r}",
            cause=f"that is no {wire.datatype.wire_name}, and values are compared as such",
            next_step="write a value that the datatype holds",
            drawing=scope.down_to(at, [control.wire], f"{comparison}: {value!r}"),
        )


def _misfit(scope: Scope, at: int, name: str, role: str, wanted: str) -> PipelineError:
    wire = scope.wires[name]
    return PipelineError(
        f"{scope.steps[at].title} reads '{name}' as its `{role}:`, which must be {wanted}; it is {wire}",
        cause="datatype and dims are those of one row",
        next_step="wire another, or compute it in a step before",
        drawing=scope.down_to(at, [name], f"`{role}:` takes {wanted}"),
    )


def _check_otherwise(
    scope: Scope, at: int, block: BlockDeclaration, control: When, written: Mapping[str, Wire]
) -> None:
    for name in block.told:
        if name not in control.otherwise:
            raise PipelineError(
                f"{block.title} says no `otherwise:` for its output '{name}'",
                cause="the rows for which it does not hold need a value too",
                next_step=f"write otherwise: {{{name}: <a value, or {{wire: another}}>}}",
            )
    for name, value in control.otherwise.items():
        wire = _inside_only(block, name, written, "otherwise")
        if isinstance(value, OtherWire):
            other = scope.wires[value.wire]
            if other != wire:
                raise PipelineError(
                    f"{block.title} gives '{name}' {wire} where it holds, and '{value.wire}' {other} otherwise",
                    cause="both must be of one datatype and dims",
                    next_step="change one of them, or name a third wire",
                    drawing=scope.down_to(at, [value.wire], f"in place of '{name}' {wire}"),
                )
        else:
            _check_value(block, name, wire, value, "otherwise")


def _inside_only(block: BlockDeclaration, name: str, written: Mapping[str, Wire], role: str) -> Wire:
    if name in block.told:
        return written[name]
    raise PipelineError(
        f"`{role}:` of {block.title} names '{name}', which is none of its outputs",
        cause=f"these are {', '.join(block.told)}",
        next_step=did_you_mean(name, block.told) or "name one of them, or leave it out",
    )


def _check_value(block: BlockDeclaration, name: str, wire: Wire, value: Value, role: str) -> None:
    """Whether a value of the file fills such a tensor."""
    if not _holds(wire.datatype, value):
        raise PipelineError(
            f"`{role}:` of {block.title} fills '{name}' {wire} with {value!r}",
            cause=f"that is no {wire.datatype.wire_name}",
            next_step="write a value that the datatype holds",
        )
    if role == "otherwise" and -1 in wire.dims:
        raise PipelineError(
            f"`otherwise:` of {block.title} fills '{name}' {wire} with {value!r}",
            cause="a tensor of free size cannot be filled: nobody says how large",
            next_step="give {wire: another} of the same type, or a fixed size inside the block",
        )


def _holds(datatype: DataType, value: Value) -> bool:
    """Whether the datatype has that value; fractions are rounded, integers and the range of floats are not."""
    if isinstance(value, str):
        return datatype is DataType.BYTES
    if isinstance(value, bool):
        return datatype is DataType.BOOL
    if datatype in _INTEGERS:
        bits = datatype.byte_size * 8
        least, most = (0, 2**bits - 1) if datatype.name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return (isinstance(value, int) or value.is_integer()) and least <= value <= most
    return datatype.is_float and _fits(datatype, value)


def _fits(datatype: DataType, value: float) -> bool:
    import numpy as np

    # NumPy has no BF16, whose range is that of FP32.
    kind: Any = np.float32 if datatype is DataType.BF16 else datatype.numpy.type
    try:
        with np.errstate(over="ignore", under="ignore"):
            cast = float(kind(value))
    except OverflowError:  # an integer beyond all floats
        return False
    return math.isfinite(cast) and (cast == value if isinstance(value, int) else cast != 0 or value == 0)


def _check_padding(
    scope: Scope, at: int, block: BlockDeclaration, control: ForEach, written: Mapping[str, Wire]
) -> None:
    if control.pad and control.count is None:
        raise PipelineError(
            f"{block.title} says `pad:` and no `count:`",
            cause="without a count every item is worked on, so that nothing is left to fill",
            next_step="name the wire that counts the items, or leave `pad:` out",
        )
    for name, value in control.pad.items():
        _check_value(block, name, _inside_only(block, name, written, "pad"), value, "pad")


def _check_rounds(
    inside: Scope, scope: Scope, at: int, block: BlockDeclaration, control: Repeat, written: Mapping[str, Wire]
) -> None:
    _check_once(block, control.carry.values())
    for name, read in control.carry.items():
        wire, before = _inside(inside, at, block, name, written, "carry"), scope.wires[read]
        if wire != before:
            raise PipelineError(
                f"{block.title} carries '{name}' {wire} to '{read}' {before}",
                cause="what one round writes, the next one reads: both must be of one datatype and dims",
                next_step="change the steps inside, or carry another wire",
                drawing=scope.down_to(at, [read], f"'{name}' {wire} would take its place"),
            )
    if control.until is None:
        return
    wire = _inside(inside, at, block, control.until, written, "until")
    if wire != _YES_OR_NO:
        raise PipelineError(
            f"`until:` of {block.title} is '{control.until}' {wire}, and must be {_YES_OR_NO}",
            cause="a row is done as soon as it holds",
            next_step="compute it inside the block, e.g. with the step threshold",
            drawing=inside.after(len(inside.steps) - 1, [f"{control.until}: {wire}"], f"`until:` takes {_YES_OR_NO}"),
        )


def _check_once(block: BlockDeclaration, read: Iterable[str]) -> None:
    names = list(read)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise PipelineError(
            f"{block.title} carries two wires to '{twice[0]}'",
            cause="the next round could read one of them only",
            next_step="carry one",
        )
