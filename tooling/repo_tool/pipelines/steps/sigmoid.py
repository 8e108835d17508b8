# SPDX-License-Identifier: Apache-2.0
"""Turn each logit into a probability of its own: ``1 / (1 + exp(-logit))``."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
ELEMENTS = {"FP16": 10, "FP32": 1, "FP64": 11}  # the floats, as onnx.TensorProto numbers them


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid:
    """For answers of which several may hold, or one yes or no. It cannot overflow; FP16 is computed in FP32."""

    def outputs(self, inputs: Wires) -> Wires:
        """Probabilities have the shape and type of the logits."""
        datatype, dims = inputs["logits"]
        if datatype not in ELEMENTS:
            raise ValueError(f"'logits' must be floats; they are {datatype} {list(dims)}")
        return {"probabilities": (datatype, dims)}

    def run(self, logits: Any) -> dict[str, Any]:
        """All rows at once; one by one where their sizes differ."""
        if isinstance(logits, list):
            return {"probabilities": [_sigmoid(row) for row in logits]}
        return {"probabilities": _sigmoid(logits)}

    def graph(self, op: Any, inputs: Wires, logits: Any) -> dict[str, Any]:
        """ONNX has it as one operator."""
        datatype, _ = inputs["logits"]
        if datatype != "FP16":
            return {"probabilities": op.Sigmoid(logits)}
        return {"probabilities": op.Cast(op.Sigmoid(op.Cast(logits, to=ELEMENTS["FP32"])), to=ELEMENTS["FP16"])}


def _sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    wide = logits.astype(np.result_type(logits, np.float32), copy=False)
    small = np.exp(-np.abs(wide))  # at most 1
    return np.asarray(np.where(wide >= 0, 1, small) / (1 + small), dtype=logits.dtype)
