# SPDX-License-Identifier: Apache-2.0
"""Scale each column of a table by numbers that were found in training."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
DOUBLE = 11  # of onnx.TensorProto
CONSTANT = 10 * np.finfo(np.float64).eps  # a column that spans less never changes, says scikit-learn


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleColumns:
    """What scikit-learn's scalers that were fitted on double precision give, bit by bit, of FP32 and of FP64.

    ``standard`` gives ``(value - mean) / std`` (``mean_`` and ``scale_`` of a StandardScaler) in the table's own type,
    ``min_max`` what takes ``[low, high]`` to ``to`` (``data_min_`` and ``data_max_`` of a MinMaxScaler), kept within it
    with ``clip``: in FP64, rounded to the table's type after each of its two operations.
    """

    method: Literal["standard", "min_max"]
    mean: list[float] | None = None
    std: list[float] | None = None
    low: list[float] | None = None
    high: list[float] | None = None
    to: tuple[float, float] = (0.0, 1.0)
    clip: bool = False

    def __post_init__(self) -> None:
        first, second = self._given()
        _refuse_unless_finite(mean=self.mean, std=self.std, low=self.low, high=self.high, to=self.to)
        if len(first) != len(second) or not first:
            raise ValueError(f"{len(first)} and {len(second)} numbers: one of each for each column")
        if self.method == "standard" and min(second) <= 0:
            raise ValueError("std must be above 0 (scikit-learn takes 1 for a column that never changes)")
        if self.clip and self.method == "standard":
            raise ValueError("clip goes with `method: min_max`")
        if self.to[0] >= self.to[1] or any(low > high for low, high in zip(first, second, strict=True) if self.low):
            raise ValueError("low must not be above high, nor the first of `to` above the second")

    def outputs(self, inputs: Wires) -> Wires:
        """The table keeps its type and width."""
        datatype, dims = inputs["table"]
        columns = len(self._given()[0])
        if datatype not in ("FP32", "FP64") or dims != (columns,):
            raise ValueError(
                f"'table' must be floats [{columns}], as many columns as numbers; it is {datatype} {list(dims)}"
            )
        return {"scaled": (datatype, dims)}

    def run(self, table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        if self.method == "standard":
            mean, std = (np.asarray(numbers, dtype=table.dtype) for numbers in self._given())
            return {"scaled": (table - mean) / std}
        factor, summand = self._factor_and_summand()
        scaled = ((table * factor).astype(table.dtype) + summand).astype(table.dtype)
        low, high = (np.asarray(limit, dtype=table.dtype) for limit in self.to)
        return {"scaled": np.clip(scaled, low, high) if self.clip else scaled}

    def graph(self, op: Any, inputs: Wires, table: Any) -> dict[str, Any]:
        """The same two operators."""
        first, second = self._given()
        if self.method == "standard":
            return {"scaled": op.Div(op.Sub(table, first), second)}
        factor, summand = self._factor_and_summand()
        scaled = op.CastLike(op.Mul(op.Cast(table, to=DOUBLE), factor), table)
        scaled = op.CastLike(op.Add(op.Cast(scaled, to=DOUBLE), summand), table)
        if not self.clip:
            return {"scaled": scaled}
        low, high = ([float(limit)] for limit in self.to)
        return {"scaled": op.Min(op.Max(scaled, low), high)}

    def _given(self) -> tuple[list[float], list[float]]:
        both, others = (self.mean, self.std), (self.low, self.high)
        if self.method == "min_max":
            both, others = others, both
        if both[0] is None or both[1] is None or others != (None, None):
            raise ValueError("standard takes mean and std, min_max low and high, and neither the others'")
        return both[0], both[1]

    def _factor_and_summand(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high = (np.asarray(numbers, dtype=np.float64) for numbers in self._given())
        span = high - low
        factor = (self.to[1] - self.to[0]) / np.where(span < CONSTANT, 1.0, span)
        return factor, self.to[0] - low * factor


def _refuse_unless_finite(**numbers: Any) -> None:
    for name, given in numbers.items():
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"{name} must be finite; it is {given}")
