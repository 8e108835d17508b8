# SPDX-License-Identifier: Apache-2.0
"""Rows of every data type, its extremes included, and an exact comparison."""

import numpy as np

EXTREMES = {
    "BOOL": (np.bool_, [True, False, True]),
    "INT8": (np.int8, [-128, 0, 127]),
    "UINT8": (np.uint8, [0, 1, 255]),
    "INT16": (np.int16, [-32768, 0, 32767]),
    "UINT16": (np.uint16, [0, 1, 65535]),
    "INT32": (np.int32, [-(2**31), 0, 2**31 - 1]),
    "UINT32": (np.uint32, [0, 1, 2**32 - 1]),
    "INT64": (np.int64, [-(2**63), 0, 2**63 - 1]),
    "UINT64": (np.uint64, [0, 1, 2**64 - 1]),
    "FP16": (np.float16, [-1.5, 0, 65504]),
    "FP32": (np.float32, [-1.5, 0, 3.0e38]),
    "FP64": (np.float64, [-1.5, 0, 1.0e308]),
    "STRING": (np.object_, [b"", "grün".encode(), b"a longer word than the small string buffer holds"]),
}


def rows(name):
    """Two rows of three values: ``[2, 3]``."""
    dtype, values = EXTREMES[name]
    return np.array([values, values[::-1]], dtype=dtype)


def assert_same(answer, expected):
    """Equal names, shapes, types and values, to the last bit."""
    assert answer.keys() == expected.keys()
    for name, array in expected.items():
        assert answer[name].shape == array.shape
        assert answer[name].dtype == array.dtype
        np.testing.assert_array_equal(answer[name], array)
