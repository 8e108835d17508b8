# SPDX-License-Identifier: Apache-2.0
"""Turn a category into a row of zeros with a one at its place."""

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
FLOAT = 1  # of onnx.TensorProto
MOST_COMPARED = 1000  # categories, to tell the nearest of them; a client waits longer for it among more


@dataclass(frozen=True, kw_only=True)
class OneHot:
    """``categories`` are texts or whole numbers in the order of training.

    ``unknown``: another one is refused by its row, or all zeros.
    """

    categories: list[int] | list[str]
    unknown: Literal["refuse", "zeros"] = "refuse"

    def __post_init__(self) -> None:
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise ValueError("categories holds each once, and one at least")

    def outputs(self, inputs: Wires) -> Wires:
        """One column for each category."""
        datatype, dims = inputs["value"]
        wanted = ("BYTES",) if isinstance(self.categories[0], str) else ("INT64", "INT32")
        if datatype not in wanted or dims != (1,):
            raise ValueError(
                f"'value' must be {' or '.join(wanted)} [1], as the categories; it is {datatype} {list(dims)}"
            )
        if datatype != "BYTES":
            _refuse_what_cannot_be(datatype, list(self.categories))
        return {"one_hot": ("FP32", (len(self.categories),))}

    def run(self, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        encoded = np.zeros((len(value), len(self.categories)), dtype=np.float32)
        for row, (category,) in enumerate(value):
            if category in self._places:
                encoded[row, self._places[category]] = 1
            elif self.unknown == "refuse":
                raise ValueError(f"row {row}: {_unknown(category, self.categories)}")
        return {"one_hot": encoded}

    @cached_property
    def _places(self) -> dict[object, int]:
        return {_key(category): place for place, category in enumerate(self.categories)}

    def graph(self, op: Any, inputs: Wires, value: Any) -> dict[str, Any]:
        """Of whole numbers alone, whose unknown ones are zeros."""
        if self.unknown == "refuse":
            raise NotImplementedError("it refuses unknown categories, which a graph cannot")
        if isinstance(self.categories[0], str):
            raise NotImplementedError("its categories are texts, which ONNX compares from opset 19 on only")
        return {"one_hot": op.Cast(op.Equal(value, list(self.categories)), to=FLOAT)}


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
