# SPDX-License-Identifier: Apache-2.0
"""Take a regression's answer back from the scale of training: what the scaler of the target undoes."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
DOUBLE = 11  # of onnx.TensorProto
CONSTANT = 10 * np.finfo(np.float64).eps  # a column that spans less never changes, says scikit-learn


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscale:
    """What ``inverse_transform`` of scikit-learn's scalers that were fitted on double precision gives, bit by bit.

    ``standard`` gives ``value * std + mean`` (``scale_`` and ``mean_`` of a StandardScaler) in the answer's own type,
    ``min_max`` what takes ``to`` back to ``[low, high]`` (``data_min_`` and ``data_max_`` of a MinMaxScaler): in FP64,
    rounded to the answer's type after each of its two operations.

    The numbers are one for each column, which is the last dimension, or one for all.
    """

    method: Literal["standard", "min_max"]
    mean: list[float] | None = None
    std: list[float] | None = None
    low: list[float] | None = None
    high: list[float] | None = None
    to: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        first, second = self._given()
        _refuse_unless_finite(mean=self.mean, std=self.std, low=self.low, high=self.high, to=self.to)
        if len(first) != len(second) or not first:
            raise ValueError(f"{len(first)} and {len(second)} numbers: one of each for each column")
        if self.method == "standard" and min(second) <= 0:
            raise ValueError("std must be above 0 (scikit-learn takes 1 for a column that never changes)")
        if self.to[0] >= self.to[1] or any(low > high for low, high in zip(first, second, strict=True) if self.low):
            raise ValueError("low must not be above high, nor the first of `to` above the second")

    def outputs(self, inputs: Wires) -> Wires:
        """As the answer came, in what the target was measured in."""
        datatype, dims = inputs["answer"]
        columns = len(self._given()[0])
        if datatype not in ("FP32", "FP64") or not dims or (columns > 1 and dims[-1] != columns):
            wanted = "..., " + (str(columns) if columns > 1 else "columns")
            raise ValueError(f"'answer' must be FP32 or FP64 [{wanted}]; it is {datatype} {list(dims)}")
        return {"values": (datatype, dims)}

    def run(self, answer: Any) -> dict[str, Any]:
        """All rows at once; one by one where their sizes differ."""
        if isinstance(answer, list):
            return {"values": [self._unscaled(row) for row in answer]}
        return {"values": self._unscaled(answer)}

    def _unscaled(self, answer: NDArray[Any]) -> NDArray[Any]:
        if self.method == "standard":
            mean, std = (np.asarray(numbers, dtype=answer.dtype) for numbers in self._given())
            return np.asarray(answer * std + mean)
        factor, summand = self._factor_and_summand()
        return np.asarray(((answer - summand).astype(answer.dtype) / factor).astype(answer.dtype))

    def graph(self, op: Any, inputs: Wires, answer: Any) -> dict[str, Any]:
        """The same two operators."""
        if self.method == "standard":
            mean, std = self._given()
            return {"values": op.Add(op.Mul(answer, std), mean)}
        factor, summand = self._factor_and_summand()
        shifted = op.CastLike(op.Sub(op.Cast(answer, to=DOUBLE), summand), answer)
        return {"values": op.CastLike(op.Div(op.Cast(shifted, to=DOUBLE), factor), answer)}

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
