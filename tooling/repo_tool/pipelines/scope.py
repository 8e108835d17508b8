# SPDX-License-Identifier: Apache-2.0
"""The wires that steps see while a pipeline is typed, who writes them, and the drawing of a spot among them."""

__all__ = ["Scope", "Spot"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from repo_tool.errors import PipelineError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.spec import BlockDeclaration, PipelineFile, StepDeclaration
from repo_tool.pipelines.spot import Box, Break, Gap, Line, Piece, draw
from repo_tool.pipelines.wire import Wire

_CLIENT = "the client"


@dataclass(frozen=True, slots=True)
class Spot:
    """A step and where it stands: ``(2, 0)`` is the first step inside the third."""

    place: tuple[int, ...]
    title: str

    @property
    def text(self) -> str:
        """As drawings call it, counted from 1."""
        return f"{'.'.join(str(at + 1) for at in self.place)}  {self.title}" if self.place else self.title


CLIENT = Spot((), _CLIENT)


@dataclass(slots=True, kw_only=True)
class Scope:
    """One list of steps: the wires seen so far, those that are given and those that were written here."""

    pipeline: PipelineFile
    steps: Sequence[StepDeclaration | BlockDeclaration]
    place: tuple[int, ...] = ()  # of the block that holds them
    wires: dict[str, Wire] = field(default_factory=dict)
    writers: dict[str, Spot] = field(default_factory=dict)
    read: dict[Spot, tuple[str, ...]] = field(default_factory=dict)  # the wires that each of the writers reads
    names: set[str] = field(default_factory=set)  # of all stages of the pipeline
    is_ahead: bool = False  # only tried, to tell who writes a missing wire: who misses one there looks no further ahead

    @classmethod
    def outermost(cls, pipeline: PipelineFile) -> "Scope":
        """What the client sends."""
        wires = {name: declared.wire for name, declared in pipeline.inputs.items()}
        return cls(pipeline=pipeline, steps=pipeline.steps, wires=wires, writers=dict.fromkeys(wires, CLIENT))

    def inside(self, block: BlockDeclaration, at: int, given: Mapping[str, Wire]) -> "Scope":
        """What the steps of a block see: all that stands outside, and what the block gives them."""
        spot = self.spot(at)
        return Scope(
            pipeline=self.pipeline,
            steps=block.steps,
            place=spot.place,
            wires={**self.wires, **given},
            writers={**self.writers, **dict.fromkeys(given, spot)},
            read=dict(self.read),
            names=self.names,
            is_ahead=self.is_ahead,
        )

    def ahead(self) -> "Scope":
        """A copy, in which the steps further down can be tried."""
        copies = {name: getattr(self, name).copy() for name in ("wires", "writers", "read", "names")}
        return replace(self, **copies, is_ahead=True)

    def spot(self, at: int) -> Spot:
        """The step there."""
        return Spot((*self.place, at), self.steps[at].title)

    def own_name(self, wanted: str) -> str:
        """``wanted``, numbered where another stage has the name."""
        names = (wanted if number == 1 else f"{wanted}_{number}" for number in range(1, len(self.names) + 2))
        name = next(name for name in names if name not in self.names)
        self.names.add(name)
        return name

    def shown(self, wire: str) -> str:
        """``pixels: UINT8 [8, 8, 1]``."""
        return f"{wire}: {self.wires[wire]}"

    def down_to(self, at: int, wires: Iterable[str], broken: str, *, more: Sequence[Piece] = ()) -> str:
        """The writers of the wires, what is between, the wires, what is wrong, the step that reads them, and more."""
        known = [wire for wire in dict.fromkeys(wires) if wire in self.wires]
        spots = list(dict.fromkeys(self.writers[wire] for wire in known)) or self._before(at)
        pieces = self._above(spots[0])
        for spot, following in zip(spots, [*spots[1:], self.spot(at)], strict=True):
            pieces += [Box(spot.text), *(Line(self.shown(wire)) for wire in known if self.writers[wire] == spot)]
            between = self._between(spot, following)
            pieces += [Gap(between, is_passed=following == self.spot(at))] if between else []
        return draw([*pieces, Break(broken), Box(self.spot(at).text), *more])

    def _above(self, spot: Spot) -> list[Piece]:
        """Who wrote last what a writer reads, and what that is."""
        read = [wire for wire in self.read.get(spot, ()) if wire in self.wires]
        if not read:
            return []
        source = max((self.writers[wire] for wire in read), key=lambda each: each.place)
        lines = [Line(self.shown(wire)) for wire in dict.fromkeys(read) if self.writers[wire] == source]
        between = self._between(source, spot)
        return [Box(source.text), *lines, *([Gap(between, is_passed=True)] if between else [])]

    def up_to_client(self, wire: str | None, broken: str) -> str:
        """The writer of a wire, or the last step, and a client who misses something."""
        spots = [self.writers[wire]] if wire is not None else self._before(len(self.steps))
        pieces: list[Piece] = [Box(spot.text) for spot in spots]
        lines = [Line(self.shown(wire))] if wire is not None else []
        return draw([*pieces, *lines, Break(broken), Box(_CLIENT)])

    def before(self, at: int, lines: Iterable[str], broken: str) -> str:
        """What a step reads, what is wrong with that, and the step."""
        return draw([*map(Line, lines), Break(broken), Box(self.spot(at).text)])

    def after(self, at: int, lines: Iterable[str], broken: str) -> str:
        """A step, what it writes, and what is wrong with that."""
        return draw([Box(self.spot(at).text), *map(Line, lines), Break(broken)])

    def _before(self, at: int) -> list[Spot]:
        return [self.spot(at - 1)] if at else [CLIENT if not self.place else Spot(self.place, "the block itself")]

    def _between(self, first: Spot, second: Spot) -> int:
        """How many steps stand between two of this list."""
        depth = len(self.place)
        if first == CLIENT and not self.place:
            return second.place[0]
        is_here = [spot.place[:depth] == self.place and len(spot.place) == depth + 1 for spot in (first, second)]
        return second.place[-1] - first.place[-1] - 1 if all(is_here) else 0

    def missing(
        self, at: int, wire: str, tensor: str, *, why: str = "", next_step: str = "", later: int | None = None
    ) -> PipelineError:
        """A wire that a step reads and nothing before it writes; the step ``later`` does."""
        near = did_you_mean(wire, self.wires)
        why = why or "nothing before it writes"
        more: list[Piece] = []
        if later is not None and later > at:
            more = [Gap(later - at - 1), Box(self.spot(later).text), Line(f"{wire}, too late")]
        return PipelineError(
            f"{self.steps[at].title} reads '{wire}' for its input '{tensor}', which {why}",
            cause=f"so far there are {', '.join(self.wires)}",
            next_step=next_step or near or f"wire it: inputs: {{{tensor}: <one of them>}}",
            drawing=self.down_to(at, self.newest(), f"'{tensor}' reads '{wire}', which {why}", more=more),
        )

    def newest(self) -> list[str]:
        """The wires that were written last."""
        last = next(reversed(self.writers.values()), CLIENT)
        return [wire for wire, writer in self.writers.items() if writer == last]

    def write(self, at: int, outputs: Mapping[str, str], found: Mapping[str, Wire], read: Iterable[str]) -> None:
        """Add what a step writes that reads those wires.

        Raises:
            PipelineError: a wire of that name is there.
        """
        for tensor, wire in outputs.items():
            if not wire:
                raise PipelineError(
                    f"{self.steps[at].title} has an output without a name",
                    cause=f"its outputs are {', '.join(map(repr, outputs))}",
                    next_step="name all that its parameters list",
                )
            if wire in self.wires:
                raise self._written_twice(at, tensor, wire)
            self.wires[wire] = found[tensor]
            self.writers[wire] = self.spot(at)
        self.read[self.spot(at)] = tuple(read)

    def _written_twice(self, at: int, tensor: str, wire: str) -> PipelineError:
        whose = "the client sends it" if self.writers[wire] == CLIENT else f"{self.writers[wire].title} does"
        return PipelineError(
            f"{self.steps[at].title} writes '{wire}', which is written before",
            cause=f"{whose}, and a wire is written once",
            next_step=f"give it another name: outputs: {{{tensor}: {wire}_2}}",
            drawing=self.down_to(at, [wire], f"'{tensor}' would write '{wire}' again"),
        )
