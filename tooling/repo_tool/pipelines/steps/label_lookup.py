# SPDX-License-Identifier: Apache-2.0
"""Turn class numbers or ids into words."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
INT64 = 7  # of onnx.TensorProto


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLookup:
    """An index is an integer; with a map it may be a text.

    ``labels``: a list, whose first word belongs to 0, or a map from ids (numbers or texts) to words.

    ``unknown``: the word for an index that has none; without it such a row is refused, which takes Python.
    """

    labels: list[str] | dict[int | str, str]
    unknown: str | None = None

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels is empty")

    def outputs(self, inputs: Wires) -> Wires:
        """A word for each index."""
        datatype, dims = inputs["index"]
        if datatype not in INTEGERS and (datatype != "BYTES" or isinstance(self.labels, list)):
            wanted = "integers" if isinstance(self.labels, list) else "integers or BYTES"
            raise ValueError(f"'index' must be {wanted}; it is {datatype} {list(dims)}")
        return {"label": ("BYTES", dims)}

    def run(self, index: Any) -> dict[str, Any]:
        """Value by value; equal ids are looked up once for each row."""
        words = {identifier: word.encode() for identifier, word in self._words().items()}
        rows = [self._row(row, given, words) for row, given in enumerate(index)]
        if isinstance(index, list):
            return {"label": rows}
        return {"label": np.array(rows, dtype=object).reshape(index.shape)}

    def _row(self, row: int, index: NDArray[Any], words: dict[str, bytes]) -> NDArray[Any]:
        labels = np.empty(index.shape, dtype=object)
        for place, given in np.ndenumerate(index):
            identifier = given.decode(errors="replace") if isinstance(given, bytes) else str(given)
            if identifier not in words and self.unknown is None:
                raise ValueError(f"row {row}: {identifier[:80]!r} has no label; there are {len(words)}")
            labels[place] = words[identifier] if identifier in words else (self.unknown or "").encode()
        return labels

    def graph(self, op: Any, inputs: Wires, index: Any) -> dict[str, Any]:
        """A list is looked up, a map of numbers compared with each of its ids."""
        if self.unknown is None:
            raise NotImplementedError("refusing an id without a label fails a row, and a graph cannot: give unknown")
        words = self._words()
        if inputs["index"][0] == "BYTES" or not all(_is_number(identifier) for identifier in words):
            raise NotImplementedError("ids that are texts have no graph")
        found = op.Equal(op.Unsqueeze(op.Cast(index, to=INT64), [-1]), [int(identifier) for identifier in words])
        # One more place, always found, holds the word for the unknown: ArgMax takes the first place that is found.
        spread = op.Pad(op.Cast(found, to=INT64), [0, 1], 1, [-1])
        labels = [*words.values(), self.unknown]
        return {"label": op.Gather(labels, op.ArgMax(spread, axis=-1, keepdims=0), axis=0)}

    def _words(self) -> dict[str, str]:
        if isinstance(self.labels, list):
            return {str(place): word for place, word in enumerate(self.labels)}
        return {str(identifier): word for identifier, word in self.labels.items()}


def _is_number(identifier: str) -> bool:
    return identifier.removeprefix("-").isdecimal() and str(int(identifier)) == identifier
