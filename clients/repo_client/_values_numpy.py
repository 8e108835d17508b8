# SPDX-License-Identifier: Apache-2.0
"""What of numpy a tensor can carry."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._datatypes import BFLOAT16_BITS
from repo_client._refusals import Target, wrong_type


def read_numpy(value: Any, target: Target) -> NDArray[Any]:
    """An array or scalar without what a tensor cannot carry: masks, fields, and a matrix's own rules of rank."""
    if type(value) is np.ndarray and value.dtype.names is None:
        return value
    if isinstance(value, np.matrix):
        raise wrong_type(target, "a numpy matrix", hint="pass numpy.asarray(matrix)")
    if isinstance(value, np.ma.MaskedArray) and np.any(np.asarray(value.mask)):
        raise wrong_type(target, "a masked array with masked values", hint="fill them first: .filled(value)")
    array = np.asarray(value)
    if array.dtype.names is not None and array.dtype != BFLOAT16_BITS:
        hint = "make a plain one: numpy.lib.recfunctions.structured_to_unstructured(array)"
        raise wrong_type(target, "a structured array", hint=hint)
    return array
