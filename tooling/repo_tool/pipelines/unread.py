# SPDX-License-Identifier: Apache-2.0
"""Steps that are not wired to the one before them, which reads past them: what to wire is told with the mistake."""

__all__ = ["rewiring", "unread_before"]

from collections.abc import Collection, Iterator
from itertools import chain

from repo_tool.pipelines.scope import Scope, Spot
from repo_tool.pipelines.spec import BlockDeclaration, StepDeclaration


def unread_before(scope: Scope, at: int, reads: Collection[str]) -> tuple[str, str]:
    """Of steps above one that reads these wires and does not fit: what nobody reads, and how to wire it.

    Both are empty where every step is read, or is clearly meant for one further down.
    """
    reader = scope.spot(at)
    used = {*reads, *_meant_for_later(scope, at), *chain.from_iterable(scope.read.values())}
    spots = [spot for spot in dict.fromkeys(scope.writers.values()) if spot.place[:-1] == scope.place and spot.place]
    found = [
        (spot, wires, words)
        for spot in spots
        if not used & {*(wires := _written(scope, spot))} and (words := _rewired(scope, spot, {reader: tuple(reads)}))
    ]
    told = [f"'{wires[0]}' of {numbered(spot)}" for spot, wires, _ in found]
    return (
        f"nobody reads {' and '.join(told)}" if told else "",
        f"did you mean {' and '.join(words for _, _, words in found)}?" if found else "",
    )


def rewiring(scope: Scope, at: int) -> str:
    """Which step below may be meant to read what this one writes; empty where none is near."""
    return _rewired(scope, scope.spot(at), {})


def numbered(spot: Spot) -> str:
    """``step 3 'centre_crop'``."""
    kind, _, what = spot.title.partition(" ")
    return f"{kind} {'.'.join(str(at + 1) for at in spot.place)} {what}"


def _rewired(scope: Scope, spot: Spot, more: dict[Spot, tuple[str, ...]]) -> str:
    """``inputs: {pixels: cropped}`` for the first step below which reads such a tensor from above."""
    for wire in _written(scope, spot):
        for reader, reads in _below(scope, spot, more):
            for other in reads:
                passes = other in scope.writers and scope.writers[other].place < spot.place
                if passes and _alike(scope, wire, other):
                    tensor = _tensor(scope.steps[reader.place[-1]], other)
                    return f"`inputs: {{{tensor}: {wire}}}` for {numbered(reader)}"
    return ""


def _below(scope: Scope, spot: Spot, more: dict[Spot, tuple[str, ...]]) -> Iterator[tuple[Spot, tuple[str, ...]]]:
    for reader, reads in {**scope.read, **more}.items():
        is_here = reader.place[:-1] == scope.place == spot.place[:-1]
        if is_here and reader.place > spot.place and isinstance(scope.steps[reader.place[-1]], StepDeclaration):
            yield reader, reads


def _alike(scope: Scope, wire: str, other: str) -> bool:
    one, two = scope.wires[wire], scope.wires[other]
    return one.datatype is two.datatype and len(one.dims) == len(two.dims)


def _tensor(step: StepDeclaration | BlockDeclaration, wire: str) -> str:
    named = step.inputs if isinstance(step, StepDeclaration) else {}
    return next((tensor for tensor, read in named.items() if read == wire), wire)


def _written(scope: Scope, spot: Spot) -> list[str]:
    return [wire for wire, writer in scope.writers.items() if writer == spot]


def _meant_for_later(scope: Scope, at: int) -> Iterator[str]:
    """The wires that steps below name, and those that the client reads."""
    yield from scope.pipeline.outputs.values()
    for step in scope.steps[at + 1 :]:
        if isinstance(step, StepDeclaration):
            yield from step.inputs.values()
