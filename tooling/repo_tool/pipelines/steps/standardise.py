# SPDX-License-Identifier: Apache-2.0
"""Give each row of samples a mean of zero and a variance of one, as wav2vec 2.0 and its kin take sound."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
FLOAT, DOUBLE = 1, 11  # of onnx.TensorProto


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardise:
    """``(sample - mean) / sqrt(variance + epsilon)`` over the whole row, computed in float64 and given as FP32.

    What fills a row up, as the silence of ``decode_wav`` with ``seconds``, counts too: transformers leaves it out. A
    row with a sample that is NaN or infinite is NaN altogether.

    ``epsilon``: keeps silence from being divided by zero; transformers has 1e-7.
    """

    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ValueError("epsilon must be more than 0, and finite")

    def outputs(self, inputs: Wires) -> Wires:
        """The same dims."""
        datatype, dims = inputs["samples"]
        if datatype != "FP32" or not 1 <= len(dims) <= 4 or 0 in dims:
            raise ValueError(f"'samples' must be FP32 of one to four dimensions; they are {datatype} {list(dims)}")
        return {"standardised": ("FP32", dims)}

    def run(self, samples: Any) -> dict[str, Any]:
        """Row by row."""
        rows = [self._standard(row, values) for row, values in enumerate(samples)]
        return {"standardised": rows if isinstance(samples, list) else np.stack(rows)}

    def _standard(self, row: int, values: NDArray[Any]) -> NDArray[np.float32]:
        if not values.size:
            raise ValueError(f"row {row}: there are no samples")
        with np.errstate(invalid="ignore"):
            centred = values.astype(np.float64) - values.mean(dtype=np.float64)
            return np.asarray(centred / np.sqrt(np.mean(centred * centred) + self.epsilon), dtype=np.float32)

    def graph(self, op: Any, inputs: Wires, samples: Any) -> dict[str, Any]:
        """The same arithmetic; sums are added up in another order."""
        axes = list(range(1, 1 + len(inputs["samples"][1])))
        wide = op.Cast(samples, to=DOUBLE)
        centred = op.Sub(wide, op.ReduceMean(wide, axes, keepdims=1))
        variance = op.ReduceMean(op.Mul(centred, centred), axes, keepdims=1)
        deviation = op.Sqrt(op.Add(variance, np.float64(self.epsilon)))
        return {"standardised": op.Cast(op.Div(centred, deviation), to=FLOAT)}
