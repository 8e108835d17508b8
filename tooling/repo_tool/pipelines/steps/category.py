# SPDX-License-Identifier: Apache-2.0
"""Let known categories through, for a model that would fail a whole batch of another, or be silent about it."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
INT64 = 7  # of onnx.TensorProto


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """``known`` are texts or whole numbers; another becomes ``instead``, such as `other`, or is refused."""

    known: list[int] | list[str]
    instead: int | str | None = None

    def __post_init__(self) -> None:
        if not self.known or len(set(self.known)) < len(self.known):
            raise ValueError("known holds each category once, and one at least")
        if self.instead is not None and isinstance(self.instead, str) != isinstance(self.known[0], str):
            raise ValueError("instead is a text where known are texts, and a whole number where they are")

    def outputs(self, inputs: Wires) -> Wires:
        """What came in."""
        datatype, dims = inputs["value"]
        wanted = ("BYTES",) if isinstance(self.known[0], str) else ("INT64", "INT32")
        if datatype not in wanted or dims != (1,):
            raise ValueError(f"'value' must be {' or '.join(wanted)} [1], as `known`; it is {datatype} {list(dims)}")
        return {"category": (datatype, (1,))}

    def run(self, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        known = set(map(_key, self.known))
        let_through = np.array(value)
        for row, (category,) in enumerate(value):
            if category not in known:
                if self.instead is None:
                    raise ValueError(f"row {row}: {_unknown(category, self.known)}")
                let_through[row, 0] = _key(self.instead)
        return {"category": let_through}

    def graph(self, op: Any, inputs: Wires, value: Any) -> dict[str, Any]:
        """Of whole numbers alone, with one for the unknown."""
        if self.instead is None:
            raise NotImplementedError("it refuses unknown categories, which a graph cannot")
        if isinstance(self.known[0], str):
            raise NotImplementedError("its categories are texts, which ONNX compares from opset 19 on only")
        same = op.Cast(op.Equal(value, list(self.known)), to=INT64)
        return {"category": op.Where(op.Greater(op.ReduceSum(same, [1], keepdims=1), [0]), value, [self.instead])}


def _key(category: object) -> object:
    return category.encode() if isinstance(category, str) else category


def _unknown(category: Any, categories: list[int] | list[str]) -> str:
    text = category.decode(errors="replace") if isinstance(category, bytes) else str(category)
    shown = "".join(sign if sign.isprintable() else "�" for sign in text[:40])
    near = difflib.get_close_matches(shown, map(str, categories), n=1)
    return f"'{shown}' is no known category" + (f"; did you mean '{near[0]}'?" if near else "")
