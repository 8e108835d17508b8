# SPDX-License-Identifier: Apache-2.0
"""The cells of one container in layers: which layer, in which order, at which x; edges over several layers bend.

The way of Sugiyama, Tagawa and Toda (1981): longest-path layers, dummy cells where an edge passes a layer, barycentres
for the order; the x of each layer is then a least-squares fit to its neighbours.
"""

__all__ = ["Cell", "Layers", "Link", "layered"]

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from repo_tool.pipelines.drawing.settling import settled

_SWEEPS = 24
_BEND_GAP, _CELL_GAP = 16.0, 26.0


@dataclass(slots=True, eq=False)
class Cell:
    """Something that takes room in a layer; ``width`` and ``height`` in px, ``x`` is its left edge.

    A bend is a cell without an identity of its own: an edge passes there.
    """

    name: str
    width: float = 0.0
    height: float = 0.0
    first: bool = False  # belongs into the first layer
    last: bool = False  # into the last
    is_bend: bool = False
    ports_in: dict[str, float] = field(default_factory=dict)  # x within the cell where a source's edge arrives
    ports_out: dict[str, float] = field(default_factory=dict)
    layer: int = 0
    x: float = 0.0


@dataclass(slots=True, eq=False)
class Link:
    """An edge between cells of neighbouring layers; ``source`` is the node that the edge comes from in the end."""

    tail: Cell
    head: Cell
    source: str

    @property
    def start(self) -> float:
        """Its x at the tail."""
        return self.tail.x + self.tail.ports_out.get(self.source, self.tail.width / 2)

    @property
    def end(self) -> float:
        """Its x at the head."""
        return self.head.x + self.head.ports_in.get(self.source, self.head.width / 2)


@dataclass(slots=True)
class Layers:
    """The outcome: every cell has its layer and its x."""

    rows: list[list[Cell]]
    links: list[Link]
    arriving: dict[int, list[Link]] = field(default_factory=lambda: defaultdict(list))  # by the cell's `id`
    leaving: dict[int, list[Link]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for link in self.links:
            self.arriving[id(link.head)].append(link)
            self.leaving[id(link.tail)].append(link)


def layered(
    cells: Sequence[Cell], links: Sequence[Link], *, spread: Callable[[Cell, list[Link], list[Link]], None]
) -> Layers:
    """Place ``cells``; every link leads from an earlier one of them to a later one.

    ``spread`` sets the ports of a cell, given what arrives and what leaves in the order of the neighbouring layers.
    """
    _number(cells, links)
    bends, short = _with_bends(links)
    rows: list[list[Cell]] = [[] for _ in range(1 + max((cell.layer for cell in cells), default=0))]
    for cell in (*cells, *bends):
        rows[cell.layer].append(cell)
    arranged = Layers(rows, short)
    _order(arranged)
    _spread(arranged, spread)
    _place(arranged)
    _spread(arranged, spread)
    _place(arranged)
    return arranged


def _number(cells: Sequence[Cell], links: Sequence[Link]) -> None:
    has_first = any(cell.first for cell in cells)
    before: dict[int, list[Cell]] = defaultdict(list)
    for link in links:
        before[id(link.head)].append(link.tail)
    for cell in cells:
        least = max((tail.layer + 1 for tail in before[id(cell)]), default=int(has_first))
        cell.layer = 0 if cell.first else least
    deepest = max((cell.layer for cell in cells if not cell.last), default=0)
    bottom = max([deepest + 1, *(cell.layer for cell in cells if cell.last)])
    for cell in cells:
        cell.layer = bottom if cell.last else cell.layer


def _with_bends(links: Sequence[Link]) -> tuple[list[Cell], list[Link]]:
    """Links over one layer only; edges of one source that pass the same layer share the bend there."""
    bends: dict[tuple[int, str, int], Cell] = {}
    short: list[Link] = []
    for link in links:
        tail = link.tail
        for layer in range(link.tail.layer + 1, link.head.layer):
            key = (id(link.tail), link.source, layer)
            if key not in bends:
                bends[key] = Cell(f"{link.source}@{layer}", is_bend=True, layer=layer)
                short.append(Link(tail, bends[key], link.source))
            tail = bends[key]
        short.append(Link(tail, link.head, link.source))
    return list(bends.values()), short


def _order(layers: Layers) -> None:
    best, fewest = [list(row) for row in layers.rows], _crossings(layers)
    rank = _rank(layers)
    for sweep in range(_SWEEPS):
        for row in layers.rows if sweep % 2 == 0 else reversed(layers.rows):
            _sort_by_neighbours(row, layers, rank, upwards=sweep % 2 == 0)
            rank |= {id(cell): place for place, cell in enumerate(row)}
        found = _crossings(layers)
        if found < fewest:
            best, fewest = [list(row) for row in layers.rows], found
    layers.rows = best


def _rank(layers: Layers) -> dict[int, int]:
    return {id(cell): place for row in layers.rows for place, cell in enumerate(row)}


def _sort_by_neighbours(row: list[Cell], layers: Layers, rank: Mapping[int, int], *, upwards: bool) -> None:
    def middle(cell: Cell) -> float:
        if upwards:
            near = [_place_of_tail(link, rank) for link in layers.arriving[id(cell)]]
        else:
            near = [_place_of_head(link, rank) for link in layers.leaving[id(cell)]]
        return sum(near) / len(near) if near else float(rank[id(cell)])

    row.sort(key=lambda cell: (middle(cell), rank[id(cell)]))


def _place_of_tail(link: Link, rank: Mapping[int, int]) -> float:
    return rank[id(link.tail)] + _share(link.tail, link.tail.ports_out, link)


def _place_of_head(link: Link, rank: Mapping[int, int]) -> float:
    return rank[id(link.head)] + _share(link.head, link.head.ports_in, link)


def _share(cell: Cell, ports: dict[str, float], link: Link) -> float:
    """Where in the cell the link meets it, from 0 to 1."""
    return ports.get(link.source, cell.width / 2) / cell.width if cell.width else 0.5


def _crossings(layers: Layers) -> int:
    """How many pairs of links cross: those that come in one order and arrive in the other."""
    rank = _rank(layers)
    count = 0
    for row in layers.rows:
        links = [link for cell in row for link in layers.leaving[id(cell)]]
        ends = sorted((_place_of_tail(link, rank), _place_of_head(link, rank)) for link in links)
        passed: list[float] = []
        for _, head in ends:
            count += len(passed) - bisect_right(passed, head)
            insort(passed, head)
    return count


def _spread(layers: Layers, spread: Callable[[Cell, list[Link], list[Link]], None]) -> None:
    rank = _rank(layers)
    for row in layers.rows:
        for cell in row:
            arriving = sorted(layers.arriving[id(cell)], key=lambda link: (rank[id(link.tail)], link.start))
            leaving = sorted(layers.leaving[id(cell)], key=lambda link: (rank[id(link.head)], link.end))
            spread(cell, arriving, leaving)


def _place(layers: Layers) -> None:
    for row in layers.rows:
        for cell, x in zip(row, settled([0.0] * len(row), [1.0] * len(row), _distances(row)), strict=True):
            cell.x = x
    for _ in range(_SWEEPS):
        for row in layers.rows[1:]:
            _pull(row, layers, up=True, down=False)
        for row in reversed(layers.rows[:-1]):
            _pull(row, layers, up=False, down=True)
    for _ in range(_SWEEPS):
        for row in layers.rows:
            _pull(row, layers, up=True, down=True)
    for _ in range(2):
        _straighten(layers)


def _straighten(layers: Layers) -> None:
    """Give each chain of cells one vertical line, as far as the neighbours in the layers leave room for it."""
    beside = {
        id(cell): (row[at - 1] if at else None, row[at + 1] if at + 1 < len(row) else None)
        for row in layers.rows
        for at, cell in enumerate(row)
    }
    for chain in _chains(layers):
        _straighten_chain(chain, beside)


def _chains(layers: Layers) -> Iterator[list[Link]]:
    """Links one after another: bends first, then where one link alone leaves a cell and alone arrives at the next."""
    for bends in (True, False):
        chosen = [
            link
            for link in layers.links
            if (link.tail.is_bend and link.head.is_bend) == bends
            and (bends or len(layers.leaving[id(link.tail)]) == len(layers.arriving[id(link.head)]) == 1)
        ]
        after = {id(link.tail): link for link in reversed(chosen)}
        heads = {id(link.head) for link in after.values()}
        for link in after.values():
            if id(link.tail) not in heads:
                chain = [link]
                while id(chain[-1].head) in after:
                    chain.append(after[id(chain[-1].head)])
                yield chain


def _straighten_chain(chain: Sequence[Link], beside: Mapping[int, tuple[Cell | None, Cell | None]]) -> None:
    run: list[tuple[Cell, float]] = []  # cells that share a line, and the x of the line within each
    low, high = -inf, inf
    first = chain[0].start - chain[0].tail.x
    ways_in = [(chain[0].tail, first), *((link.head, link.end - link.head.x) for link in chain)]
    ways_out = [*(link.start - link.tail.x for link in chain), 0.0]
    shift = 0.0  # a cell's way out may lie beside its way in
    for (cell, way_in), way_out in zip(ways_in, ways_out, strict=True):
        at = way_in - shift
        least, most = (bound + at for bound in _room(cell, beside))
        if run and max(low, least) > min(high, most):
            _move(run, low, high)
            run, low, high = [], -inf, inf
        run.append((cell, at))
        low, high = max(low, least), min(high, most)
        shift += way_out - way_in
    _move(run, low, high)


def _room(cell: Cell, beside: Mapping[int, tuple[Cell | None, Cell | None]]) -> tuple[float, float]:
    """The least and the greatest x that the cell may have."""
    left, right = beside[id(cell)]
    least = left.x + left.width + _gap(left, cell) if left else -inf
    return least, right.x - cell.width - _gap(cell, right) if right else inf


def _move(run: Sequence[tuple[Cell, float]], low: float, high: float) -> None:
    line = sum(cell.x + at for cell, at in run) / len(run)
    for cell, at in run:
        cell.x = min(max(line, low), high) - at


def _gap(left: Cell, right: Cell) -> float:
    return _BEND_GAP if left.is_bend or right.is_bend else _CELL_GAP


def _distances(row: Sequence[Cell]) -> list[float]:
    return [left.width + _gap(left, right) for left, right in pairwise(row)]


def _pull(row: list[Cell], layers: Layers, *, up: bool, down: bool) -> None:
    """Move the cells of a row towards where their links would be straight."""
    wishes, weights = [], []
    for cell in row:
        arriving = layers.arriving[id(cell)] if up else []
        leaving = layers.leaving[id(cell)] if down else []
        pulls = [(cell.x + link.start - link.end, _strength(link, layers)) for link in arriving]
        pulls += [(cell.x + link.end - link.start, _strength(link, layers)) for link in leaving]
        total = sum(strength for _, strength in pulls)
        wishes.append(sum(x * strength for x, strength in pulls) / total if total else cell.x)
        weights.append(total or 0.01)
    for cell, x in zip(row, settled(wishes, weights, _distances(row)), strict=True):
        cell.x = x


def _strength(link: Link, layers: Layers) -> float:
    """A long edge is to be straight in its middle, and a wire to hang right below the step that writes it."""
    if link.tail.is_bend and link.head.is_bend:
        return 12.0
    is_only = len(layers.arriving[id(link.head)]) == 1
    return 4.0 if is_only and not link.tail.is_bend else 1.0 + link.tail.is_bend + link.head.is_bend
