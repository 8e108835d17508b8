# SPDX-License-Identifier: Apache-2.0
"""Lower-case a text, by Unicode's rules and never by the server's locale."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerCase:
    """``fold`` goes further, as comparing without case does (``ß`` becomes ``ss``)."""

    fold: bool = False
    most_bytes: int = 100_000

    def __post_init__(self) -> None:
        if self.most_bytes < 1:
            raise ValueError("most_bytes is at least 1")

    def outputs(self, inputs: Wires) -> Wires:
        """A text stays one."""
        if inputs["text"] != ("BYTES", (1,)):
            raise ValueError(f"'text' must be BYTES [1], one text a row; it is {inputs['text']}")
        return {"lowered": ("BYTES", (1,))}

    def run(self, text: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        lowered = np.empty((len(text), 1), dtype=object)
        for row, (value,) in enumerate(text):
            read = _text(row, value, self.most_bytes)
            lowered[row, 0] = (read.casefold() if self.fold else read.lower()).encode()
        return {"lowered": lowered}


def _text(row: int, value: bytes, most_bytes: int) -> str:
    if len(value) > most_bytes:
        raise ValueError(f"row {row}: the text has {len(value)} bytes, and at most {most_bytes} are taken")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"row {row}: the text is not UTF-8 (byte {error.start})") from error
