# SPDX-License-Identifier: Apache-2.0
"""A wrong call names model, tensor, expected and received, and nothing is sent."""

import numpy as np
import pytest

from repo_client import (
    BatchSizeError,
    Client,
    DatatypeError,
    InputError,
    MissingInputError,
    RankError,
    ShapeError,
    UnknownOutputError,
    UnknownTensorError,
)
from repo_client.testing import InMemoryTransport, model_signature

IMAGE = np.zeros((2, 8, 8), np.float32)


@pytest.fixture
def transport():
    inputs = {"image": ("FP32", [-1, 8, 8]), "weight": ("FP32", [-1, 1])}
    outputs = {"image_out": ("FP32", [-1, 8, 8])}
    signature = model_signature("digits", inputs=inputs, outputs=outputs, max_batch_size=4, optional=["weight"])
    return InMemoryTransport(signature, answer=lambda inputs: {"image_out": inputs["image"]})


def requests(transport):
    return [call.request for call in transport.calls if call.method == "infer"]


@pytest.fixture
def digits(transport):
    with Client("grpc://nowhere", transport=transport) as client:
        yield client.model("digits")


CASES = {
    "unknown input": (
        {"imaeg": IMAGE},
        UnknownTensorError,
        "model 'digits' has no input 'imaeg'\nhint: did you mean 'image'?",
    ),
    "unknown input like none": (
        {"image": IMAGE, "zebra": 1},
        UnknownTensorError,
        "model 'digits' has no input 'zebra'\nhint: its inputs are 'image', 'weight'",
    ),
    "missing input": (
        {},
        MissingInputError,
        "model 'digits': no value for input 'image'\nhint: the model takes 'image', 'weight'",
    ),
    "float64": (
        {"image": IMAGE.astype(np.float64)},
        DatatypeError,
        "model 'digits', input 'image': received a numpy array of float64, expected FP32\n"
        'hint: convert it with .astype(numpy.float32), or pass cast="same_kind"',
    ),
    "integers": (
        {"image": IMAGE.astype(np.int64)},
        DatatypeError,
        "model 'digits', input 'image': received a numpy array of int64, expected FP32\n"
        'hint: convert it with .astype(numpy.float32), or pass cast="same_kind"',
    ),
    "complex": (
        {"image": IMAGE.astype(np.complex64)},
        DatatypeError,
        "model 'digits', input 'image': received a numpy array of complex64, expected FP32\n"
        "hint: take what the model wants of it: .real, or abs()",
    ),
    "text": (
        {"image": "seven"},
        DatatypeError,
        "model 'digits', input 'image': received a value of type str, expected FP32\nhint: FP32 takes float or int",
    ),
    "no batch dimension": (
        {"image": IMAGE[0]},
        RankError,
        "model 'digits', input 'image': received rank 2, shape [8, 8], expected [-1, 8, 8]\n"
        "hint: the batch dimension is first: send one row as array[numpy.newaxis]",
    ),
    "rank too high": (
        {"image": IMAGE[None]},
        RankError,
        "model 'digits', input 'image': received rank 4, shape [1, 2, 8, 8], expected [-1, 8, 8]\n"
        "hint: its rank is 3; the batch dimension is first",
    ),
    "wrong size": (
        {"image": IMAGE[:, :7]},
        ShapeError,
        "model 'digits', input 'image': received shape [2, 7, 8], expected [-1, 8, 8]\n"
        "hint: -1 is a dimension that you choose; the others are fixed",
    ),
    "ragged lists": (
        {"image": [[[1.0, 2.0], [3.0]]]},
        ShapeError,
        "model 'digits', input 'image': received lists of different lengths, expected [-1, 8, 8]\n"
        "hint: a tensor is rectangular: pad the rows, or send them one by one",
    ),
    "too many rows": (
        {"image": np.zeros((5, 8, 8), np.float32)},
        BatchSizeError,
        "model 'digits', input 'image': received 5 rows, expected 1 to 4 rows\n"
        "hint: the first dimension counts the rows; max_batch_size is 4",
    ),
    "no rows": (
        {"image": IMAGE[:0]},
        BatchSizeError,
        "model 'digits', input 'image': received 0 rows, expected 1 to 4 rows\n"
        "hint: the first dimension counts the rows; max_batch_size is 4",
    ),
    "rows that differ": (
        {"image": IMAGE, "weight": [[1.0]]},
        BatchSizeError,
        "model 'digits', input 'image': received rows: 2 for 'image', 1 for 'weight',"
        " expected the same number of rows for every input\n"
        "hint: the first dimension counts the rows; max_batch_size is 4",
    ),
}


@pytest.mark.parametrize(("inputs", "kind", "message"), CASES.values(), ids=CASES.keys())
def test_a_wrong_input_is_refused(digits, transport, inputs, kind, message):
    with pytest.raises(kind) as caught:
        digits.infer(inputs)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert requests(transport) == []


def test_the_error_keeps_its_facts(digits):
    with pytest.raises(ShapeError) as caught:
        digits.infer({"image": IMAGE[0]})
    error = caught.value
    assert (error.model, error.tensor, error.expected, error.received) == ("digits", "image", "[-1, 8, 8]", "[8, 8]")


def test_an_unknown_output_is_refused_with_the_nearest_one(digits, transport):
    with pytest.raises(UnknownTensorError, match="no output 'imageout'\nhint: did you mean 'image_out'"):
        digits.infer({"image": IMAGE}, outputs=["imageout"])
    assert requests(transport) == []


def test_an_output_that_the_answer_lacks_is_told_with_the_nearest_one(digits):
    answer = digits.infer({"image": IMAGE})
    with pytest.raises(UnknownOutputError, match="no output 'image'\nhint: did you mean 'image_out'") as caught:
        answer["image"]
    assert (caught.value.model, caught.value.tensor) == ("digits", "image")
    with pytest.raises(KeyError, match="its outputs are 'image_out'"):
        answer["nope"]
    assert answer.get("nope") is None
    assert "nope" not in answer


def test_an_optional_input_may_stay_away(digits, transport):
    digits.infer({"image": IMAGE})
    assert [tensor.name for tensor in requests(transport)[0].inputs] == ["image"]


def test_a_cast_within_the_kind_is_made_when_asked_for(digits):
    answer = digits.infer({"image": IMAGE.astype(np.float64) + 0.5}, cast="same_kind")
    assert answer["image_out"].dtype == np.float32
    np.testing.assert_array_equal(answer["image_out"], IMAGE + 0.5)


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan"), float("inf")])
def test_a_deadline_is_positive_and_finite(digits, timeout_s):
    with pytest.raises(InputError, match="positive number of seconds"):
        digits.infer({"image": IMAGE}, timeout_s=timeout_s)


@pytest.mark.parametrize("version", ["x", "0", "-1", "1.0", ""])
def test_a_version_is_a_positive_whole_number(transport, version):
    with Client("grpc://nowhere", transport=transport) as client, pytest.raises(InputError, match="whole numbers"):
        client.model("digits", version=version)
