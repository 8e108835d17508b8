# SPDX-License-Identifier: Apache-2.0
"""bfloat16, the upper half of a float32, which numpy does not have."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._datatypes import BFLOAT16_BITS

LARGEST = 3.3895313892515355e38  # 0x7F7F0000 as a float32
_INFINITY = 0x7F80  # what is more in its bits, sign apart, is NaN
_UNSIGNED = 0x7FFF


def to_bfloat16(array: NDArray[np.float32]) -> NDArray[Any]:
    """float32 rounded to the bits of bfloat16, ties to even; a NaN stays one, and what is too large is infinity."""
    bits = array.astype("<f4", copy=False).view("<u4")
    with np.errstate(over="ignore"):  # of a NaN, which is replaced
        rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    quiet = (bits >> 16) | 0x40  # a NaN whose payload lies in the lower half alone would become infinity
    return np.where(np.isnan(array), quiet, rounded).astype("<u2").view(BFLOAT16_BITS)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The same values as float32."""
    return (bits.astype("<u4") << 16).view("<f4")


def infinities(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an array of ``BFLOAT16_BITS`` is infinite."""
    places: NDArray[np.bool_] = (array["bfloat16"] & _UNSIGNED) == _INFINITY
    return places


def nans(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an array of ``BFLOAT16_BITS`` is NaN."""
    places: NDArray[np.bool_] = (array["bfloat16"] & _UNSIGNED) > _INFINITY
    return places
