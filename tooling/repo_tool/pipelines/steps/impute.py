# SPDX-License-Identifier: Apache-2.0
"""Put a number where one is missing in a table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Impute:
    """``values`` has a number for each column: its mean or median in training, or what else stood for it there.

    Missing is NaN, and ``missing_value`` too where the training rows had one, such as -999.
    """

    values: list[float]
    missing_value: float | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("values holds a number for each column")
        _refuse_unless_finite(values=self.values)

    def outputs(self, inputs: Wires) -> Wires:
        """The table keeps its type and width."""
        datatype, dims = inputs["table"]
        if datatype not in ("FP32", "FP64") or dims != (len(self.values),):
            raise ValueError(
                f"'table' must be floats [{len(self.values)}], as many columns as values; it is {datatype} {list(dims)}"
            )
        return {"imputed": (datatype, dims)}

    def run(self, table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        missing = np.isnan(table)
        if self.missing_value is not None:
            missing |= table == np.asarray(self.missing_value, dtype=table.dtype)
        return {"imputed": np.where(missing, np.asarray(self.values, dtype=table.dtype), table)}

    def graph(self, op: Any, inputs: Wires, table: Any) -> dict[str, Any]:
        """Where, on IsNaN."""
        missing = op.IsNaN(table)
        if self.missing_value is not None:
            missing = op.Or(missing, op.Equal(table, self.missing_value))
        return {"imputed": op.Where(missing, self.values, table)}


def _refuse_unless_finite(**numbers: Any) -> None:
    for name, given in numbers.items():
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"{name} must be finite; it is {given}")
