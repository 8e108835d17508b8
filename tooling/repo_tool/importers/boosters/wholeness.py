# SPDX-License-Identifier: Apache-2.0
"""Whether a booster's file was cut short, found before its library reads it.

XGBoost reads past the end of such a UBJSON file and LightGBM throws in a thread of its own: both end the process.
"""

__all__ = ["refuse_cut"]

import re
import struct
from pathlib import Path

from repo_tool.errors import SourceError

_SIZES = {b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
_INTEGERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_TREE_SIZES = re.compile(rb"^tree_sizes=([0-9 ]*)\r?$", re.MULTILINE)
_PARAMETERS, _END_OF_PARAMETERS = b"\nparameters:", b"end of parameters"
_FIRST_TREE = re.compile(rb"^Tree=0\r?$", re.MULTILINE)


class _CutError(Exception):
    """The bytes end before what they began."""


def refuse_cut(path: Path) -> None:
    """Nothing for a file that is whole, or of a kind that is not known here.

    Raises:
        SourceError: it ends in the middle.
    """
    data = path.read_bytes()
    try:
        _walk(data)
    except _CutError as error:
        raise SourceError(
            f"'{path.name}' ends in the middle",
            cause=f"after {len(data)} bytes {error}: copying or saving it was interrupted",
            next_step="copy it again, or save the booster again with save_model",
        ) from error
    except RecursionError:
        return  # no booster is that deep: for the library to refuse


def _walk(data: bytes) -> None:
    if data[:1] == b"{" and data[1:2] in _INTEGERS:
        _after_value(data, 0)
    elif data[:1] == b"{" and not data.rstrip().endswith(b"}"):
        raise _CutError("its JSON is not closed")
    elif data[:4] == b"tree":
        _measure_trees(data)


def _measure_trees(data: bytes) -> None:
    """LightGBM's text says in its head how long each tree is."""
    told, first = _TREE_SIZES.search(data), _FIRST_TREE.search(data)
    sizes = list(map(int, told[1].split())) if told else []
    if first is None and (sizes or told is None):
        raise _CutError("no tree has come")
    missing = first.start() + sum(sizes) - len(data) if first else 0
    if missing > 0:
        raise _CutError(f"at least {missing} bytes of trees are missing")
    if _PARAMETERS in data and _END_OF_PARAMETERS not in data:
        raise _CutError("its parameters have no end")


# --- UBJSON, stepped over; what is none is left to the library to refuse ---------------------------------------------


def _after_value(data: bytes, place: int) -> int:
    marker, place = _one(data, place), place + 1
    if marker in (b"S", b"H"):
        return _after_text(data, place)
    if marker == b"[":
        return _after_array(data, place)
    if marker != b"{":
        return _within(data, place + _SIZES.get(marker, 0))
    while _one(data, place) != b"}":
        place = _after_value(data, _after_text(data, place))
    return place + 1


def _after_array(data: bytes, place: int) -> int:
    """``$`` a type ``#`` how many, and their bytes alone; ``#`` how many, and values; or values up to ``]``."""
    start = _one(data, place)
    if start == b"$":
        size = _SIZES.get(_one(data, place + 1), 0)
        count, place = _integer(data, place + 3)
        return _within(data, place + size * count)
    if start == b"#":
        count, place = _integer(data, place + 1)
        for _ in range(count):
            place = _after_value(data, place)
        return place
    while _one(data, place) != b"]":
        place = _after_value(data, place)
    return place + 1


def _after_text(data: bytes, place: int) -> int:
    length, place = _integer(data, place)
    return _within(data, place + length)


def _integer(data: bytes, place: int) -> tuple[int, int]:
    kind = _INTEGERS.get(_one(data, place))
    if kind is None:
        return 0, place + 1
    size = struct.calcsize(kind)
    _within(data, place + 1 + size)
    return max(0, struct.unpack_from(kind, data, place + 1)[0]), place + 1 + size


def _one(data: bytes, place: int) -> bytes:
    _within(data, place + 1)
    return data[place : place + 1]


def _within(data: bytes, place: int) -> int:
    if place > len(data):
        raise _CutError(f"at least {place - len(data)} more are missing")
    return place
