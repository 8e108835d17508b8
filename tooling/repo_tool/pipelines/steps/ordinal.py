# SPDX-License-Identifier: Apache-2.0
"""Turn a category into its number."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
INT64 = 7  # of onnx.TensorProto


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinal:
    """``categories`` are texts or whole numbers, the first is 0; another becomes ``unknown_code``, or is refused."""

    categories: list[int] | list[str]
    unknown_code: int | None = None

    def __post_init__(self) -> None:
        if not self.categories or len(set(self.categories)) < len(self.categories):
            raise ValueError("categories holds each once, and one at least")

    def outputs(self, inputs: Wires) -> Wires:
        """One number a row."""
        datatype, dims = inputs["value"]
        wanted = ("BYTES",) if isinstance(self.categories[0], str) else ("INT64", "INT32")
        if datatype not in wanted or dims != (1,):
            raise ValueError(
                f"'value' must be {' or '.join(wanted)} [1], as the categories; it is {datatype} {list(dims)}"
            )
        return {"code": ("INT64", (1,))}

    def run(self, value: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        places = {_key(category): place for place, category in enumerate(self.categories)}
        codes = np.empty((len(value), 1), dtype=np.int64)
        for row, (category,) in enumerate(value):
            code = places.get(category, self.unknown_code)
            if code is None:
                raise ValueError(f"row {row}: {_unknown(category, self.categories)}")
            codes[row, 0] = code
        return {"code": codes}

    def graph(self, op: Any, inputs: Wires, value: Any) -> dict[str, Any]:
        """Of whole numbers alone, whose unknown ones have a code."""
        if self.unknown_code is None:
            raise NotImplementedError("it refuses unknown categories, which a graph cannot")
        if isinstance(self.categories[0], str):
            raise NotImplementedError("its categories are texts, which ONNX compares from opset 19 on only")
        same = op.Cast(op.Equal(value, list(self.categories)), to=INT64)
        steps = [place - self.unknown_code for place in range(len(self.categories))]
        return {"code": op.Add(op.ReduceSum(op.Mul(same, steps), [1], keepdims=1), [self.unknown_code])}


def _key(category: object) -> object:
    return category.encode() if isinstance(category, str) else category


def _unknown(category: Any, categories: list[int] | list[str]) -> str:
    text = category.decode(errors="replace") if isinstance(category, bytes) else str(category)
    shown = "".join(sign if sign.isprintable() else "�" for sign in text[:40])
    near = difflib.get_close_matches(shown, map(str, categories), n=1)
    return f"'{shown}' is no known category" + (f"; did you mean '{near[0]}'?" if near else "")
