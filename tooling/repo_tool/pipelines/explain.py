# SPDX-License-Identifier: Apache-2.0
"""Which part of a compiled pipeline runs where and why, what travels between the parts, and what that costs."""

__all__ = ["ExplainedPart", "Explanation", "Hop", "explain"]

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from repo_tool.config.model import ModelConfig
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.placement import Part, PartKind, title_of
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage, flat
from repo_tool.pipelines.wire import Wire

CLIENT = "client"

# What one more model of an ensemble adds to a request, and a call out of a Python-backend model: microseconds, and more
# for each megabyte that it reads. Measured with perf/hop_cost.py on two cores, models being Python processes as they
# are in the embedded server; a C++ backend of a GPU server has no process to cross, and costs less.
_HOP_US, _HOP_US_PER_MB = 165, 450
_CALL_US, _CALL_US_PER_MB = 410, 1000

_RUNS_IN = {
    PartKind.GRAPH: "ONNX Runtime",
    PartKind.PYTHON: "Python",
    PartKind.CONTROL: "Python, which calls models",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """What travels from one model to another for each row; ``cost_us`` is of a request of one row.

    ``bytes_a_row`` is None where the size differs from row to row (BYTES, free dims). Between the client and a model
    there is no cost to choose, so none is told; ``source`` or ``target`` is then ``client``. A call out of a block is
    made for each of its rows, items or rounds together.
    """

    source: str
    target: str
    wires: Mapping[str, Wire]
    bytes_a_row: int | None
    cost_us: int | None
    is_call: bool = False  # out of a block

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        types = {name: {"datatype": w.datatype.wire_name, "dims": list(w.dims)} for name, w in self.wires.items()}
        return {
            "source": self.source,
            "target": self.target,
            "wires": types,
            "bytes_a_row": self.bytes_a_row,
            "cost_us": self.cost_us,
            "is_call": self.is_call,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedPart:
    """One model of the result."""

    name: str
    kind: PartKind
    runs_in: str
    stages: tuple[str, ...]  # their titles, those inside blocks included
    reason: str
    instances: int | None  # None: as many as Triton makes where nothing is said
    version: int | None = None  # of a model of the repository
    packages: tuple[str, ...] = ()  # that its steps import beside numpy

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "runs_in": self.runs_in,
            "stages": list(self.stages),
            "reason": self.reason,
            "instances": self.instances,
            "version": self.version,
            "packages": list(self.packages),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Of a whole pipeline; ``merged`` are the models of the repository that became part of a graph."""

    pipeline: str
    is_ensemble: bool
    max_batch_size: int
    parts: tuple[ExplainedPart, ...]
    hops: tuple[Hop, ...]
    merged: Mapping[str, int]

    @property
    def cost_us(self) -> int:
        """What the hops add to a request of one row, as far as their sizes are known."""
        return sum(hop.cost_us or 0 for hop in self.hops)

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "pipeline": self.pipeline,
            "is_ensemble": self.is_ensemble,
            "max_batch_size": self.max_batch_size,
            "parts": [part.to_dict() for part in self.parts],
            "hops": [hop.to_dict() for hop in self.hops],
            "cost_us": self.cost_us,
            "merged": dict(self.merged),
        }


def explain(compiled: CompiledPipeline) -> Explanation:
    """What a pipeline was compiled to and why."""
    typed = compiled.typed
    configs = {model.config.name: model.config for model in (*compiled.models, compiled.own)}
    return Explanation(
        pipeline=compiled.own.config.name,
        is_ensemble=compiled.is_ensemble,
        max_batch_size=typed.max_batch_size,
        parts=tuple(_part(part, configs.get(part.name)) for part in compiled.parts),
        hops=(*_hops(compiled), *(call for part in compiled.parts for call in _calls(part.name, part.stages))),
        merged={name: number for name, number in typed.members.items() if name not in compiled.called_versions},
    )


def _part(part: Part, made: ModelConfig | None) -> ExplainedPart:
    member = part.stages[0] if part.kind is PartKind.MEMBER else None
    config = member.config if isinstance(member, ModelStage) else made
    steps = [stage for stage in flat(part.stages) if isinstance(stage, StepStage)]
    needs_python = part.kind in (PartKind.PYTHON, PartKind.CONTROL)
    return ExplainedPart(
        name=part.name,
        kind=part.kind,
        runs_in=_RUNS_IN.get(part.kind) or _backend(config),
        stages=tuple(_titles(part.stages)),
        reason=part.reason,
        instances=_instances(config),
        version=member.version if isinstance(member, ModelStage) else None,
        packages=tuple(dict.fromkeys(name for step in steps for name in step.step.kind.packages if needs_python)),
    )


def _backend(config: ModelConfig | None) -> str:
    return (config.backend or config.platform) if config is not None else ""


def _instances(config: ModelConfig | None) -> int | None:
    counts = [group.count or 1 for group in config.instance_groups] if config is not None else []
    return sum(counts) or None


def _titles(stages: Iterable[Stage]) -> Iterator[str]:
    for stage in stages:
        yield title_of(stage)
        if isinstance(stage, BlockStage):
            yield from _titles(stage.stages)


def _hops(compiled: CompiledPipeline) -> Iterator[Hop]:
    """Between the client and the parts, in the order of the parts; the first part costs nothing more than any model."""
    typed = compiled.typed
    writers = dict.fromkeys(typed.inputs, CLIENT)
    passing = {tensor: part.name for part in compiled.parts for tensor in part.passes.values()}
    for at, part in enumerate(compiled.parts):
        source_of = {wire: passing.get(part.takes.get(wire, ""), writers[wire]) for wire in part.reads}
        sources = dict.fromkeys(source_of.values())
        for source in sources:
            read = [wire for wire in part.reads if source_of[wire] == source]
            # An ensemble passes a model all that it reads at once, so that its fixed cost is told once.
            is_first = source == next((each for each in sources if each != CLIENT), CLIENT)
            cost = _cost(typed.wires, read, fixed=_HOP_US if is_first else 0, per_mb=_HOP_US_PER_MB) if at else None
            yield _hop(source, part.name, {wire: typed.wires[wire] for wire in read}, cost)
        writers |= dict.fromkeys(part.writes, part.name)
    for source in dict.fromkeys(writers[wire] for wire in typed.outputs):
        told = {wire: typed.wires[wire] for wire in typed.outputs if writers[wire] == source}
        yield _hop(source, CLIENT, told, None)


def _hop(source: str, target: str, wires: Mapping[str, Wire], cost: int | None, *, is_call: bool = False) -> Hop:
    return Hop(
        source=source,
        target=target,
        wires=wires,
        bytes_a_row=_bytes(wires.values()),
        cost_us=cost,
        is_call=is_call,
    )


def _calls(caller: str, stages: Iterable[Stage]) -> Iterator[Hop]:
    """The calls out of a block."""
    for stage in stages:
        if not isinstance(stage, BlockStage):
            continue
        for inner in stage.stages:
            if isinstance(inner, ModelStage):
                read = {wire: stage.wires[wire] for wire in inner.inputs.values()}
                cost = _cost(read, list(read), fixed=_CALL_US, per_mb=_CALL_US_PER_MB)
                yield _hop(caller, inner.config.name, read, cost, is_call=True)
        yield from _calls(caller, stage.stages)


def _cost(wires: Mapping[str, Wire], names: Iterable[str], *, fixed: int, per_mb: int) -> int:
    """The least that it costs: what has no known size counts for nothing."""
    sizes = [_bytes([wires[name]]) or 0 for name in names]
    return fixed + round(per_mb * sum(sizes) / 1e6)


def _bytes(wires: Iterable[Wire]) -> int | None:
    sizes = [None if -1 in wire.dims else prod(wire.dims) * wire.datatype.byte_size or None for wire in wires]
    return None if None in sizes else sum(size for size in sizes if size is not None)
