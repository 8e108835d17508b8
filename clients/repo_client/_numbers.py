# SPDX-License-Identifier: Apache-2.0
"""Numbers into a type that may be too small for them: each goes in, or the first that does not is named."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._bfloat16 import LARGEST, infinities, to_bfloat16
from repo_client._datatypes import Datatype
from repo_client._errors import DatatypeError
from repo_client._refusals import Target, inexact, out_of_range


def check_integers(leaves: list[Any], shape: tuple[int, ...], target: Target) -> None:
    """Refuse an ``int`` that the tensor's floats would round.

    Raises:
        DatatypeError: it has more digits, in base 2, than they.
    """
    digits = target.datatype.digits
    if max(map(abs, leaves), default=0) <= 2**digits:  # most often, and found at once; not so with NaN
        return
    for at, leaf in enumerate(leaves):
        if type(leaf) is int and leaf.bit_length() - (leaf & -leaf).bit_length() >= digits:
            raise inexact(target, leaf, [*map(int, np.unravel_index(at, shape))])


def narrowed(array: NDArray[Any], target: Target) -> NDArray[Any]:
    """``array`` in the tensor's type; a value that does not fit is refused, not wrapped or turned into infinity.

    Raises:
        DatatypeError: the type cannot hold one of the values.
    """
    wanted = target.datatype.numpy
    if wanted.kind == "f":
        return stored(_narrowed_floats(array, target), target)
    if wanted.kind in "iu" and array.size > 0:
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise _first_of(array, (array < limits.min) | (array > limits.max), target)
    return array.astype(wanted)


def stored(array: NDArray[Any], target: Target) -> NDArray[Any]:
    """``array``, which has the tensor's numpy type, as it is kept: values of BF16 by their bits.

    Raises:
        DatatypeError: a finite value would become infinity as a BF16.
    """
    if target.datatype.name != "BF16":
        return array
    bits = to_bfloat16(array)
    infinite = infinities(bits)
    if infinite.any() and np.any(infinite & np.isfinite(array)):
        raise _first_of(array, infinite & np.isfinite(array), target)
    return bits


def _narrowed_floats(array: NDArray[Any], target: Target) -> NDArray[Any]:
    wanted = target.datatype.numpy
    try:
        wide = array.astype(np.float64) if array.dtype.kind == "O" else array
    except OverflowError as error:  # of an int
        raise _first_of(array, np.abs(array) > sys.float_info.max, target) from error
    with np.errstate(over="ignore"):
        narrow = wide.astype(wanted)
    infinite = np.isinf(narrow)
    if infinite.any() and np.any(infinite & np.isfinite(wide)):
        raise _first_of(array, infinite & np.isfinite(wide), target)
    return narrow


def _first_of(array: NDArray[Any], wrong: NDArray[np.bool_], target: Target) -> DatatypeError:
    place = np.argwhere(wrong)[0].tolist()
    low, high = _limits(target.datatype)
    return out_of_range(target, array[tuple(place)], place, low=low, high=high)


def _limits(datatype: Datatype) -> tuple[float, float]:
    if datatype.numpy.kind == "f":
        high = LARGEST if datatype.name == "BF16" else float(np.finfo(datatype.numpy).max)
        return -high, high
    limits = np.iinfo(datatype.numpy)
    return limits.min, limits.max
