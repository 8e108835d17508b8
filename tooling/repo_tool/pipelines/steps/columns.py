# SPDX-License-Identifier: Apache-2.0
"""Put named columns side by side into one table of numbers."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

_ONNX = {"FP32": 1, "FP64": 11}  # of onnx.TensorProto
_NUMBERS = ("FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "BOOL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The inputs are called as ``names`` says and come in that order; one of several numbers keeps theirs in a row."""

    names: list[str]
    datatype: Literal["FP32", "FP64"] = "FP32"

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError("names holds each column once, and one at least")

    def input_names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.names)

    def outputs(self, inputs: Wires) -> Wires:
        """As wide as all columns together."""
        for name in self.names:
            datatype, dims = inputs[name]
            if datatype not in _NUMBERS or len(dims) != 1 or dims[0] < 1:
                raise ValueError(f"'{name}' must be numbers [n]; it is {datatype} {list(dims)}")
        return {"table": (self.datatype, (sum(inputs[name][1][0] for name in self.names),))}

    def run(self, **columns: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        dtype = np.float32 if self.datatype == "FP32" else np.float64
        with np.errstate(over="ignore"):  # what a float32 cannot hold is infinite, as in the graph
            return {"table": np.concatenate([columns[name].astype(dtype) for name in self.names], axis=1)}

    def graph(self, op: Any, inputs: Wires, **columns: Any) -> dict[str, Any]:
        """Casts and one Concat."""
        cast = [
            columns[name] if inputs[name][0] == self.datatype else op.Cast(columns[name], to=_ONNX[self.datatype])
            for name in self.names
        ]
        return {"table": op.Concat(*cast, axis=1)}
