# SPDX-License-Identifier: Apache-2.0
"""BYTES as they travel: each element's length in 4 little-endian bytes, then the element.

Triton's binary tensor data extension has no index, so a reader goes from length to length. Thousands of short texts
are common, and one step of Python for each is most of what they cost; so many at once are taken apart by the zeros of
their lengths, where no element has zeros of its own, and that is checked.
"""

import struct
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")
_PREFIXES = tuple(map(_LENGTH.pack, range(256)))  # looked up in half the time that packing takes
_MANY = 64  # elements; below it the loops are faster
_SHORT = 255  # bytes: of the length of such an element, all but one byte are zeros


def encode_strings(elements: list[bytes] | list[str]) -> bytes:
    """The bytes of elements that are all ``bytes`` or all ``str``."""
    if not elements or not isinstance(elements[0], str):
        return _joined(cast("list[bytes]", elements))
    whole = _joined_texts(elements) if len(elements) >= _MANY else None
    return _joined([*map(str.encode, elements)]) if whole is None else whole


def _joined(elements: list[bytes]) -> bytes:
    parts = [b""] * (2 * len(elements))
    parts[1::2] = elements
    try:
        parts[::2] = map(_PREFIXES.__getitem__, map(len, elements))
    except IndexError:
        parts[::2] = map(_LENGTH.pack, map(len, elements))
    return b"".join(parts)


def _joined_texts(texts: list[str]) -> bytes | None:
    """All texts encoded at once; ``None`` where a text has a zero, so that their ends cannot be found again."""
    whole = bytearray("\0\0\0\0".join(chain(("",), texts)).encode())
    data = np.frombuffer(whole, np.uint8)
    zeros = np.flatnonzero(data == 0)
    if zeros.size != 4 * len(texts):
        return None
    starts = zeros[::4]
    lengths = np.diff(starts, append=data.size) - 4
    for byte in range(4 if lengths.max() > _SHORT else 1):
        data[starts + byte] = (lengths >> 8 * byte) & 0xFF
    return bytes(whole)


def decode_strings(data: bytes | memoryview, count: int) -> list[bytes]:
    """The elements in ``data``, which should be ``count``.

    Raises:
        ValueError: the last element is cut off.
        struct.error: the last length is cut off.
    """
    whole = bytes(data)  # so that its parts are bytes too
    if count >= _MANY and len(whole) <= count * (_SHORT + 4):
        elements = _split(whole, count)
        if elements is not None:
            return elements
    return _walk(whole)


def _split(whole: bytes, count: int) -> list[bytes] | None:
    """``count`` elements of 1 to 255 bytes without zeros; ``None`` if they are not."""
    data = np.frombuffer(whole, np.uint8)
    zeros = np.flatnonzero(data == 0)
    if zeros.size != 3 * count:
        return None
    starts = zeros[::3] - 1
    if not _are_prefixes(data, starts, zeros):
        return None
    cleared = bytearray(whole)
    np.frombuffer(cleared, np.uint8)[starts] = 0
    return bytes(cleared).split(b"\0\0\0\0")[1:]


def _are_prefixes(data: NDArray[np.uint8], starts: NDArray[np.intp], zeros: NDArray[np.intp]) -> bool:
    """Whether a length is at each of ``starts`` that leads to the next, and the last one to the end."""
    lengths = np.diff(starts, append=data.size) - 4
    in_a_row = bool((zeros[2::3] - starts == 3).all())
    return starts[0] == 0 and in_a_row and bool((lengths == data[starts]).all())


def _walk(whole: bytes) -> list[bytes]:
    elements: list[bytes] = []
    append, unpack = elements.append, _LENGTH.unpack_from
    position, end = 0, len(whole)
    while position < end:
        start = position + 4
        position = start + unpack(whole, position)[0]
        append(whole[start:position])
    if position != end:
        raise ValueError("the last element is cut off")
    return elements
