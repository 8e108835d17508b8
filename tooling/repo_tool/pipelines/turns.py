# SPDX-License-Identifier: Apache-2.0
"""The parts of a pipeline one after another, also where nothing that they compute keeps them apart.

Triton (2.51) is not safe where a model of an ensemble fails while another one runs beside it: it answers nonsense
("incomplete string data"), never again, or ends. That was seen with every pair of backends and datatypes, of models
that read the client's input and of those that read what another one wrote; and a bad row is all it takes. So no two
models of a pipeline run at once: one that the tool writes waits for another by reading something of it, or passes on
what the next one reads; and between two that it does not write, it puts one that does both.
"""

__all__ = ["in_turn"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from math import prod

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.wire import Wire

_WHY = "where a model fails beside another one, Triton (2.51) may hang or end"
_TEXT_BYTES, _FREE_BYTES = 10_000, 1_000_000  # guessed, to choose the smaller of two wires


def in_turn(parts: Sequence[Part], wires: Mapping[str, Wire], pipeline: str) -> tuple[Part, ...]:
    """The parts in their order, each of them beginning when those before it have answered.

    Raises:
        PipelineError: one can only wait by a tensor that no Python model reads.
    """
    turns = _Turns(wires=wires, pipeline=pipeline, taken={*wires})
    for part in parts:
        turns.add(part)
    return tuple(turns.parts)


@dataclass(slots=True, kw_only=True)
class _Turns:
    """The parts so far, which run one after another."""

    wires: Mapping[str, Wire]
    pipeline: str
    taken: set[str]  # names of the ensemble's tensors
    parts: list[Part] = field(default_factory=list)

    def add(self, part: Part) -> None:
        """Put it behind all that it would run beside: the last of them has waited for the others."""
        last = self.parts[-1] if self.parts else None
        if last is None or _waits(part, last):
            self.parts.append(part)
        elif _is_ours(part):
            wire = self._smallest(last.writes, part.name, last.name)
            told = f"; it reads '{wire}' to begin after '{last.name}': {_WHY}" if part.stages else ""
            self.parts.append(replace(part, reads=(*part.reads, wire), reason=part.reason + told))
        elif _is_ours(last):
            self.parts.append(self._behind(last, part))
        else:
            self.add(self._gate(last, part))
            self.add(part)

    def _behind(self, last: Part, part: Part) -> Part:
        """The part reading what the last one passes on."""
        wire = self._smallest(part.reads, part.name, last.name)
        tensor = next(name for name in _numbered(f"{wire}_passed") if name not in self.taken)
        self.taken.add(tensor)
        told = f"; it passes '{wire}' on, so that '{part.name}' begins after it: {_WHY}" if last.stages else ""
        self.parts[-1] = replace(
            last,
            reads=tuple(dict.fromkeys((*last.reads, wire))),
            passes={**last.passes, wire: tensor},
            reason=last.reason + told,
        )
        return replace(part, takes={**part.takes, wire: tensor})

    def _gate(self, last: Part, part: Part) -> Part:
        """A model that does nothing but wait and pass on."""
        names = {each.name for each in self.parts}
        return Part(
            kind=PartKind.PYTHON,
            stages=(),
            name=next(name for name in _numbered(f"{self.pipeline}_gate") if name not in names),
            reason=f"it lets '{part.name}' begin only after '{last.name}', which would run beside it: {_WHY}",
            reads=(),
            writes=(),
            max_batch_size=part.max_batch_size,
            rows=part.rows,
        )

    def _smallest(self, names: Iterable[str], waiting: str, last: str) -> str:
        """What costs the least to hand over."""
        known = [name for name in names if self.wires[name].datatype is not DataType.BF16]
        if not known:
            raise PipelineError(
                f"'{waiting}' cannot wait for '{last}', and {_WHY}",
                cause="it would have to wait by a tensor that is BF16, which NumPy does not have",
                next_step="add the model again with FP32 there, or wire one of the two behind the other",
            )
        return min(known, key=lambda name: _size(self.wires[name]))


def _waits(part: Part, last: Part) -> bool:
    """Whether it reads anything of the last one; it is then behind all that one is behind."""
    return not _tensors_read(part).isdisjoint((*last.writes, *last.passes.values()))


def _tensors_read(part: Part) -> set[str]:
    return {part.takes.get(wire, wire) for wire in part.reads}


def _is_ours(part: Part) -> bool:
    """Whether its model is a program of the tool's, which may read and write more than its steps do."""
    return part.kind in (PartKind.PYTHON, PartKind.CONTROL)


def _size(wire: Wire) -> int:
    """Of a row, in bytes."""
    known = prod(max(dim, 1) for dim in wire.dims) * (wire.datatype.byte_size or _TEXT_BYTES)
    return known * _FREE_BYTES if -1 in wire.dims else known


def _numbered(name: str) -> Iterable[str]:
    return (f"{name}{number if number > 1 else ''}" for number in count(1))
