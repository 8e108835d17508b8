# SPDX-License-Identifier: Apache-2.0
"""Keep numbers within bounds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Wires = dict[str, tuple[str, tuple[int, ...]]]
INT32 = 6  # of onnx.TensorProto
FLOATS = ("FP16", "FP32", "FP64")
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The bounds are rounded to the type of the values; integers take whole ones. NaN stays NaN.

    ``least``: what is below becomes that.

    ``most``: what is above becomes that.
    """

    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ValueError("neither least nor most is given")
        if any(bound is not None and np.isnan(bound) for bound in (self.least, self.most)):
            raise ValueError(f"least is {self.least}, and most is {self.most}: a bound must be a number")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least is {self.least}, and most is {self.most}")

    def outputs(self, inputs: Wires) -> Wires:
        """As they came, within the bounds."""
        datatype, dims = inputs["values"]
        if datatype not in FLOATS + INTEGERS:
            raise ValueError(f"'values' must be numbers; they are {datatype} {list(dims)}")
        if datatype in INTEGERS:
            self._check_whole(datatype)
        return {"clipped": (datatype, dims)}

    def _check_whole(self, datatype: str) -> None:
        limits = np.iinfo(datatype.lower())
        for name, bound in (("least", self.least), ("most", self.most)):
            if bound is not None and not (float(bound).is_integer() and limits.min <= bound <= limits.max):
                raise ValueError(
                    f"'values' are {datatype}, which cannot be {bound}; {name} must be a whole number of it"
                )

    def run(self, values: Any) -> dict[str, Any]:
        """All rows at once; one by one where their sizes differ."""
        if isinstance(values, list):
            return {"clipped": [self._clip(row) for row in values]}
        return {"clipped": self._clip(values)}

    def _clip(self, values: Any) -> Any:
        least, most = (None if b is None else values.dtype.type(b) for b in (self.least, self.most))
        return np.clip(values, least, most)

    def graph(self, op: Any, inputs: Wires, values: Any) -> dict[str, Any]:
        """One operator for integers; for floats comparisons, since Clip of ONNX says nothing of NaN."""
        datatype, _ = inputs["values"]
        if datatype in ("INT16", "UINT16"):  # ONNX Runtime has no Clip of these
            return {"clipped": op.CastLike(self._whole(op, op.Cast(values, to=INT32)), values)}
        if datatype in INTEGERS and datatype != "INT64":
            return {"clipped": self._whole(op, values)}
        kind = np.int64 if datatype == "INT64" else np.float64  # ONNX Runtime's Clip of INT64 goes wrong below -2**31
        if self.least is not None:
            least = op.CastLike(kind(self.least), values)
            values = op.Where(op.Less(values, least), least, values)
        if self.most is not None:
            most = op.CastLike(kind(self.most), values)
            values = op.Where(op.Greater(values, most), most, values)
        return {"clipped": values}

    def _whole(self, op: Any, values: Any) -> Any:
        bounds = (None if bound is None else op.CastLike(int(bound), values) for bound in (self.least, self.most))
        return op.Clip(values, *bounds)
