# SPDX-License-Identifier: Apache-2.0
"""Make one vector of those of a text's tokens: their mean, without the padding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
ELEMENTS = {"FP16": 10, "FP32": 1, "FP64": 11}  # the floats, as onnx.TensorProto numbers them
BOOL = 9
SHORTEST = 1e-12  # a vector is divided by no less, as torch.nn.functional.normalize does it


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanPool:
    """The mean over the tokens whose ``attention_mask`` is not 0, computed in FP64; zeros where there is none.

    ``unit_length``: divide the mean by its Euclidean length, so that the dot product of two is their cosine.
    """

    unit_length: bool = False

    def outputs(self, inputs: Wires) -> Wires:
        """As wide as the vector of a token."""
        (datatype, dims), (mask_type, mask) = inputs["last_hidden_state"], inputs["attention_mask"]
        if datatype not in ELEMENTS or len(dims) != 2 or dims[1] < 1:
            raise ValueError(f"'last_hidden_state' must be floats [tokens, width]; it is {datatype} {list(dims)}")
        if mask_type not in ("INT64", "INT32") or len(mask) != 1 or (mask != dims[:1] and -1 not in (*mask, dims[0])):
            raise ValueError(
                f"'attention_mask' must be INT64 or INT32 [{dims[0]}], one for each token; "
                f"it is {mask_type} {list(mask)}"
            )
        return {"embedding": (datatype, dims[1:])}

    def run(self, last_hidden_state: Any, attention_mask: Any) -> dict[str, NDArray[Any]]:
        """Row by row."""
        pooled = []
        for row, (vectors, mask) in enumerate(zip(last_hidden_state, attention_mask, strict=True)):
            if len(vectors) != len(mask):
                raise ValueError(f"row {row}: there are {len(vectors)} tokens, and {len(mask)} in attention_mask")
            mean = self._pooled(vectors.astype(np.float64), mask[:, None] != 0)
            pooled.append(mean.astype(np.result_type(vectors, np.float32)).astype(vectors.dtype))
        return {"embedding": np.stack(pooled)}

    def _pooled(self, vectors: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
        mean = np.where(counts, vectors, 0).sum(axis=0) / max(counts.sum(), 1)
        if not self.unit_length:
            return np.asarray(mean)
        length = np.sqrt((mean * mean).sum())
        return np.asarray(mean / (SHORTEST if length < SHORTEST else length))

    def graph(self, op: Any, inputs: Wires, last_hidden_state: Any, attention_mask: Any) -> dict[str, Any]:
        """The same arithmetic."""
        datatype, _ = inputs["last_hidden_state"]
        counts = op.Unsqueeze(op.Cast(op.Cast(attention_mask, to=BOOL), to=ELEMENTS["FP64"]), [2])
        wide = op.Cast(last_hidden_state, to=ELEMENTS["FP64"])
        total = op.ReduceSum(op.Where(op.Greater(counts, np.float64(0)), wide, np.float64(0)), [1], keepdims=0)
        mean = op.Div(total, op.Max(op.ReduceSum(counts, [1], keepdims=0), np.float64(1)))
        if self.unit_length:
            length = op.Sqrt(op.ReduceSum(op.Mul(mean, mean), [1], keepdims=1))
            mean = op.Div(mean, op.Where(op.Less(length, np.float64(SHORTEST)), np.float64(SHORTEST), length))
        if datatype == "FP16":  # ONNX Runtime goes by way of FP32, too
            mean = op.Cast(mean, to=ELEMENTS["FP32"])
        return {"embedding": op.Cast(mean, to=ELEMENTS[datatype])}
