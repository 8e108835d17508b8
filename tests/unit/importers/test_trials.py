# SPDX-License-Identifier: Apache-2.0
"""Rows tried out: which are made up, what counts as a batch, and when two answers are the same."""

import numpy as np
import pytest

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.trials import batching, other_lengths, refuse_chance, try_rows
from repo_tool.samples import RawSample
from repo_tool.signature import ModelSignature, TensorSpec


def spec(name, *shape):
    return TensorSpec(name=name, datatype=DataType.FP32, shape=shape)


def signature():
    return ModelSignature(inputs=(spec("x", -1, 2),), outputs=(spec("y", -1, 2),))


def batched(answer, sample=None):
    trial = try_rows(sample, signature().inputs, answer)
    return batching(signature(), answer, trial)


def test_made_up_rows_grow_until_the_model_takes_them():
    def answer(tensors):
        if tensors["x"].shape[1] < 20:
            raise SourceError("too small")
        return {"y": tensors["x"]}

    trial = try_rows(None, [spec("x", -1, -1)], answer)
    assert trial.rows.generated
    assert trial.rows.inputs["x"].shape[1] == 32


def test_the_first_refusal_is_told_when_no_size_fits():
    def answer(tensors):
        raise SourceError(f"not {list(tensors['x'].shape)}")

    with pytest.raises(SourceError, match=r"not \[16, 4\]"):
        try_rows(None, [spec("x", -1, -1)], answer)


def test_a_sample_that_fails_is_not_replaced():
    def answer(tensors):
        raise SourceError("no")

    with pytest.raises(SourceError):
        try_rows(RawSample(origin="rows", array=np.ones((3, 2), np.float32)), [spec("x", -1, 2)], answer)


def test_a_sample_of_another_shape_is_still_refused():
    with pytest.raises(SampleError):
        try_rows(RawSample(origin="rows", tensors={"x": np.ones((3, 5))}), [spec("x", -1, 2)], dict)


def test_rows_answered_one_by_one_are_a_batch():
    found, notes = batched(lambda tensors: {"y": tensors["x"] * 2})
    assert found.can_batch
    assert notes == ()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda tensors: {"y": tensors["x"] - tensors["x"].mean(axis=0)}, "depends on the rows beside it"),
        (lambda tensors: {"y": tensors["x"][:1]}, "output 'y' has 1 rows for 16"),
    ],
)
def test_rows_that_touch_one_another_are_no_batch(answer, words):
    found, notes = batched(answer)
    assert not found.can_batch
    assert words in notes[0]


def test_a_model_that_takes_only_the_sample_s_number_of_rows_is_no_batch():
    def answer(tensors):
        if len(tensors["x"]) != 5:
            raise SourceError("five")
        return {"y": tensors["x"]}

    found, notes = batched(answer, RawSample(origin="rows", array=np.ones((5, 2), np.float32)))
    assert not found.can_batch
    assert notes == ("batching is off: the model takes 5 rows at once, and fails on 1",)


def test_a_single_sample_row_is_tried_beside_itself():
    found, _ = batched(
        lambda tensors: {"y": tensors["x"] / len(tensors["x"])},
        RawSample(origin="rows", array=np.ones((1, 2), np.float32)),
    )
    assert not found.can_batch


def test_longer_rows_are_made_of_real_values():
    rows = np.array([[1, 2], [3, 4]], dtype=np.float32)
    longer = other_lengths([spec("x", -1, -1), spec("z", -1, 2)], {"x": rows, "z": rows})
    assert longer["x"].tolist() == [[1, 2, 1, 2, 1], [3, 4, 3, 4, 3]]
    assert longer["z"] is rows
    assert other_lengths([spec("x", -1, 2)], {"x": rows}) is None


def test_a_model_that_answers_otherwise_each_time_is_refused():
    drawn = iter([1.0, 1.0 + 1e-6, 1.0, 2.0])

    def answer(tensors):
        return {"y": tensors["x"] * np.float32(next(drawn))}

    trial = try_rows(None, signature().inputs, answer)
    refuse_chance(answer, trial)
    trial = try_rows(None, signature().inputs, answer)
    with pytest.raises(SourceError, match="differently each time: output 'y' differs by up to"):
        refuse_chance(answer, trial)
