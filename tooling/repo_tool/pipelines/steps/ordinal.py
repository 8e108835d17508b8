# SPDX-License-Identifier: Apache-2.0
"""Turn a category into its number."""

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
INT64 = 7  # of onnx.TensorProto
MOST_COMPARED = 1000  # categories, to tell the nearest of them; a client waits longer for it among more


@dataclass(frozen=True, kw_only=True)
class Ordinal:
    """``categories`` are texts or whole numbers, the first is 0.

    ``unknown``: another one is refused by its row, or becomes ``replacement``.
    """

    categories: list[int] | list[str]
    unknown: Literal["refuse", "replace"] = "refuse"
    replacement: int | None = None

    def __post_init__(self) -> None:
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise ValueError("categories holds each once, and one at least")
        if (self.unknown == "replace") != (self.replacement is not None):
            raise ValueError("`unknown: replace` needs a replacement, and a replacement `unknown: replace`")
        if not -(2**31) <= (self.replacement or 0) < 2**31:
            raise ValueError(f"replacement is {self.replacement}, and must fit INT32")

    def outputs(self, inputs: Wires) -> Wires:
        """One number a row."""
        datatype, dims = inputs["value"]
        wanted = ("BYTES",) if isinstance(self.categories[0], str) else ("INT64", "INT32")
        if datatype not in wanted or dims != (1,):
            raise ValueError(
                f"'value' must be {' or '.join(wanted)} [1], as the categories; it is {datatype} {list(dims)}"
            )
        if datatype != "BYTES":
            _refuse_what_cannot_be(datatype, list(self.categories))
        return {"code": ("INT64", (1,))}

    def run(self, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        codes = np.empty((len(value), 1), dtype=np.int64)
        for row, (category,) in enumerate(value):
            if category not in self._places and self.unknown == "refuse":
                raise ValueError(f"row {row}: {_unknown(category, self.categories)}")
            codes[row, 0] = self._places.get(category, self.replacement)
        return {"code": codes}

    @cached_property
    def _places(self) -> dict[object, int]:
        return {_key(category): place for place, category in enumerate(self.categories)}

    def graph(self, op: Any, inputs: Wires, value: Any) -> dict[str, Any]:
        """Of whole numbers alone, whose unknown ones have a code."""
        if self.replacement is None:
            raise NotImplementedError("it refuses unknown categories, which a graph cannot")
        if isinstance(self.categories[0], str):
            raise NotImplementedError("its categories are texts, which ONNX compares from opset 19 on only")
        same = op.Cast(op.Equal(value, list(self.categories)), to=INT64)
        steps = [place - self.replacement for place in range(len(self.categories))]
        return {"code": op.Add(op.ReduceSum(op.Mul(same, steps), [1], keepdims=1), [self.replacement])}


def _refuse_what_cannot_be(datatype: str, numbers: list[Any]) -> None:
    """A number that the wire's type cannot hold would be another one there."""
    limits = np.iinfo(datatype.lower())
    for number in numbers:
        if not limits.min <= number <= limits.max:
            raise ValueError(f"'value' is {datatype}, which cannot be {number}")


def _key(category: object) -> object:
    return category.encode() if isinstance(category, str) else category


def _unknown(category: Any, categories: list[int] | list[str]) -> str:
    text = category.decode(errors="replace") if isinstance(category, bytes) else str(category)
    shown = "".join(sign if sign.isprintable() else "�" for sign in text[:40])
    few = categories if len(categories) <= MOST_COMPARED else []
    near = difflib.get_close_matches(shown, map(str, few), n=1)
    return f"'{shown}' is no known category" + (f"; did you mean '{near[0]}'?" if near else "")
