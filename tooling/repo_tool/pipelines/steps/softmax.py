# SPDX-License-Identifier: Apache-2.0
"""Turn logits into probabilities that add up to 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
ELEMENTS = {"FP16": 10, "FP32": 1, "FP64": 11}  # the floats, as onnx.TensorProto numbers them


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Shifted by the largest logit first, so that exp cannot overflow; FP16 is computed in FP32.

    ``axis``: along which dimension of a row they add up.
    """

    axis: int = -1

    def outputs(self, inputs: Wires) -> Wires:
        """Probabilities have the shape and type of the logits."""
        datatype, dims = inputs["logits"]
        if datatype not in ELEMENTS or not dims:
            raise ValueError(f"'logits' must be floats [..., classes]; they are {datatype} {list(dims)}")
        if not -len(dims) <= self.axis < len(dims):
            raise ValueError(f"'logits' have {len(dims)} dims, and axis is {self.axis}")
        return {"probabilities": (datatype, dims)}

    def run(self, logits: Any) -> dict[str, Any]:
        """All rows at once; one by one where their sizes differ."""
        if isinstance(logits, list):
            return {"probabilities": [self._softmax(row[None])[0] for row in logits]}
        return {"probabilities": self._softmax(logits)}

    def _softmax(self, logits: NDArray[Any]) -> NDArray[Any]:
        axis = self.axis if self.axis < 0 else self.axis + 1
        wide = logits.astype(np.result_type(logits, np.float32), copy=False)
        exponentials = np.exp(wide - wide.max(axis=axis, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=axis, keepdims=True)
        return np.asarray(probabilities, dtype=logits.dtype)

    def graph(self, op: Any, inputs: Wires, logits: Any) -> dict[str, Any]:
        """ONNX has it as one operator, shifted in the same way."""
        datatype, _ = inputs["logits"]
        axis = self.axis if self.axis < 0 else self.axis + 1
        if datatype != "FP16":
            return {"probabilities": op.Softmax(logits, axis=axis)}
        wide = op.Softmax(op.Cast(logits, to=ELEMENTS["FP32"]), axis=axis)
        return {"probabilities": op.Cast(wide, to=ELEMENTS["FP16"])}
