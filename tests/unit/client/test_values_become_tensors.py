# SPDX-License-Identifier: Apache-2.0
"""What people have becomes exactly the bytes that a tensor needs, or is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from repo_client import DatatypeError, ShapeError
from support.sent_values import sent

NUMBERS = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}


def echoed(datatype, value, shape=None, **options):
    """``value`` after its way to the wire and back, and its bytes on the wire."""
    return sent(datatype, [-1, -1] if shape is None else shape, value, **options)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), datatype=st.sampled_from(sorted(NUMBERS)))
def test_any_array_of_the_right_type_comes_back_equal(data, datatype):
    shape = npst.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=4)
    array = data.draw(npst.arrays(NUMBERS[datatype], shape))
    back, wire = echoed(datatype, array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert wire == array.astype(array.dtype.newbyteorder("<")).tobytes()


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(st.binary(max_size=5), min_size=2, max_size=2), max_size=4))
def test_any_bytes_come_back_equal(rows):
    array = np.empty((len(rows), 2), dtype=object)
    for at, row in enumerate(rows):
        array[at] = row
    back, wire = echoed("BYTES", array)
    assert back.tolist() == rows
    assert wire == b"".join(struct.pack("<I", len(element)) + element for row in rows for element in row)


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        ("FP32", [[1, 2.5]], [[1.0, 2.5]]),
        ("FP16", [[1, 2]], [[1.0, 2.0]]),
        ("BF16", [[1.0, -2.0]], [[1.0, -2.0]]),
        ("INT8", ((1, -128), (127, 0)), [[1, -128], [127, 0]]),
        ("UINT64", [[1, 2**64 - 1]], [[1, 2**64 - 1]]),
        ("BOOL", [[True, False]], [[True, False]]),
        ("BYTES", [["é", b"\xff"]], [[b"\xc3\xa9", b"\xff"]]),
        ("BYTES", np.array([["ab", "c"]]), [[b"ab", b"c"]]),
        ("BYTES", np.array([[b"ab", b"c"]]), [[b"ab", b"c"]]),
        ("BYTES", "one word", [[b"one word"]]),
        ("FP32", 7, [[7.0]]),
        ("FP32", np.float32(7), [[7.0]]),
        ("INT32", [[]], [[]]),
        ("FP32", np.float64(0.5), [[0.5]]),
        ("FP32", [[np.float32(1), 0.1875, np.int64(3), 4]], [[1.0, 0.1875, 3.0, 4.0]]),
        ("UINT64", [[np.uint64(2**64 - 1), np.int8(3)]], [[2**64 - 1, 3]]),
        ("FP32", [[2**24, -(2**30), 3 * 2**100]], [[2.0**24, -(2.0**30), 3 * 2.0**100]]),
        ("BYTES", [[np.bytes_(b"a\0"), np.str_("é\0"), b"\xff"]], [[b"a\0", b"\xc3\xa9\0", b"\xff"]]),
        ("BYTES", np.str_("a\0"), [[b"a\0"]]),
        ("BYTES", [[bytearray(b"\0")]], [[b"\0"]]),
        ("BYTES", [np.array(["a"]), np.array([b"b"]), ["c"]], [[b"a"], [b"b"], [b"c"]]),
        ("FP32", [np.array([1, 2], np.float32)], [[1.0, 2.0]]),
        ("FP32", [[1, 2.5], np.array([1, 2], np.float32), range(2)], [[1.0, 2.5], [1.0, 2.0], [0.0, 1.0]]),
        ("FP32", np.array([[1, 2]], ">f4"), [[1.0, 2.0]]),
        ("FP32", np.arange(4, dtype=np.float32).reshape(2, 2).T, [[0.0, 2.0], [1.0, 3.0]]),
    ],
)
def test_values_of_a_kind_that_fits_are_taken(datatype, value, expected):
    back, _ = echoed(datatype, value)
    assert back.tolist() == expected


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT32", [[1.0]]),
        ("INT8", [[True]]),
        ("BOOL", [[1]]),
        ("BYTES", [[1]]),
        ("BYTES", [["a", 1]]),
        ("BYTES", np.zeros((1, 2), np.uint8)),
        ("FP32", [["1"]]),
        ("FP32", [[None]]),
        ("FP32", [[1 + 2j]]),
        ("FP32", [np.zeros(2)]),
        ("FP32", np.zeros((1, 1))),
        ("FP64", np.zeros((1, 1), np.float32)),
        ("INT8", [[128]]),
        ("UINT8", [[-1]]),
        ("INT64", [[2**63]]),
        ("FP16", [[70000.0]]),
        ("FP64", [[10**400]]),
        ("FP64", [[0.5, 2**53 + 1]]),
        ("FP64", [[float("nan"), -(2**62) + 1]]),
        ("FP64", [[np.int64(2**62 + 1), np.uint64(3)]]),
        ("FP32", 2**24 + 1),
        ("FP16", [[2049]]),
        ("BF16", [[257]]),
        ("BF16", [[3.4e38]]),
        ("BF16", np.array([[3.4e38]], np.float32)),
        ("BYTES", [[np.str_("a"), 5]]),
        ("BYTES", [[np.str_("a"), float("nan")]]),
        ("INT64", [[np.bool_(True), 7]]),
        ("FP32", [np.ma.array([1, 2], mask=[0, 1], dtype="f4")]),
        ("FP32", [[1.0, np.ma.masked]]),
        ("FP32", [np.zeros(1, [("a", "f4")])]),
    ],
)
def test_values_that_would_change_are_refused(datatype, value):
    with pytest.raises(DatatypeError, match=f"model 'm', input 'x': .*{datatype}"):
        echoed(datatype, value)


def test_a_cast_never_wraps_around():
    words = r"received 300 at \[0, 1\], which does not fit into INT8 \(-128 to 127\)\nhint: .*clip\(values, -128, 127\)"
    with pytest.raises(DatatypeError, match=words):
        echoed("INT8", np.array([[1, 300]]), cast="same_kind")


def test_an_integer_is_rounded_only_when_that_is_asked_for():
    words = r"received 16777217 at \[0, 1\], which does not fit into FP32 .*\nhint: cast=\"same_kind\" rounds it"
    with pytest.raises(DatatypeError, match=words):
        echoed("FP32", [[0.5, 2**24 + 1]])
    for value in ([[2**24 + 1]], np.array([[2**24 + 1]])):
        assert echoed("FP32", value, cast="same_kind")[0].tolist() == [[2.0**24]]


def test_a_list_that_contains_itself_is_refused():
    endless = []
    endless.extend([endless, endless])
    with pytest.raises(ShapeError, match="received rank 32"):
        echoed("FP32", endless)


def test_parts_of_a_list_are_alike():
    with pytest.raises(ShapeError, match=r"received parts of different shapes: \[2\], \[3\], expected \[-1, 2\]"):
        echoed("FP32", [np.zeros(2, "f4"), np.zeros(3, "f4")], shape=[-1, 2])
    with pytest.raises(ShapeError, match="different"):
        echoed("FP32", [[1.0], 2.0])


def test_a_cast_never_leaves_the_kind():
    with pytest.raises(DatatypeError, match="received a numpy array of float64, expected INT32"):
        echoed("INT32", np.zeros((1, 1)), cast="same_kind")


def test_a_single_value_does_not_fill_a_larger_tensor():
    with pytest.raises(ShapeError, match=r"received rank 0, shape \[\], expected \[-1, 2\]"):
        echoed("FP32", 1.0, shape=[-1, 2])


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (1.0 + 2**-8, 0x3F80),  # a tie goes to the even neighbour
        (1.0 + 3 * 2**-8, 0x3F82),
        (3.3895e38, 0x7F7F),  # the largest
        (np.inf, 0x7F80),
        (-np.inf, 0xFF80),
        (-0.0, 0x8000),
    ],
)
def test_bf16_is_rounded_to_the_nearest(value, bits):
    _, wire = echoed("BF16", np.array([[value]], np.float32))
    assert struct.unpack("<H", wire) == (bits,)


def test_bf16_keeps_every_nan():
    nans = np.array([[0x7FC00000, 0x7F800001, 0xFFFFFFFF]], "<u4").view(np.float32)
    back, _ = echoed("BF16", nans)
    assert np.isnan(back).all()
