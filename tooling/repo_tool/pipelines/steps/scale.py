# SPDX-License-Identifier: Apache-2.0
"""Scale numbers of any shape to ``value * factor + offset``."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
FLOAT = 1  # of onnx.TensorProto
_NUMBERS = ("UINT8", "UINT16", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """In float32: first the product, then the sum, each rounded. ``factor: 0.00392156862745098`` is not quite / 255.

    ``divide_by`` is for that: ``value / divide_by * factor + offset``.
    """

    factor: float = 1.0
    offset: float = 0.0
    divide_by: float = 1.0

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            floats = np.asarray([self.factor, self.offset, self.divide_by], dtype=np.float32)
        if not np.isfinite(floats).all() or floats[2] == 0:
            raise ValueError("factor, offset and divide_by must be numbers that float32 has, and divide_by not 0")
        if (self.factor, self.offset, self.divide_by) == (1.0, 0.0, 1.0):
            raise ValueError("give factor, offset or divide_by; without them nothing changes")

    def outputs(self, inputs: Wires) -> Wires:
        """FP32 of the same dims."""
        datatype, dims = inputs["values"]
        if datatype not in _NUMBERS:
            raise ValueError(f"'values' must be {', '.join(_NUMBERS)}; they are {datatype} {list(dims)}")
        return {"scaled": ("FP32", dims)}

    def run(self, values: Any) -> dict[str, Any]:
        """All rows at once."""
        if isinstance(values, list):
            return {"scaled": [self._scaled(row) for row in values]}
        return {"scaled": self._scaled(values)}

    def _scaled(self, values: NDArray[Any]) -> NDArray[np.float32]:
        scaled = values.astype(np.float32)
        if self.divide_by != 1:
            scaled = scaled / np.float32(self.divide_by)
        if self.factor != 1:
            scaled = scaled * np.float32(self.factor)
        return scaled + np.float32(self.offset) if self.offset != 0 else scaled

    def graph(self, op: Any, inputs: Wires, values: Any) -> dict[str, Any]:
        """The same arithmetic in the same order."""
        scaled = op.Cast(values, to=FLOAT)
        if self.divide_by != 1:
            scaled = op.Div(scaled, self.divide_by)
        if self.factor != 1:
            scaled = op.Mul(scaled, self.factor)
        return {"scaled": op.Add(scaled, self.offset) if self.offset != 0 else scaled}
