# SPDX-License-Identifier: Apache-2.0
"""Sample rows become the requests that perf_analyzer sends, bit by bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from repo_tool.bench.input_data import input_document, wire_bytes
from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError
from repo_tool.signature import TensorSpec

GOLDEN = Path(__file__).parents[2] / "golden" / "bench" / "every_dtype.json"


def tensor(name, shape, datatype=DataType.FP32):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def two_rows_of(datatype):
    if datatype is DataType.BYTES:
        return np.array([[b"a", b""], [b"\xff\x00", "é".encode()]], dtype=object)
    return np.array([[0, 1], [1, 0]]).astype(datatype.numpy)


def test_every_datatype_is_written_as_in_the_golden_file():
    inputs = [tensor(datatype.wire_name.lower(), (-1, 2), datatype) for datatype in DataType]
    rows = {spec.name: two_rows_of(spec.datatype) for spec in inputs}
    assert input_document(inputs, rows, batched=True) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_strings_carry_their_length_in_four_bytes():
    assert wire_bytes(DataType.BYTES, np.array([b"ab", b""], dtype=object)) == b"\x02\0\0\0ab\0\0\0\0"


def test_bfloat16_is_the_upper_half_of_float32():
    assert wire_bytes(DataType.BF16, np.array([1.0, -2.0], dtype=np.float32)) == b"\x80\x3f\x00\xc0"


def test_big_endian_values_are_sent_little_endian():
    assert wire_bytes(DataType.INT32, np.array([1], dtype=">i4")) == b"\x01\0\0\0"


def test_a_batching_model_gets_a_request_per_row_without_the_batch_dimension():
    document = input_document([tensor("x", (-1, 2))], {"x": np.zeros((3, 2), np.float32)}, batched=True)
    assert [request["x"]["shape"] for request in document["data"]] == [[2], [2], [2]]


def test_a_model_that_does_not_batch_gets_the_sample_whole():
    document = input_document([tensor("x", (-1, 2))], {"x": np.zeros((3, 2), np.float32)}, batched=False)
    assert [request["x"]["shape"] for request in document["data"]] == [[3, 2]]


def test_a_free_dimension_takes_the_size_of_the_row():
    document = input_document([tensor("x", (-1, -1, 2))], {"x": np.zeros((1, 5, 2), np.float32)}, batched=True)
    assert document["data"][0]["x"]["shape"] == [5, 2]


def test_a_row_that_is_a_scalar_fits_one_declared_element():
    document = input_document([tensor("x", (-1, 1))], {"x": np.zeros(2, np.float32)}, batched=True)
    assert [request["x"]["shape"] for request in document["data"]] == [[1], [1]]


def test_expected_outputs_are_written_only_when_asked_for():
    inputs, outputs = [tensor("x", (-1, 1))], [tensor("y", (-1, 1))]
    rows, answers = {"x": np.zeros((2, 1), np.float32)}, {"y": np.ones((2, 1), np.float32)}
    assert "validation_data" not in input_document(inputs, rows, batched=True)
    document = input_document(inputs, rows, batched=True, expected=answers, outputs=outputs)
    assert [answer["y"]["content"]["b64"] for answer in document["validation_data"]] == ["AACAPw==", "AACAPw=="]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({}, "no rows for 'x'"),
        ({"x": np.zeros((0, 2), np.float32)}, "no rows for 'x'"),
        ({"x": np.zeros((2, 3), np.float32)}, "does not fit 'x'"),
    ],
    ids=["missing", "empty", "too wide"],
)
def test_rows_that_do_not_fit_are_refused(rows, said):
    with pytest.raises(SampleError, match=said):
        input_document([tensor("x", (-1, 2))], rows, batched=True)


def test_inputs_with_different_numbers_of_rows_are_refused():
    rows = {"x": np.zeros((2, 2), np.float32), "y": np.zeros((3, 2), np.float32)}
    with pytest.raises(SampleError, match="different numbers of rows"):
        input_document([tensor("x", (-1, 2)), tensor("y", (-1, 2))], rows, batched=True)
