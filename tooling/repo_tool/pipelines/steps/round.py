# SPDX-License-Identifier: Apache-2.0
"""Round numbers to so many decimals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Wires = dict[str, tuple[str, tuple[int, ...]]]
ELEMENTS = {"FP16": 10, "FP32": 1, "FP64": 11}  # the floats, as onnx.TensorProto numbers them


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """As ``numpy.round`` does it: half of the last place goes to the even neighbour.

    The value is multiplied by the power of ten, rounded and divided again, in its own type (FP16 in FP32): 2.675 as
    FP32 becomes 2.68, since the product is 267.5 there.

    ``decimals``: how many places after the point; -2 rounds to hundreds.
    """

    decimals: int = 0

    def __post_init__(self) -> None:
        if not -10 <= self.decimals <= 10:
            raise ValueError(f"decimals is {self.decimals}; powers of ten are exact in FP32 from -10 to 10 only")

    def outputs(self, inputs: Wires) -> Wires:
        """As they came, rounded."""
        datatype, dims = inputs["values"]
        if datatype not in ELEMENTS:
            raise ValueError(f"'values' must be floats; they are {datatype} {list(dims)}")
        return {"rounded": (datatype, dims)}

    def run(self, values: Any) -> dict[str, Any]:
        """All rows at once; one by one where their sizes differ."""
        if isinstance(values, list):
            return {"rounded": [self._round(row) for row in values]}
        return {"rounded": self._round(values)}

    def _round(self, values: Any) -> Any:
        wide = values.astype(np.result_type(values, np.float32), copy=False)
        return np.round(wide, self.decimals).astype(values.dtype, copy=False)

    def graph(self, op: Any, inputs: Wires, values: Any) -> dict[str, Any]:
        """Round of ONNX goes to the even neighbour, too."""
        datatype, _ = inputs["values"]
        wide = op.Cast(values, to=ELEMENTS["FP32"]) if datatype == "FP16" else values
        power = float(10 ** abs(self.decimals))
        if self.decimals >= 0:
            rounded = op.Div(op.Round(op.Mul(wide, power)), power)
        else:
            rounded = op.Mul(op.Round(op.Div(wide, power)), power)
        return {"rounded": op.Cast(rounded, to=ELEMENTS["FP16"]) if datatype == "FP16" else rounded}
