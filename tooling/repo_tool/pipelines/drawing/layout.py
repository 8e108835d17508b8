# SPDX-License-Identifier: Apache-2.0
"""Where everything of a figure lies, from the top down: the innermost boxes first, then what holds them.

A box has a column of its own on the left for its text, so that no edge crosses letters. An edge enters a box through a
port in its upper side and leaves through one in its lower side.
"""

__all__ = ["Layout", "Path", "PlacedBox", "PlacedNode", "lay_out"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from repo_tool.pipelines.drawing.figure import Box, BoxKind, Edge, Figure, Item, Node, NodeKind
from repo_tool.pipelines.drawing.layers import Cell, Layers, Link, layered
from repo_tool.pipelines.drawing.lettering import LINE, code_width, shortened, wrapped
from repo_tool.printable import printable

NAME_COLUMNS, TEXT_COLUMNS, REASON_LINES = 44, 48, 7
_COLUMN = 200.0  # px for the text of a box
_BLOCK_COLUMN = 150.0
_EDGE_GAP, _PORT_GAP, _WIDEST_GAP = 26.0, 20.0, 64.0
_SIDE = 18.0  # between a box's side and what is in it
_PORT_SPACING = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedNode:
    """A node and its rectangle; ``lines`` are as they are written, ``title`` may be shortened."""

    node: Node
    title: str
    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float

    @property
    def seam(self) -> float:
        """Where the title ends that has the lines beside it, as a wire's has its type."""
        return self.x + (self.width - code_width(" ".join(("", *self.lines)))) / 2 + code_width(self.title) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBox:
    """A box and its rectangle; its text begins at its upper left corner."""

    box: Box
    title: tuple[str, ...]
    reason: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A piece of an edge: points with vertical tangents between every second and third, straight otherwise."""

    points: tuple[tuple[float, float], ...]
    has_arrow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Everything, outer boxes before what is in them."""

    width: float
    height: float
    boxes: tuple[PlacedBox, ...] = ()
    nodes: tuple[PlacedNode, ...] = ()
    paths: tuple[Path, ...] = ()

    def moved(self, right: float, down: float) -> "Layout":
        """The same elsewhere."""
        return replace(
            self,
            boxes=tuple(replace(box, x=box.x + right, y=box.y + down) for box in self.boxes),
            nodes=tuple(replace(node, x=node.x + right, y=node.y + down) for node in self.nodes),
            paths=tuple(
                replace(path, points=tuple((x + right, y + down) for x, y in path.points)) for path in self.paths
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inside:
    """What is in a container, its ports by the node that an edge comes from."""

    layout: Layout
    ports_in: dict[str, float]
    ports_out: dict[str, float]


def lay_out(figure: Figure) -> Layout:
    """Place everything; the upper left corner of the whole is 0, 0."""
    return _inside(figure.items, figure.edges, pad=0.0).layout


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The layers of a container with the top and the height of each."""

    layers: Layers
    tops: list[float]
    heights: list[float]
    width: float
    height: float

    def top_of(self, cell: Cell) -> float:
        """Cells lie in the middle of their layer."""
        return self.tops[cell.layer] + (self.heights[cell.layer] - cell.height) / 2

    def is_alone(self, cell: Cell) -> bool:
        """Whether nothing else is in its layer, no edge either."""
        return len(self.layers.rows[cell.layer]) == 1


def _inside(items: Sequence[Item], edges: Sequence[Edge], *, pad: float) -> _Inside:
    """Place what is in a container; ``pad`` is left free above and below, where no edge enters or leaves."""
    holder = {node.identity: item.identity for item in items for node in _nodes_of(item)}
    nested = {item.identity: _box(item, edges) for item in items if isinstance(item, Box)}
    cells = {item.identity: _cell(item, nested) for item in items}
    entries, exits, links = _links(holder, cells, edges)
    layers = layered([*entries.values(), *cells.values(), *exits.values()], links, spread=_spread_of(items))
    rows = _rows(layers, above=0.0 if entries else pad, below=0.0 if exits else pad)
    placed = [_placed(item, cells[item.identity], nested, rows) for item in items]
    own = tuple(_paths(rows, {item.identity: item for item in items}))
    return _Inside(
        layout=Layout(
            width=rows.width,
            height=rows.height,
            boxes=tuple(box for each in placed for box in each.boxes),
            nodes=tuple(node for each in placed for node in each.nodes),
            paths=(*own, *(path for each in placed for path in each.paths)),
        ),
        ports_in={source: cell.x for source, cell in entries.items()},
        ports_out={source: cell.x for source, cell in exits.items()},
    )


def _nodes_of(item: Item) -> Iterator[Node]:
    return item.nodes() if isinstance(item, Box) else iter((item,))


def _links(
    holder: dict[str, str], cells: dict[str, Cell], edges: Sequence[Edge]
) -> tuple[dict[str, Cell], dict[str, Cell], list[Link]]:
    """The edges as this container sees them: between its items, from where they enter, to where they leave."""
    entries: dict[str, Cell] = {}
    exits: dict[str, Cell] = {}
    links: dict[tuple[str, int, int], Link] = {}
    for edge in edges:
        tail, head = holder.get(edge.source), holder.get(edge.target)
        if tail == head:  # within one item, or elsewhere
            continue
        source = edge.source
        start = cells[tail] if tail else entries.setdefault(source, Cell(f"in:{source}", first=True))
        end = cells[head] if head else exits.setdefault(source, Cell(f"out:{source}", last=True))
        links.setdefault((source, id(start), id(end)), Link(start, end, source))
    return entries, exits, list(links.values())


def _cell(item: Item, nested: dict[str, "_Boxed"]) -> Cell:
    if isinstance(item, Box):
        boxed = nested[item.identity]
        layout = boxed.inside.layout
        move = boxed.column
        return Cell(
            item.identity,
            width=layout.width + boxed.column + _SIDE,
            height=boxed.height,
            ports_in={source: x + move for source, x in boxed.inside.ports_in.items()},
            ports_out={source: x + move for source, x in boxed.inside.ports_out.items()},
        )
    _, _, width, height = _lettered(item)
    return Cell(
        item.identity, width=width, height=height, first=item.kind is NodeKind.INPUT, last=item.kind is NodeKind.OUTPUT
    )


def _lettered(node: Node) -> tuple[str, tuple[str, ...], float, float]:
    """A node's text as it is written, and the size that it needs."""
    title = shortened(printable(node.title), NAME_COLUMNS)
    lines = tuple(shortened(printable(line), TEXT_COLUMNS) for line in node.lines)
    if node.kind in {NodeKind.STEP, NodeKind.MODEL}:
        width = max(150.0, *(code_width(line) + 28 for line in (title, *lines)))
        return title, lines, width, 14 + LINE * (1 + len(lines))
    return title, lines, code_width(" ".join((title, *lines))) + 28, 22.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Boxed:
    """A box's inside and the text beside it."""

    inside: _Inside
    title: tuple[str, ...]
    reason: tuple[str, ...]
    column: float
    height: float


def _box(box: Box, edges: Sequence[Edge]) -> _Boxed:
    inside = _inside(box.items, edges, pad=_PORT_GAP)
    width = max(_BLOCK_COLUMN if box.kind is BoxKind.BLOCK else _COLUMN, code_width(box.tag) + 28)
    title = _name_lines(box.title, width - 28)
    room = int(inside.layout.height / LINE) - len(title) - 3
    reason = wrapped(printable(box.reason), width - 28, most=max(REASON_LINES, room))
    text = 24 + LINE * (len(title) + bool(box.tag) + len(reason)) + (4 if reason else 0)
    return _Boxed(inside=inside, title=title, reason=reason, column=width, height=max(inside.layout.height, text))


def _name_lines(name: str, width: float) -> tuple[str, ...]:
    """A model's name, broken after an underscore or a blank where it is too long for one line."""
    lines: list[str] = []
    rest = shortened(printable(name), 66)
    most = max(8, int(width / code_width("m")))
    while len(rest) > most and len(lines) < 3:
        cut = max(rest.rfind(sign, 1, most) for sign in "_ -.") + 1 or most
        lines.append(rest[:cut])
        rest = rest[cut:]
    return (*lines, rest)


def _spread_of(items: Sequence[Item]) -> Callable[[Cell, list[Link], list[Link]], None]:
    nodes = {item.identity for item in items if isinstance(item, Node)}

    def spread(cell: Cell, arriving: list[Link], _leaving: list[Link]) -> None:
        if cell.name in nodes:
            cell.ports_in = _fan([link.source for link in arriving], cell.width)

    return spread


def _fan(sources: Sequence[str], width: float) -> dict[str, float]:
    """Arriving edges side by side along the upper side."""
    unique = list(dict.fromkeys(sources))
    step = min(_PORT_SPACING, (width - 24) / max(1, len(unique) - 1))
    return {source: width / 2 + (place - (len(unique) - 1) / 2) * step for place, source in enumerate(unique)}


def _rows(layers: Layers, *, above: float, below: float) -> _Rows:
    """Of each layer the top and the height; the further edges go sideways, the more room they have."""
    heights = [max((cell.height for cell in row), default=0.0) for row in layers.rows]
    tops = [above]
    for place in range(1, len(heights)):
        sideways = max((abs(link.end - link.start) for link in layers.links if link.head.layer == place), default=0.0)
        is_port = all(cell.first or cell.last for cell in layers.rows[place]) or not heights[place - 1]
        gap = min(_WIDEST_GAP, (_PORT_GAP if is_port else _EDGE_GAP) + sideways * 0.07)
        tops.append(tops[-1] + heights[place - 1] + gap)
    cells = [cell for row in layers.rows for cell in row]
    left = min((cell.x for cell in cells), default=0.0)
    for cell in cells:
        cell.x -= left
    width = max((cell.x + cell.width for cell in cells), default=0.0)
    return _Rows(layers=layers, tops=tops, heights=heights, width=width, height=tops[-1] + heights[-1] + below)


def _placed(item: Item, cell: Cell, nested: dict[str, _Boxed], rows: _Rows) -> Layout:
    """One item with all that is in it; a box that is alone in its layer is as wide as what holds it."""
    y = rows.top_of(cell)
    if isinstance(item, Node):
        title, lines, width, height = _lettered(item)
        node = PlacedNode(node=item, title=title, lines=lines, x=cell.x, y=y, width=width, height=height)
        return Layout(width=width, height=height, nodes=(node,))
    boxed = nested[item.identity]
    inner = boxed.inside.layout
    left, width = (0.0, rows.width) if rows.is_alone(cell) else (cell.x, cell.width)
    own = PlacedBox(box=item, title=boxed.title, reason=boxed.reason, x=left, y=y, width=width, height=cell.height)
    spare = (cell.height - inner.height) / 2
    inside = inner.moved(cell.x + boxed.column, y + spare)
    stretched = tuple(_stretched(path, y, y + cell.height, inner, y + spare) for path in inside.paths)
    return replace(inside, boxes=(own, *inside.boxes), paths=stretched)


def _stretched(path: Path, top: float, bottom: float, inner: Layout, inner_top: float) -> Path:
    """A path that ends at a port reaches the side of the box, where the box is higher than what is in it."""
    (x0, y0), (x1, y1) = path.points[0], path.points[-1]
    points = list(path.points)
    if abs(y0 - inner_top) < 0.01 and y0 > top:
        points[0] = (x0, top)
    if abs(y1 - (inner_top + inner.height)) < 0.01 and y1 < bottom:
        points[-1] = (x1, bottom)
    return replace(path, points=tuple(points))


def _paths(rows: _Rows, items: dict[str, Item]) -> Iterator[Path]:
    for link in rows.layers.links:
        tail, head = link.tail, link.head
        leaves, arrives = rows.tops[tail.layer] + rows.heights[tail.layer], rows.tops[head.layer]
        upper = leaves if tail.is_bend else rows.top_of(tail) + tail.height
        lower = arrives + rows.heights[head.layer] if head.is_bend else rows.top_of(head)
        points = ((link.start, upper), (link.start, leaves), (link.end, arrives), (link.end, lower))
        target = items.get(head.name)
        yield Path(points=points, has_arrow=isinstance(target, Node) and target.kind is not NodeKind.WIRE)
