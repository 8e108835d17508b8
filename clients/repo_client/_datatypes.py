# SPDX-License-Identifier: Apache-2.0
"""The table of data types on the wire: numpy type, and which Python values are one of it without loss."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# Values of a type that numpy does not have, by their bits; an array of them goes through all checks like any other.
BFLOAT16_BITS = np.dtype([("bfloat16", "<u2")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Datatype:
    """One row of the table; everything on the wire is little-endian."""

    name: str
    numpy: "np.dtype[Any]"
    python: tuple[type, ...]  # exact types of the values that lists may hold


def _row(name: str, numpy_name: str, *python: type) -> Datatype:
    return Datatype(name=name, numpy=np.dtype(numpy_name), python=python)


DATATYPES: dict[str, Datatype] = {
    row.name: row
    for row in (
        _row("BOOL", "bool", bool),
        _row("UINT8", "uint8", int),
        _row("UINT16", "<u2", int),
        _row("UINT32", "<u4", int),
        _row("UINT64", "<u8", int),
        _row("INT8", "int8", int),
        _row("INT16", "<i2", int),
        _row("INT32", "<i4", int),
        _row("INT64", "<i8", int),
        _row("FP16", "<f2", float, int),
        _row("FP32", "<f4", float, int),
        _row("FP64", "<f8", float, int),
        # numpy has no bfloat16: its values come and go as float32, and travel as the upper halves of them.
        _row("BF16", "<f4", float, int),
        _row("BYTES", "object", bytes, str),
    )
}
