# SPDX-License-Identifier: Apache-2.0
"""Take a table apart into a tensor for each column."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitColumns:
    """``names`` are those of the columns in their order; each becomes a tensor ``[1]`` of its name."""

    names: list[str]

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError("names holds each column once, and one at least")

    def outputs(self, inputs: Wires) -> Wires:
        """The columns keep the table's type."""
        datatype, dims = inputs["table"]
        if dims != (len(self.names),):
            raise ValueError(f"'table' must have a column for each of the {len(self.names)} names; it is {list(dims)}")
        return dict.fromkeys(self.names, (datatype, (1,)))

    def run(self, table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        return {name: np.ascontiguousarray(table[:, place : place + 1]) for place, name in enumerate(self.names)}

    def graph(self, op: Any, inputs: Wires, table: Any) -> dict[str, Any]:
        """A Slice for each."""
        return {name: op.Slice(table, [place], [place + 1], [1]) for place, name in enumerate(self.names)}
