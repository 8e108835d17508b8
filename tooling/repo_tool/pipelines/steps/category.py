# SPDX-License-Identifier: Apache-2.0
"""Let known categories through, for a model that would fail a whole batch of another, or be silent about it."""

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
class Category:
    """``categories`` are texts or whole numbers.

    ``unknown``: another one is refused by its row, or becomes ``replacement``, such as `other`.
    """

    categories: list[int] | list[str]
    unknown: Literal["refuse", "replace"] = "refuse"
    replacement: int | str | None = None

    def __post_init__(self) -> None:
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise ValueError("categories holds each once, and one at least")
        if (self.unknown == "replace") != (self.replacement is not None):
            raise ValueError("`unknown: replace` needs a replacement, and a replacement `unknown: replace`")
        if any(isinstance(each, str) != isinstance(self.categories[0], str) for each in self._replacements()):
            raise ValueError("replacement is a text where categories are, and a whole number where they are")

    def outputs(self, inputs: Wires) -> Wires:
        """What came in."""
        datatype, dims = inputs["value"]
        wanted = ("BYTES",) if isinstance(self.categories[0], str) else ("INT64", "INT32")
        if datatype not in wanted or dims != (1,):
            raise ValueError(
                f"'value' must be {' or '.join(wanted)} [1], as the categories; it is {datatype} {list(dims)}"
            )
        if datatype != "BYTES":
            _refuse_what_cannot_be(datatype, [*self.categories, *self._replacements()])
        return {"category": (datatype, (1,))}

    def run(self, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        let_through = np.array(value)
        for row, (category,) in enumerate(value):
            if category not in self._known:
                if self.unknown == "refuse":
                    raise ValueError(f"row {row}: {_unknown(category, self.categories)}")
                let_through[row, 0] = _key(self.replacement)
        return {"category": let_through}

    @cached_property
    def _known(self) -> set[object]:
        return set(map(_key, self.categories))

    def _replacements(self) -> list[Any]:
        return [] if self.replacement is None else [self.replacement]

    def graph(self, op: Any, inputs: Wires, value: Any) -> dict[str, Any]:
        """Of whole numbers alone, with one for the unknown."""
        if self.replacement is None:
            raise NotImplementedError("it refuses unknown categories, which a graph cannot")
        if isinstance(self.categories[0], str):
            raise NotImplementedError("its categories are texts, which ONNX compares from opset 19 on only")
        same = op.Cast(op.Equal(value, list(self.categories)), to=INT64)
        return {"category": op.Where(op.Greater(op.ReduceSum(same, [1], keepdims=1), [0]), value, [self.replacement])}


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
