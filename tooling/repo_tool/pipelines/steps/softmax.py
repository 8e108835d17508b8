# SPDX-License-Identifier: Apache-2.0
"""Turn logits ``[classes]`` into probabilities that add up to 1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Shifted by the largest logit first, so that exp cannot overflow."""

    def outputs(self, inputs: Wires) -> Wires:
        """Probabilities have the shape and type of the logits."""
        datatype, dims = inputs["logits"]
        if datatype not in ("FP32", "FP64") or len(dims) != 1:
            raise ValueError(f"'logits' must be floats [classes]; they are {datatype} {list(dims)}")
        return {"probabilities": (datatype, dims)}

    def run(self, logits: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return {"probabilities": exponentials / exponentials.sum(axis=1, keepdims=True)}

    def graph(self, op: Any, inputs: Wires, logits: Any) -> dict[str, Any]:
        """ONNX has it as one operator, shifted in the same way."""
        return {"probabilities": op.Softmax(logits, axis=1)}
