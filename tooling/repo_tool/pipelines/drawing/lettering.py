# SPDX-License-Identifier: Apache-2.0
"""How wide text is without its font at hand, how it is broken into lines, and how much of it is shown.

The widths are those of DejaVu, the widest of the families that the style sheet names: what fits in it fits in all.
"""

__all__ = ["CODE_SIZE", "LINE", "PROSE_SIZE", "code_width", "columns", "shortened", "wrapped"]

import textwrap
import unicodedata

CODE_SIZE = 12.0  # px, of all monospaced text
PROSE_SIZE = 11.5  # px, of reasons
LINE = 16.0  # px from one base line to the next
_CODE_ADVANCE, _PROSE_ADVANCE = 0.602, 0.565  # em


def columns(text: str) -> int:
    """How many columns of a monospaced font it takes: wide letters of East Asia take two."""
    return sum(
        2 if unicodedata.east_asian_width(sign) in "WF" else 0 if unicodedata.combining(sign) else 1 for sign in text
    )


def code_width(text: str) -> float:
    """Of monospaced text, in px."""
    return columns(text) * CODE_SIZE * _CODE_ADVANCE


def wrapped(text: str, width: float, *, most: int) -> tuple[str, ...]:
    """Prose in at most ``most`` lines that are at most ``width`` px wide."""
    signs = max(8, int(width / (PROSE_SIZE * _PROSE_ADVANCE)))
    return tuple(textwrap.wrap(text, signs, max_lines=most, placeholder=" …"))


def shortened(text: str, most: int) -> str:
    """At most ``most`` columns of it: the middle is left out, since names differ at their ends."""
    if columns(text) <= most:
        return text
    head = _that_fits(text, most // 2)
    tail = _that_fits(text[::-1], most - 1 - columns(head))[::-1]
    return f"{head}…{tail}"


def _that_fits(text: str, most: int) -> str:
    """As much of its beginning as fits."""
    place = next((at for at in range(len(text)) if columns(text[: at + 1]) > most), len(text))
    return text[:place]
