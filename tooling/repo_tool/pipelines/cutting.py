# SPDX-License-Identifier: Apache-2.0
"""Where each stage of a pipeline runs, and why: its stages cut into parts."""

__all__ = ["place"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from repo_tool.pipelines.graphs import is_arithmetic, why_apart
from repo_tool.pipelines.placement import Part, PartKind, title_of
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, TypedPipeline

_WHY_CONTROL = {
    "when": "it chooses rows while it runs, which no ensemble can",
    "for_each": "it makes rows of the items of a row, which no ensemble can",
    "repeat": "it runs a number of rounds that only the answers tell, which no ensemble can",
}
_NO_NEIGHBOUR = "nothing beside it can be part of an ONNX graph"
_LONE_GRAPH = "arithmetic without Python beside it: an ONNX graph, which runs without Python"


def place(typed: TypedPipeline, pipeline: PipelineFile, unmerged: Mapping[str, str] | None = None) -> tuple[Part, ...]:
    """Cut a typed pipeline into parts; ``unmerged`` are the stages that cannot be part of a graph, with the reason."""
    apart = {stage.name: _why_no_graph(stage, typed, (unmerged or {}).get(stage.name)) for stage in typed.stages}
    typed = replace(typed, stages=_python_together(typed.stages, apart))
    runs = _with_lone_arithmetic(_runs(typed.stages, apart), apart)
    names = _Names(pipeline.name, len(runs))
    return tuple(_part(run, at, typed, apart, names) for at, run in enumerate(runs))


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring stages that will be one part."""

    kind: PartKind
    stages: tuple[Stage, ...]

    @property
    def is_python(self) -> bool:
        return self.kind in (PartKind.PYTHON, PartKind.CONTROL)

    @property
    def has_model(self) -> bool:
        return any(isinstance(stage, ModelStage) for stage in self.stages)


def _why_no_graph(stage: Stage, typed: TypedPipeline, unmerged: str | None) -> str | None:
    """None where a stage may be part of an ONNX graph; else the reason why not."""
    if unmerged is not None:
        return unmerged
    if isinstance(stage, BlockStage):
        return _WHY_CONTROL[stage.kind]
    if not stage.merge:
        return "the file says `merge: false`"
    return why_apart(stage.config) if isinstance(stage, ModelStage) else is_arithmetic(stage, typed.wires)


def _python_together(stages: Sequence[Stage], apart: Mapping[str, str | None]) -> tuple[Stage, ...]:
    """The stages with each step that needs Python moved up to another one, where all that it reads is there by then.

    It saves a hop, and having one model wait for another (`in_turn` says why it must).
    """
    ordered: list[Stage] = []
    for stage in stages:
        place = len(ordered)
        if _kind(stage, apart[stage.name]) is PartKind.PYTHON:
            read = set(stage.inputs.values())
            written = [at for at, before in enumerate(ordered) if read & set(before.outputs.values())]
            python = [at for at, before in enumerate(ordered) if _kind(before, apart[before.name]) is PartKind.PYTHON]
            place = next((at + 1 for at in python if at + 1 > max(written, default=-1)), place)
        ordered.insert(place, stage)
    return tuple(ordered)


def _runs(stages: Sequence[Stage], apart: Mapping[str, str | None]) -> list[_Run]:
    """What may be one graph together, what needs Python together, other models alone."""
    runs: list[_Run] = []
    for stage in stages:
        kind = _kind(stage, apart[stage.name])
        last = runs[-1] if runs else None
        if last is None or kind is PartKind.MEMBER or last.kind is PartKind.MEMBER:
            runs.append(_Run(kind, (stage,)))
        elif kind is last.kind or (last.is_python and kind is not PartKind.GRAPH):
            both = PartKind.CONTROL if PartKind.CONTROL in (kind, last.kind) else kind
            runs[-1] = _Run(both, (*last.stages, stage))
        else:
            runs.append(_Run(kind, (stage,)))
    return [_alone(run) for run in runs]


def _kind(stage: Stage, why_apart: str | None) -> PartKind:
    if isinstance(stage, BlockStage):
        return PartKind.CONTROL
    if why_apart is None:
        return PartKind.GRAPH
    return PartKind.MEMBER if isinstance(stage, ModelStage) else PartKind.PYTHON


def _alone(run: _Run) -> _Run:
    """A model with nothing to merge with stays as it is."""
    is_one_model = run.kind is PartKind.GRAPH and len(run.stages) == 1 and isinstance(run.stages[0], ModelStage)
    return _Run(PartKind.MEMBER, run.stages) if is_one_model else run


def _with_lone_arithmetic(runs: Sequence[_Run], apart: Mapping[str, str | None]) -> list[_Run]:
    """Arithmetic without a model joins the Python beside it: a graph of its own would be a hop more."""
    joined: list[_Run] = []
    for at, run in enumerate(runs):
        is_lone = run.kind is PartKind.GRAPH and not run.has_model
        has_python = any(each.is_python for each in (*runs[max(at - 1, 0) : at], *runs[at + 1 : at + 2]))
        kind = PartKind.PYTHON if is_lone and has_python else run.kind
        if joined and joined[-1].is_python and kind in (PartKind.PYTHON, PartKind.CONTROL):
            before = joined.pop()
            kind = PartKind.CONTROL if PartKind.CONTROL in (before.kind, kind) else kind
            joined.append(_Run(kind, (*before.stages, *run.stages)))
        else:
            joined.append(_Run(kind, run.stages))
    return joined


def _part(run: _Run, at: int, typed: TypedPipeline, apart: Mapping[str, str | None], names: "_Names") -> Part:
    last = typed.stages.index(run.stages[-1])
    written = [wire for stage in run.stages for wire in stage.outputs.values()]
    later = {wire for stage in typed.stages[last + 1 :] for wire in stage.inputs.values()} | {*typed.outputs}
    read = dict.fromkeys(wire for stage in run.stages for wire in stage.inputs.values() if wire not in written)
    return Part(
        kind=run.kind,
        stages=run.stages,
        name=names.of(run, at),
        reason=_reason(run, apart),
        reads=tuple(read),
        writes=tuple(wire for wire in written if wire in later),
        max_batch_size=typed.max_batch_size,
        rows=typed.rows,
    )


@dataclass(slots=True)
class _Names:
    """Names for the models that are made."""

    pipeline: str
    parts: int
    taken: set[str] = field(default_factory=set)

    def of(self, run: _Run, at: int) -> str:
        if run.kind is PartKind.MEMBER and isinstance(run.stages[0], ModelStage):
            return run.stages[0].config.name
        if self.parts == 1:
            return self.pipeline
        role = "control" if run.kind is PartKind.CONTROL else "model" if run.has_model else "post" if at else "pre"
        names = (f"{self.pipeline}_{role}{number if number > 1 else ''}" for number in count(1))
        name = next(name for name in names if name not in self.taken)
        self.taken.add(name)
        return name


def _reason(run: _Run, apart: Mapping[str, str | None]) -> str:
    titles = {stage.name: title_of(stage) for stage in run.stages}
    first = run.stages[0]
    if run.kind is PartKind.MEMBER:
        return f"{titles[first.name]} runs as it is: {apart[first.name] or _NO_NEIGHBOUR}"
    if run.kind is PartKind.GRAPH:
        return f"one ONNX graph, without a hop between {_listed(titles.values())}" if len(titles) > 1 else _LONE_GRAPH
    needing = [f"{titles[name]} needs Python: {why}" for name in titles if (why := apart[name]) is not None]
    others = [title for name, title in titles.items() if apart[name] is None]
    beside = [f"{_listed(others)} could be a graph, which would be a hop more"] if others else []
    return "; ".join([*needing, *beside])


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
