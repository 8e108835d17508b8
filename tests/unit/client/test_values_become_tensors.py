# SPDX-License-Identifier: Apache-2.0
"""What people have becomes exactly the bytes that a tensor needs, or is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from repo_client import Client, DatatypeError, ShapeError
from repo_client.testing import InMemoryTransport, model_signature

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
    tensor = (datatype, [-1, -1] if shape is None else shape)
    signature = model_signature("echo", inputs={"x": tensor}, outputs={"x": tensor})
    transport = InMemoryTransport(signature, answer=lambda inputs: inputs)
    with Client("http://nowhere", transport=transport) as client:
        answer = client.model("echo").infer({"x": value}, **options)
    return answer["x"], transport.calls[-1].request.inputs[0].data


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
        ("FP32", [np.array([1, 2], np.float32)], [[1.0, 2.0]]),
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
    ],
)
def test_values_that_would_change_are_refused(datatype, value):
    with pytest.raises(DatatypeError, match=f"model 'echo', input 'x': .*{datatype}"):
        echoed(datatype, value)


def test_a_cast_never_wraps_around():
    with pytest.raises(DatatypeError, match=r"does not fit into INT8 \(-128 to 127\)"):
        echoed("INT8", np.array([[300]]), cast="same_kind")


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
