# SPDX-License-Identifier: Apache-2.0
"""Bring a text into one Unicode normal form and take the white space off its ends."""

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
_MOST_MARKS = 100  # on one letter


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanText:
    """``join_spaces`` makes one space of every run of white space; a text of which nothing is left is refused.

    Where a ``form`` is asked for, a text with more than 100 combining marks in a row is refused: sorting them takes the
    square of their number, and Unicode's own stream-safe format has 30.
    """

    form: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = None
    strip: bool = True
    join_spaces: bool = False
    empty: Literal["refuse", "keep"] = "refuse"
    most_bytes: int = 100_000

    def __post_init__(self) -> None:
        if self.most_bytes < 1:
            raise ValueError("most_bytes is at least 1")

    def outputs(self, inputs: Wires) -> Wires:
        """A text stays one."""
        if inputs["text"] != ("BYTES", (1,)):
            raise ValueError(f"'text' must be BYTES [1], one text a row; it is {inputs['text']}")
        return {"cleaned": ("BYTES", (1,))}

    def run(self, text: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        cleaned = np.empty((len(text), 1), dtype=object)
        for row, (value,) in enumerate(text):
            read = _text(row, value, self.most_bytes)
            if self.form and _longest_run_of_marks(read) > _MOST_MARKS:
                raise ValueError(f"row {row}: the text has more than {_MOST_MARKS} combining marks in a row")
            kept = self._clean(read)
            if not kept and self.empty == "refuse":
                raise ValueError(f"row {row}: the text is empty")
            cleaned[row, 0] = kept.encode()
        return {"cleaned": cleaned}

    def _clean(self, text: str) -> str:
        formed = unicodedata.normalize(self.form, text) if self.form else text
        stripped = formed.strip() if self.strip else formed
        return " ".join(stripped.split()) if self.join_spaces else stripped


def _longest_run_of_marks(text: str) -> int:
    longest = run = 0
    for character in "" if text.isascii() else text:
        run = run + 1 if unicodedata.combining(character) else 0
        longest = max(longest, run)
    return longest


def _text(row: int, value: bytes, most_bytes: int) -> str:
    if len(value) > most_bytes:
        raise ValueError(f"row {row}: the text has {len(value)} bytes, and at most {most_bytes} are taken")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"row {row}: the text is not UTF-8 (byte {error.start})") from error
