# SPDX-License-Identifier: Apache-2.0
"""The figure of a placed pipeline.

A wire lies in the box of the part that writes it where that part also reads it, and between the boxes where it
travels over a hop: what is outside of boxes is what a request costs.
"""

__all__ = ["pipeline_figure"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.drawing.essence import block_condition, block_details, parameter_lines
from repo_tool.pipelines.drawing.figure import Box, BoxKind, Edge, Figure, Item, Node, NodeKind
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.spec import ForEach, OtherWire, PipelineFile, When
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage
from repo_tool.pipelines.wire import Wire

_BOXES = {
    PartKind.GRAPH: (BoxKind.GRAPH, "ONNX graph"),
    PartKind.PYTHON: (BoxKind.PYTHON, "Python"),
    PartKind.CONTROL: (BoxKind.CONTROL, "Python, calls models"),
}


def pipeline_figure(pipeline: PipelineFile, compiled: CompiledPipeline, *, version: int | None = None) -> Figure:
    """What ``repo-tool pipeline graph`` draws; ``version`` is that of the published models."""
    drawn = _Drawn()
    scope = _Scope(
        prefix="",
        wires=compiled.wires,
        source={name: drawn.terminal(name, compiled.wires, NodeKind.INPUT) for name in compiled.typed.inputs},
    )
    items: list[Item] = [drawn.nodes[f"input {name}"] for name in compiled.typed.inputs]
    told = frozenset(compiled.typed.outputs)
    for place, part in enumerate(compiled.parts):
        box, outside = _part(part, compiled.parts[place + 1 :], scope, drawn, told, version=version)
        items += [box, *outside]
    for name in compiled.typed.outputs:
        drawn.terminal(name, compiled.wires, NodeKind.OUTPUT)
        items.append(drawn.nodes[f"output {name}"])
        drawn.edges.append(Edge(source=scope.source[name], target=f"output {name}"))
    return Figure(
        title=pipeline.name,
        description=pipeline.description,
        items=tuple(items),
        edges=tuple(dict.fromkeys(drawn.edges)),
    )


@dataclass(slots=True)
class _Drawn:
    """Nodes and edges so far."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def add(self, node: Node, sources: Iterable[str] = ()) -> Node:
        self.nodes[node.identity] = node
        self.edges += [Edge(source=source, target=node.identity) for source in sources]
        return node

    def terminal(self, name: str, wires: Mapping[str, Wire], kind: NodeKind) -> str:
        node = Node(identity=f"{kind.value} {name}", kind=kind, title=name, lines=(str(wires[name]),))
        return self.add(node).identity


@dataclass(slots=True)
class _Scope:
    """The wires that stages see, and the node where each comes from."""

    prefix: str  # of the identities of nodes in it
    wires: Mapping[str, Wire]
    source: dict[str, str]


def _part(
    part: Part, later: Sequence[Part], scope: _Scope, drawn: _Drawn, told: frozenset[str], *, version: int | None
) -> tuple[Box, list[Item]]:
    """Its box, and the wires beside it that further parts read."""
    read_here = {wire for stage in part.stages for wire in stage.inputs.values()}
    read_later = {wire for other in later for stage in other.stages for wire in stage.inputs.values()}
    inside: list[Item] = []
    outside: list[Item] = []
    for stage in part.stages:
        item, written = _stage(stage, scope, drawn)
        inside.append(item)
        for wire, sources in written.items():
            if wire not in read_here | read_later:
                scope.source[wire] = sources[0]  # only the client reads it
                continue
            (inside if wire in read_here else outside).append(_wire(wire, sources, scope, drawn))
    return _part_box(part, tuple(inside), version), outside


def _part_box(part: Part, items: tuple[Item, ...], version: int | None) -> Box:
    identity, reason = f"part {part.name}", part.reason
    if part.kind is PartKind.MEMBER:
        (stage,) = part.stages
        assert isinstance(stage, ModelStage)  # noqa: S101 # what a member is
        tag = f"{stage.config.backend or stage.config.platform} · version {stage.version}"
        return Box(identity=identity, kind=BoxKind.MEMBER, title=part.name, tag=tag, reason=reason, items=items)
    kind, tag = _BOXES[part.kind]
    tag += f" · version {version}" if version else ""
    return Box(identity=identity, kind=kind, title=part.name, tag=tag, reason=reason, items=items)


def _wire(wire: str, sources: Sequence[str], scope: _Scope, drawn: _Drawn) -> Node:
    """A wire that is read, as a node between who writes it and who reads it."""
    identity = f"{scope.prefix}wire {wire}"
    scope.source[wire] = identity
    node = Node(identity=identity, kind=NodeKind.WIRE, title=wire, lines=(str(scope.wires[wire]),))
    return drawn.add(node, sources)


def _stage(stage: Stage, scope: _Scope, drawn: _Drawn) -> tuple[Item, dict[str, list[str]]]:
    """What stands for a stage, and for each wire that it writes the nodes where that comes from."""
    if isinstance(stage, BlockStage):
        return _block(stage, scope, drawn)
    identity = f"{scope.prefix}stage {stage.name} {len(drawn.nodes)}"
    node = _step_node(stage, identity) if isinstance(stage, StepStage) else _model_node(stage, identity)
    drawn.add(node, (scope.source[wire] for wire in stage.inputs.values()))
    return node, {wire: [identity] for wire in stage.outputs.values()}


def _step_node(stage: StepStage, identity: str) -> Node:
    kind = stage.step.name
    title = kind if stage.name in {"", kind} else f"{stage.name}: {kind}"
    return Node(identity=identity, kind=NodeKind.STEP, title=title, lines=parameter_lines(stage.step.code))


def _model_node(stage: ModelStage, identity: str) -> Node:
    model = stage.config.name
    title = model if stage.name in {"", model} else f"{stage.name}: {model}"
    return Node(identity=identity, kind=NodeKind.MODEL, title=title, lines=(f"model, version {stage.version}",))


def _block(stage: BlockStage, scope: _Scope, drawn: _Drawn) -> tuple[Item, dict[str, list[str]]]:
    identity = f"{scope.prefix}block {stage.name} {len(drawn.nodes)}"
    inner = _Scope(
        prefix=f"{identity} ",
        wires=stage.wires,
        source={inside: scope.source[outside] for inside, outside in stage.inputs.items()},
    )
    items: list[Item] = list(_items_of_rows(stage, inner, drawn))
    read = set(_read_inside(stage))
    condition = block_condition(stage.control)
    looked_at_first = condition is not None and condition[0] in inner.source
    if looked_at_first:
        items.append(_condition(condition, inner, drawn))
    for nested in stage.stages:
        item, written = _stage(nested, inner, drawn)
        items.append(item)
        for wire, sources in written.items():
            if wire in read:
                items.append(_wire(wire, sources, inner, drawn))
            else:
                inner.source[wire] = sources[0]
    if condition is not None and not looked_at_first:
        items.append(_condition(condition, inner, drawn))
    kind = stage.kind.replace("_", " ")
    title = kind if stage.name in {"", stage.kind} else f"{kind}: {stage.name}"
    box = Box(identity=identity, kind=BoxKind.BLOCK, title=title, reason=block_details(stage), items=tuple(items))
    return box, {
        outside: [inner.source[inside], *_otherwise(stage, inside, scope)] for inside, outside in stage.outputs.items()
    }


def _items_of_rows(stage: BlockStage, inner: _Scope, drawn: _Drawn) -> Iterator[Node]:
    """The items of ``for_each`` are wires of their own."""
    if isinstance(stage.control, ForEach):
        for inside, outside in stage.control.items.items():
            yield _wire(inside, [inner.source[outside]], inner, drawn)


def _read_inside(stage: BlockStage) -> Iterator[str]:
    for nested in stage.stages:
        yield from nested.inputs.values()
    if (condition := block_condition(stage.control)) is not None:
        yield condition[0]


def _condition(condition: tuple[str, str] | None, inner: _Scope, drawn: _Drawn) -> Node:
    assert condition is not None  # noqa: S101 # asked before
    wire, words = condition
    node = Node(identity=f"{inner.prefix}condition", kind=NodeKind.CONDITION, title=words)
    return drawn.add(node, [inner.source[wire]])


def _otherwise(stage: BlockStage, inside: str, scope: _Scope) -> Iterator[str]:
    """Where the rows come from that did not go through the block."""
    if isinstance(stage.control, When):
        value = stage.control.otherwise.get(inside)
        if isinstance(value, OtherWire):
            yield scope.source[stage.inputs.get(value.wire, value.wire)]
