# SPDX-License-Identifier: Apache-2.0
"""What travels between the steps of a pipeline."""

__all__ = ["Wire"]

from dataclasses import dataclass

from repo_tool.datatypes import DataType


@dataclass(frozen=True, slots=True)
class Wire:
    """What travels between steps: a datatype and the dims of one row."""

    datatype: DataType
    dims: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype.wire_name} {list(self.dims)}"
