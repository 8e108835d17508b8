# SPDX-License-Identifier: Apache-2.0
"""Change the datatype of numbers of any shape."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"
]

_DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
# Of onnx.TensorProto.
_ONNX = {
    "FP32": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7,
    "BOOL": 9, "FP16": 10, "FP64": 11, "UINT32": 12, "UINT64": 13,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Floats lose what is after the point, or are rounded half to even before (``rounding: nearest``).

    A row with a number that an integer datatype cannot hold is refused, and so is one with NaN for integers.
    """

    datatype: Datatype
    rounding: Literal["truncate", "nearest"] = "truncate"

    def outputs(self, inputs: Wires) -> Wires:
        """The same dims."""
        datatype, dims = inputs["values"]
        if datatype not in _DTYPES:
            raise ValueError(f"'values' must be numbers; they are {datatype} {list(dims)}")
        if len(dims) > 4:
            raise ValueError(f"'values' must have at most four dimensions; they are {datatype} {list(dims)}")
        return {"cast": (self.datatype, dims)}

    def run(self, values: Any) -> dict[str, Any]:
        """All rows at once, or one after another where they have sizes of their own."""
        if isinstance(values, list):
            return {"cast": [self._cast(row[None], first=index)[0] for index, row in enumerate(values)]}
        return {"cast": self._cast(values, first=0)}

    def _cast(self, values: NDArray[Any], *, first: int) -> NDArray[Any]:
        wanted = np.dtype(_DTYPES[self.datatype])
        if wanted.kind in "iu" and values.dtype.kind != "b":
            if values.dtype.kind == "f":
                values = np.rint(values) if self.rounding == "nearest" else np.trunc(values)
            self._refuse_what_does_not_fit(values, wanted, first)
        with np.errstate(over="ignore"):
            return values.astype(wanted)

    def _refuse_what_does_not_fit(self, values: NDArray[Any], wanted: np.dtype[Any], first: int) -> None:
        fits = _fits(values, np.iinfo(wanted))
        if not fits.all():
            row = int(np.argmin(fits.reshape(len(values), -1).all(axis=1)))
            found = values[row][~fits[row]].reshape(-1)[0]
            raise ValueError(f"row {first + row}: {found} does not fit {self.datatype}")

    def graph(self, op: Any, inputs: Wires, values: Any) -> dict[str, Any]:
        """Cast, where every number fits."""
        given, wanted = np.dtype(_DTYPES[inputs["values"][0]]), np.dtype(_DTYPES[self.datatype])
        if given == np.float64 and wanted == np.float16:
            raise NotImplementedError("ONNX Runtime makes FP32 of FP64 on the way to FP16, so it rounds twice")
        if wanted.kind in "iu" and not np.can_cast(given, wanted):
            raise NotImplementedError(f"a row with a number that does not fit {self.datatype} must be refused")
        return {"cast": op.Cast(values, to=_ONNX[self.datatype])}


def _fits(values: NDArray[Any], limits: "np.iinfo[Any]") -> NDArray[np.bool_]:
    """Compared so that no limit is rounded; NaN does not fit."""
    if values.dtype.kind == "f":
        # Both bounds are powers of two, which floats hold exactly: the upper one is one more than the largest integer.
        wide = values.astype(np.float64)
        return (wide >= float(limits.min)) & (wide < float(2 ** (limits.bits - (limits.min < 0))))
    own = np.iinfo(values.dtype)
    lower = values >= limits.min if own.min < limits.min else np.ones(values.shape, dtype=np.bool_)
    upper = values <= limits.max if own.max > limits.max else np.ones(values.shape, dtype=np.bool_)
    return lower & upper
