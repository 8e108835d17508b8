# SPDX-License-Identifier: Apache-2.0
"""Turn class numbers or ids into words."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
INT64 = 7  # of onnx.TensorProto


@dataclass(frozen=True, kw_only=True)
class LabelLookup:
    """An index is an integer; with a map it may be a text.

    ``labels``: a list, whose first word belongs to 0, or a map from ids (numbers or texts) to words.

    ``unknown``: an index without a word is refused by its row, which takes Python, or gets the word ``replacement``.
    """

    labels: list[str] | dict[int | str, str]
    unknown: Literal["refuse", "replace"] = "refuse"
    replacement: str | None = None

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels is empty")
        if len(self._words) < len(self.labels):
            both = [str(identifier) for identifier in self.labels]
            raise ValueError(f"labels has the id {next(each for each in both if both.count(each) > 1)} twice")
        if (self.unknown == "replace") != (self.replacement is not None):
            raise ValueError("`unknown: replace` needs a replacement, and a replacement `unknown: replace`")

    def outputs(self, inputs: Wires) -> Wires:
        """A word for each index."""
        datatype, dims = inputs["index"]
        if datatype not in INTEGERS and (datatype != "BYTES" or isinstance(self.labels, list)):
            wanted = "integers" if isinstance(self.labels, list) else "integers or BYTES"
            raise ValueError(f"'index' must be {wanted}; it is {datatype} {list(dims)}")
        if datatype != "BYTES" and isinstance(self.labels, dict):
            limits = np.iinfo(datatype.lower())
            for identifier in self._words:
                if not (_is_number(identifier) and limits.min <= int(identifier) <= limits.max):
                    raise ValueError(f"'index' is {datatype}, which cannot be '{identifier}'")
        return {"label": ("BYTES", dims)}

    def run(self, index: Any) -> dict[str, Any]:
        """Value by value; equal ids are looked up once for each row."""
        words = {identifier: word.encode() for identifier, word in self._words.items()}
        rows = [self._row(row, given, words) for row, given in enumerate(index)]
        if isinstance(index, list):
            return {"label": rows}
        return {"label": np.array(rows, dtype=object).reshape(index.shape)}

    def _row(self, row: int, index: NDArray[Any], words: dict[str, bytes]) -> NDArray[Any]:
        labels = np.empty(index.shape, dtype=object)
        for place, given in np.ndenumerate(index):
            identifier = given.decode(errors="replace") if isinstance(given, bytes) else str(given)
            if identifier not in words and self.unknown == "refuse":
                raise ValueError(f"row {row}: {identifier[:80]!r} has no label; there are {len(words)}")
            labels[place] = words[identifier] if identifier in words else (self.replacement or "").encode()
        return labels

    def graph(self, op: Any, inputs: Wires, index: Any) -> dict[str, Any]:
        """A list is looked up, a map of numbers compared with each of its ids."""
        if self.unknown == "refuse":
            raise NotImplementedError("refusing an id without a label fails a row, and a graph cannot: replace them")
        words = self._words
        if inputs["index"][0] == "BYTES":
            raise NotImplementedError("ids that are texts have no graph")
        if any(int(identifier) >= 2**63 for identifier in words):
            raise NotImplementedError("an id is too large for INT64, in which a graph compares")
        found = op.Equal(op.Unsqueeze(op.Cast(index, to=INT64), [-1]), [int(identifier) for identifier in words])
        # One more place, always found, holds the word for the unknown: ArgMax takes the first place that is found.
        spread = op.Pad(op.Cast(found, to=INT64), [0, 1], 1, [-1])
        labels = [*words.values(), self.replacement]
        return {"label": op.Gather(labels, op.ArgMax(spread, axis=-1, keepdims=0), axis=0)}

    @cached_property
    def _words(self) -> dict[str, str]:
        if isinstance(self.labels, list):
            return {str(place): word for place, word in enumerate(self.labels)}
        return {str(identifier): word for identifier, word in self.labels.items()}


def _is_number(identifier: str) -> bool:
    return identifier.removeprefix("-").isdecimal() and str(int(identifier)) == identifier
