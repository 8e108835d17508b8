# SPDX-License-Identifier: Apache-2.0
"""Scale each column of a table by numbers that were found in training."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleColumns:
    """In the table's own precision, in the order of scikit-learn's scalers.

    ``standard`` gives ``(value - mean) / std`` (``mean_`` and ``scale_`` of a StandardScaler), ``min_max`` what takes
    ``[low, high]`` to ``to`` (``data_min_`` and ``data_max_`` of a MinMaxScaler), kept within it with ``clip``.
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
        if len(first) != len(second) or not first:
            raise ValueError(f"{len(first)} and {len(second)} numbers: one of each for each column")
        if self.method == "standard" and 0 in second:
            raise ValueError("std must not be 0 (scikit-learn takes 1 for a column that never changes)")
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
        first, second = (np.asarray(numbers, dtype=table.dtype) for numbers in self._numbers())
        if self.method == "standard":
            return {"scaled": (table - first) / second}
        scaled = table * first + second
        low, high = (np.asarray(limit, dtype=table.dtype) for limit in self.to)
        return {"scaled": np.clip(scaled, low, high) if self.clip else scaled}

    def graph(self, op: Any, inputs: Wires, table: Any) -> dict[str, Any]:
        """The same two operators."""
        first, second = ([float(number) for number in numbers] for numbers in self._numbers())
        if self.method == "standard":
            return {"scaled": op.Div(op.Sub(table, first), second)}
        scaled = op.Add(op.Mul(table, first), second)
        if not self.clip:
            return {"scaled": scaled}
        low, high = ([float(limit)] for limit in self.to)
        return {"scaled": op.Min(op.Max(scaled, low), high)}

    def _given(self) -> tuple[list[float], list[float]]:
        both = (self.mean, self.std) if self.method == "standard" else (self.low, self.high)
        if both[0] is None or both[1] is None:
            raise ValueError("standard needs mean and std, min_max low and high")
        return both[0], both[1]

    def _numbers(self) -> tuple[Any, Any]:
        """Mean and std, or factor and summand, in double precision."""
        first, second = (np.asarray(numbers, dtype=np.float64) for numbers in self._given())
        if self.method == "standard":
            return first, second
        span = second - first
        factor = (self.to[1] - self.to[0]) / np.where(span == 0, 1.0, span)
        return factor, self.to[0] - first * factor
