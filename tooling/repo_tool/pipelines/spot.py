# SPDX-License-Identifier: Apache-2.0
"""A few lines of text that show where a pipeline breaks: the steps around the spot, the wire, and what is wrong.

::

    ┌──────────────────────┐
    │ 2  step 'normalise'  │
    └─┬────────────────────┘
      │ tensor: FP32 [1, 9, 8]
      ✗ 'x' takes FP32 [1, 8, 8]
    ┌─┴────────────────────┐
    │ 3  model 'cnn'       │
    └──────────────────────┘
"""

__all__ = ["Box", "Break", "Gap", "Line", "Piece", "draw"]

from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST = 96
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Box:
    """A step, or the client."""

    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A wire."""

    text: str


@dataclass(frozen=True, slots=True)
class Break:
    """What is wrong there."""

    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps that are left out; ``is_passed``: the wire goes past them."""

    steps: int
    is_passed: bool = False


Piece = Box | Line | Break | Gap


def draw(pieces: Sequence[Piece]) -> str:
    """From top to bottom, in the direction that tensors go."""
    width = max((len(_cut(piece.text)) for piece in pieces if isinstance(piece, Box)), default=0)
    lines: list[str] = []
    for at, piece in enumerate(pieces):
        if isinstance(piece, Box):
            lines += _box(piece, width, is_fed=at > 0, feeds=at + 1 < len(pieces))
        elif isinstance(piece, Gap):
            lines.append(_gap(piece))
        else:
            mark = "✗" if isinstance(piece, Break) else "│"
            lines.append(f"  {mark} {_cut(piece.text)}")
    return "\n".join(_INDENT + line for line in lines)


def _gap(gap: Gap) -> str:
    steps = f"{gap.steps} step{'s' * (gap.steps != 1)}"
    return f"  │ past {steps}" if gap.is_passed else f"  ⋮ {steps} between" if gap.steps else "  ⋮"


def _box(box: Box, width: int, *, is_fed: bool, feeds: bool) -> list[str]:
    return [
        f"┌─{'┴' if is_fed else '─'}{'─' * width}┐",
        f"│ {_cut(box.text):<{width}} │",
        f"└─{'┬' if feeds else '─'}{'─' * width}┘",
    ]


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
