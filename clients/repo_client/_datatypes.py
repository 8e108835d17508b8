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
    python: tuple[type, ...]  # the types of the values that lists may hold
    scalars: frozenset[type]  # the same exactly, with numpy's of each kind
    digits: int  # that a float has, in base 2: an int with more is none of its values; 0 of what is no float

    @property
    def kept(self) -> "np.dtype[Any]":
        """The type of arrays that are ready to be sent."""
        return BFLOAT16_BITS if self.name == "BF16" else self.numpy


def _numpy_types(codes: str) -> frozenset[type]:
    return frozenset(np.dtype(code).type for code in codes)


# numpy's scalars carry a type, but people come by them without choosing it: they count as Python's of their kind.
_KINDS: dict[type, frozenset[type]] = {
    bool: frozenset({bool}) | _numpy_types("?"),
    int: frozenset({int}) | _numpy_types(np.typecodes["AllInteger"]),
    float: frozenset({float}) | _numpy_types("efd"),
    bytes: frozenset({bytes}) | _numpy_types("S"),
    str: frozenset({str}) | _numpy_types("U"),
}
SCALARS = frozenset[type]().union(*_KINDS.values())


def _row(name: str, numpy_name: str, *python: type, digits: int = 0) -> Datatype:
    scalars = frozenset[type]().union(*(_KINDS[kind] for kind in python))
    return Datatype(name=name, numpy=np.dtype(numpy_name), python=python, scalars=scalars, digits=digits)


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
        _row("FP16", "<f2", float, int, digits=11),
        _row("FP32", "<f4", float, int, digits=24),
        _row("FP64", "<f8", float, int, digits=53),
        # numpy has no bfloat16: its values come and go as float32, and travel as the upper halves of them.
        _row("BF16", "<f4", float, int, digits=8),
        _row("BYTES", "object", bytes, str),
    )
}
