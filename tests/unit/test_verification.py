# SPDX-License-Identifier: Apache-2.0
"""Differences between what is served and what was trained are found, measured and told with their row."""

from dataclasses import replace

import numpy as np
import pytest

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import ParityError
from repo_tool.samples import Sample
from repo_tool.verification import ITSELF, Tolerance, batch_sizes, disagreement, require_parity, verify

ROWS = np.arange(20, dtype=np.float32).reshape(10, 2)


def config(datatype=DataType.FP32, *, max_batch_size=4, dims=(2,), reshape=None):
    return ModelConfig(
        name="model",
        backend="onnxruntime",
        max_batch_size=max_batch_size,
        inputs=(ModelTensor(name="x", datatype=DataType.FP32, dims=(2,)),),
        outputs=(ModelTensor(name="y", datatype=datatype, dims=dims, reshape=reshape),),
    )


def served_by(function):
    sizes = []

    def infer(inputs):
        sizes.append(len(inputs["x"]))
        return {"y": function(inputs["x"])}

    return infer, sizes


def test_every_batch_size_is_run_full():
    infer, sizes = served_by(lambda x: x)
    parity = verify(infer, config(), Sample(inputs={"x": ROWS}, outputs={"y": ROWS}), tolerance=Tolerance())
    assert set(sizes) == {1, 2, 3, 4}
    assert parity.batch_sizes == (1, 2, 3, 4)
    assert parity.equal
    assert parity.rows == 10


@pytest.mark.parametrize(("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (32, (1, 2, 3, 32)), (0, ())])
def test_the_batch_sizes_follow_the_maximum(largest, sizes):
    assert batch_sizes(largest) == sizes


def test_a_graph_that_is_wrong_in_batches_of_three_only_is_caught():
    infer, _ = served_by(lambda x: x * 2 if len(x) == 3 else x)
    sample = Sample(inputs={"x": ROWS}, outputs={"y": ROWS})
    assert not verify(infer, config(), sample, tolerance=Tolerance()).equal


def test_the_largest_difference_and_its_row_are_told():
    def off_in_row_seven(x):
        return np.where(x == 14, x + np.float32(0.5), x)

    infer, _ = served_by(off_in_row_seven)
    parity = verify(infer, config(), Sample(inputs={"x": ROWS}, outputs={"y": ROWS}), tolerance=Tolerance())
    assert parity.outputs[0].worst_row == 7
    assert parity.largest_absolute == 0.5
    with pytest.raises(ParityError, match="output 'y', most in sample row 7") as raised:
        require_parity(parity, model="model", framework="sklearn", tolerance=Tolerance())
    assert "0.5" in raised.value.cause


def test_not_a_number_equals_itself_and_nothing_else():
    reference = np.array([[np.nan, np.inf], [1, 2]], dtype=np.float32)
    sample = Sample(inputs={"x": reference}, outputs={"y": reference})
    infer, _ = served_by(lambda x: x)
    assert verify(infer, config(), sample, tolerance=Tolerance()).equal
    infer, _ = served_by(np.nan_to_num)
    assert not verify(infer, config(), sample, tolerance=Tolerance()).equal


@pytest.mark.parametrize("datatype", [DataType.INT64, DataType.BOOL, DataType.BYTES])
def test_what_is_no_float_must_be_identical(datatype):
    reference = (ROWS % 3 > 1).astype(datatype.numpy)
    sample = Sample(inputs={"x": ROWS}, outputs={"y": reference})
    infer, _ = served_by(lambda x: (x % 3 > 1).astype(datatype.numpy))
    assert verify(infer, config(datatype), sample, tolerance=Tolerance(absolute=10)).equal
    infer, _ = served_by(lambda x: (x % 3 > 0).astype(datatype.numpy))
    assert not verify(infer, config(datatype), sample, tolerance=Tolerance(absolute=10)).equal


def test_a_label_has_a_dimension_of_its_own_on_the_wire():
    labels = ROWS[:, 0].astype(np.int64)
    sample = Sample(inputs={"x": ROWS}, outputs={"y": labels})
    infer, _ = served_by(lambda x: x[:, :1].astype(np.int64))
    assert verify(infer, config(DataType.INT64, dims=(1,), reshape=()), sample, tolerance=Tolerance()).equal


def test_another_shape_is_a_difference():
    infer, _ = served_by(lambda x: x[:, :1])
    sample = Sample(inputs={"x": ROWS}, outputs={"y": ROWS})
    parity = verify(infer, config(), sample, tolerance=Tolerance())
    assert not parity.equal
    assert parity.outputs[0].complaint == "has the shape [1, 1] instead of [1, 2]"


def test_a_model_that_does_not_batch_gets_the_sample_as_it_is():
    infer, sizes = served_by(lambda x: x)
    sample = Sample(inputs={"x": ROWS}, outputs={"y": ROWS})
    assert verify(infer, config(max_batch_size=0), sample, tolerance=Tolerance()).equal
    assert sizes == [10]


def classifier(probabilities):
    return ModelConfig(
        name="model",
        backend="onnxruntime",
        max_batch_size=4,
        inputs=(ModelTensor(name="x", datatype=DataType.FP32, dims=(2,)),),
        outputs=(
            ModelTensor(name="label", datatype=DataType.INT64, dims=(1,), reshape=()),
            ModelTensor(name="probabilities", datatype=DataType.FP32, dims=(probabilities.shape[1],)),
        ),
    )


@pytest.mark.parametrize(("second", "equal"), [(0.5, True), (0.499, False)], ids=["a tie", "no tie"])
def test_either_label_is_right_where_two_classes_are_equally_good(second, equal):
    probabilities = np.array([[0.9, 0.1], [0.5, second], [0.2, 0.8]], dtype=np.float32)
    sample = Sample(inputs={"x": probabilities}, outputs={"label": np.array([0, 0, 1]), "probabilities": probabilities})

    def infer(inputs):
        return {"label": (inputs["x"][:, :1] < 0.8).astype(np.int64), "probabilities": inputs["x"]}

    parity = verify(infer, classifier(probabilities), sample, tolerance=Tolerance())
    assert parity.equal is equal
    assert parity.outputs[0].ties == (1 if equal else 0)


def test_a_tie_excuses_no_label_of_another_class():
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=np.float32)
    sample = Sample(inputs={"x": probabilities}, outputs={"label": np.array([0, 0, 1]), "probabilities": probabilities})

    def infer(inputs):
        labels = np.where(inputs["x"][:, :1] == 0.5, -12345, inputs["x"][:, :1] < 0.8)
        return {"label": labels.astype(np.int64), "probabilities": inputs["x"]}

    assert not verify(infer, classifier(probabilities), sample, tolerance=Tolerance()).equal


def test_a_tie_is_one_without_batching_too():
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=np.float32)
    sample = Sample(inputs={"x": probabilities}, outputs={"label": np.array([0, 0, 1]), "probabilities": probabilities})
    outputs = (
        ModelTensor(name="label", datatype=DataType.INT64, dims=(-1,)),
        ModelTensor(name="probabilities", datatype=DataType.FP32, dims=(-1, 2)),
    )
    config = replace(classifier(probabilities), max_batch_size=0, outputs=outputs)

    def answering(label):
        return lambda inputs: {"label": np.array([0, label, 1]), "probabilities": inputs["x"]}

    parity = verify(answering(1), config, sample, tolerance=Tolerance())
    assert (parity.equal, parity.outputs[0].ties) == (True, 1)
    assert not verify(answering(2), config, sample, tolerance=Tolerance()).equal


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        ([1.0, 2.0], [1.0, 2.00001], ""),
        ([np.nan, np.inf], [np.nan, np.inf], ""),
        ([1.0, 2.0], [1.0, 2.5], "differs by up to 0.5"),
        ([np.nan, 2.0], [1.0, 2.0], "differs by up to inf"),
        ([1.0], [1.0, 2.0], "has the shape [1] instead of [2]"),
        ([1, 2], [1, 3], "is 2 instead of 3"),
        ([True], [False], "is True instead of False"),
        (np.array([b"a"], dtype=object), np.array([b"b"], dtype=object), "is b'a' instead of b'b'"),
    ],
)
def test_answers_are_the_same_but_for_rounding(found, wanted, words):
    complaint = disagreement({"y": np.array(found)}, {"y": np.array(wanted)})
    assert complaint == (f"output 'y' {words}" if words else "")


def test_what_is_the_same_answer_is_the_persons_to_say():
    found, wanted = {"y": np.array([1.001])}, {"y": np.array([1.0])}
    assert disagreement(found, wanted)
    assert disagreement(found, wanted, tolerance=Tolerance(relative=0.01)) == ""
    assert disagreement({}, wanted) == "output 'y' is missing"


def test_a_model_against_itself_may_round_by_a_share_of_the_largest():
    found, wanted = {"y": np.array([1000.0, 0.05])}, {"y": np.array([1000.0, 0.0])}
    assert disagreement(found, wanted)
    assert disagreement(found, wanted, tolerance=ITSELF) == ""


@pytest.mark.parametrize("labels", [np.array([0, 1, 1]), np.array([b"no", b"yes", b"yes"], dtype=object)])
def test_ties_are_ties_in_process_too(labels):
    scores = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=np.float32)
    other = labels[[0, 0, 1]]
    assert disagreement({"label": other, "scores": scores}, {"label": labels, "scores": scores}) == ""
    clear = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], dtype=np.float32)
    assert "output 'label' is" in disagreement({"label": other, "scores": clear}, {"label": labels, "scores": clear})


@pytest.mark.parametrize(
    ("datatype", "off", "equal"),
    [
        (DataType.FP32, 0.002, False),
        (DataType.FP16, 0.002, True),  # some steps of 2**-10
        (DataType.FP16, 0.02, False),
        (DataType.BF16, 0.02, True),  # some steps of 2**-7
        (DataType.BF16, 0.2, False),
    ],
)
def test_an_output_is_held_to_what_its_type_resolves(datatype, off, equal):
    reference = np.array([[1.0, 0.0]], dtype=datatype.numpy)
    sample = Sample(inputs={"x": ROWS[:1]}, outputs={"y": reference})
    infer, _ = served_by(lambda x: np.tile(reference + datatype.numpy.type(off), (len(x), 1)))
    parity = verify(infer, config(datatype, max_batch_size=1), sample, tolerance=Tolerance())
    assert parity.equal is equal
    if not equal:
        with pytest.raises(ParityError) as raised:
            require_parity(parity, model="model", framework="pytorch", tolerance=Tolerance())
        assert parity.outputs[0].allowed in raised.value.cause


def test_a_tolerance_follows_the_type_that_was_computed_in():
    assert Tolerance().for_type(DataType.FP32) == Tolerance()
    assert Tolerance().for_type(None) == Tolerance()
    half = Tolerance().for_type(DataType.FP16)
    assert half.relative == half.scale == 8 * np.finfo(np.float16).eps
    assert replace(half, relative=0.1).for_type(DataType.FP16).relative == 0.1
