# SPDX-License-Identifier: Apache-2.0
"""Tell which class has the largest score: its ``index`` and the ``score`` itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
ELEMENTS = {"FP16": 10, "FP32": 1, "FP64": 11}  # the floats, as onnx.TensorProto numbers them


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgMax:
    """The first of equals wins; NaN counts as the least.

    ``axis``: along which dimension of a row the classes are; it stays as a dimension of 1.
    """

    axis: int = -1

    def outputs(self, inputs: Wires) -> Wires:
        """One index and one score for each list of classes."""
        datatype, dims = inputs["probabilities"]
        if datatype not in ELEMENTS or not dims or -1 in dims:
            raise ValueError(f"'probabilities' must be floats [..., classes]; they are {datatype} {list(dims)}")
        if not -len(dims) <= self.axis < len(dims):
            raise ValueError(f"'probabilities' have {len(dims)} dims, and axis is {self.axis}")
        best = list(dims)
        best[self.axis] = 1
        return {"index": ("INT64", tuple(best)), "score": (datatype, tuple(best))}

    def run(self, probabilities: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        axis = self.axis if self.axis < 0 else self.axis + 1
        ranked = np.where(np.isnan(probabilities), -np.inf, probabilities)
        index = ranked.argmax(axis=axis, keepdims=True)
        return {"index": index, "score": np.take_along_axis(probabilities, index, axis=axis)}

    def graph(self, op: Any, inputs: Wires, probabilities: Any) -> dict[str, Any]:
        """ArgMax of ONNX takes the first of equals, too."""
        datatype, _ = inputs["probabilities"]
        axis = self.axis if self.axis < 0 else self.axis + 1
        wide = op.Cast(probabilities, to=ELEMENTS["FP32"]) if datatype == "FP16" else probabilities
        ranked = op.Where(op.IsNaN(wide), float("-inf"), wide)
        index = op.ArgMax(ranked, axis=axis, keepdims=1)
        return {"index": index, "score": op.GatherElements(probabilities, index, axis=axis)}
