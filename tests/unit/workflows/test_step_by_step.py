# SPDX-License-Identifier: Apache-2.0
"""What a compiled pipeline is held to: its stages run here one after another, blocks included."""

import numpy as np
import pytest

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.spec import ForEach, OtherWire, Repeat, When
from repo_tool.pipelines.stages import BlockStage
from repo_tool.workflows.step_by_step import BlockVisits, as_values, run_stages
from support.served_parts import called, floats, step, wire

FLOAT, LINE, WORD, FLAG = wire("FP32", 1), wire("FP32", -1), wire("BYTES", 1), wire("BOOL", 1)
TWO_AT_A_TIME = ModelConfig(
    name="tenfold",
    backend="python",
    max_batch_size=2,
    inputs=(ModelTensor(name="x", datatype=DataType.FP32, dims=(1,)),),
    outputs=(ModelTensor(name="y", datatype=DataType.FP32, dims=(1,)),),
)
SMALL = """
from dataclasses import dataclass

@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    def outputs(self, inputs):
        return {"small": ("BOOL", (1,))}

    def run(self, value):
        for row, (one,) in enumerate(value):
            if one < 0:
                raise ValueError(f"row {row}: it is negative")
        return {"small": value < 1}
"""


@pytest.fixture
def asked():
    """The sizes of the requests to the model."""
    return []


@pytest.fixture
def members(asked):
    def tenfold(tensors):
        asked.append(len(tensors["x"]))
        return {"y": tensors["x"] * 10}

    def tenth(tensors):
        return {"y": tensors["x"] / 10}

    return {"tenfold": tenfold, "tenth": tenth}


def test_a_model_gets_as_many_rows_as_it_takes(members, asked):
    stage = called(TWO_AT_A_TIME, x="a", y="b")
    found = run_stages([stage], {"a": FLOAT, "b": FLOAT}, {"a": floats(1, 2, 3)}, members)
    assert found["b"].ravel().tolist() == [10, 20, 30]
    assert asked == [2, 1]


def test_rows_that_differ_in_shape_go_one_by_one(members, asked):
    wires = {"a": LINE, "b": LINE}
    lines = [np.array([1.0, 2.0]), np.array([3.0])]
    found = run_stages([called(TWO_AT_A_TIME, x="a", y="b")], wires, {"a": lines}, members)
    assert [row.tolist() for row in found["b"]] == [[10, 20], [30]]
    assert asked == [1, 1]


def test_when_asks_only_for_the_rows_that_need_it(members, asked):
    block = BlockStage(
        kind="when",
        control=When(wire="score", is_below=0.5, otherwise={"y": OtherWire(wire="score")}),
        stages=(called(TWO_AT_A_TIME, x="score", y="y"),),
        wires={"score": FLOAT, "y": FLOAT},
        inputs={"score": "score"},
        outputs={"y": "answer"},
    )
    wires = {"score": FLOAT, "answer": FLOAT}
    found = run_stages([block], wires, {"score": floats(0.1, 7, 0.5, 0.25)}, members)
    assert found["answer"].ravel().tolist() == pytest.approx([1, 7, 0.5, 2.5])
    assert asked == [2]
    found = run_stages([block], wires, {"score": floats(3, 4)}, members)
    assert found["answer"].ravel().tolist() == [3, 4]
    assert asked == [2]


def test_rows_are_counted_that_enter_a_block(members):
    visits = {}
    for scores in (floats(0.1, 7, 0.5, 0.25), floats(3, 4)):
        run_stages([tenfold_when(is_below=0.5)], WHEN_WIRES, {"score": scores}, members, visits)
    assert visits == {"": BlockVisits(rows=6, entered=2)}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [({"is_at_least": 0.9}, [0.9, 1]), ({"is_above": 0.9}, [1]), ({"equals": 0.1}, [0.1]), ({"is_below": 0.1}, [0])],
)
def test_when_compares_values_of_the_wires_datatype(members, condition, holds):
    found = run_stages([tenfold_when(**condition)], WHEN_WIRES, {"score": floats(0, 0.1, 0.9, 1)}, members)
    expected = [value * 10 if value in holds else -1 for value in (0, 0.1, 0.9, 1)]
    assert found["answer"].ravel().tolist() == pytest.approx(expected)


def test_when_refuses_nan_unless_it_says_what_becomes_of_it(members):
    values = {"score": floats(0.1, np.nan)}
    with pytest.raises(PipelineError, match="block 'when' compares 'score', which is NaN in row 1"):
        run_stages([tenfold_when(is_below=0.5)], WHEN_WIRES, values, members)
    held = run_stages([tenfold_when(is_below=0.5, if_nan="holds")], WHEN_WIRES, values, members)["answer"]
    np.testing.assert_array_equal(held, floats(1, np.nan))
    other = run_stages([tenfold_when(is_below=0.5, if_nan="otherwise")], WHEN_WIRES, values, members)["answer"]
    np.testing.assert_array_equal(other, floats(1, -1))


WHEN_WIRES = {"score": FLOAT, "answer": FLOAT}


def tenfold_when(**condition):
    return BlockStage(
        kind="when",
        control=When(wire="score", otherwise={"y": -1}, **condition),
        stages=(called(TWO_AT_A_TIME, x="score", y="y"),),
        wires={"score": FLOAT, "y": FLOAT},
        inputs={"score": "score"},
        outputs={"y": "answer"},
    )


def test_when_may_give_a_value_instead(members):
    block = BlockStage(
        kind="when",
        control=When(wire="kind", equals="number", otherwise={"y": -1, "word": "none"}),
        stages=(called(TWO_AT_A_TIME, x="score", y="y"),),
        wires={"score": FLOAT, "kind": WORD, "y": FLOAT, "word": WORD},
        inputs={"score": "score", "kind": "kind"},
        outputs={"y": "answer"},
    )
    values = {"score": floats(1, 2), "kind": np.array([[b"number"], [b"other"]], dtype=object)}
    found = run_stages([block], {"score": FLOAT, "kind": WORD, "answer": FLOAT}, values, members)
    assert found["answer"].ravel().tolist() == [10, -1]


def test_for_each_puts_the_items_back_where_they_were(members, asked):
    block = BlockStage(
        kind="for_each",
        control=ForEach(items={"item": "items"}, count="many", pad={"y": -1}),
        stages=(called(TWO_AT_A_TIME, x="item", y="y"),),
        wires={"items": LINE, "many": wire("INT64", 1), "item": FLOAT, "y": FLOAT},
        inputs={"items": "items", "many": "many"},
        outputs={"y": "results"},
    )
    values = {
        "items": [np.array([1, 2, 3], np.float32), np.array([], np.float32), np.array([4], np.float32)],
        "many": np.array([[2], [0], [1]]),
    }
    wires = {"items": LINE, "many": wire("INT64", 1), "results": LINE}
    found = run_stages([block], wires, values, members)
    assert [row.tolist() for row in found["results"]] == [[10, 20, -1], [], [40]]
    assert asked == [2, 1]


def test_each_row_leaves_a_loop_by_itself(members, tmp_path):
    small = step(tmp_path, "small", SMALL, inputs={"value": "y"}, outputs={"small": "small"})
    block = BlockStage(
        kind="repeat",
        control=Repeat(carry={"y": "number"}, until="small", at_most=3),
        stages=(called(TWO_AT_A_TIME, x="number", y="y"), small),
        wires={"number": FLOAT, "y": FLOAT, "small": FLAG},
        inputs={"number": "number"},
        outputs={"y": "last", "small": "done"},
    )
    wires = {"number": FLOAT, "last": FLOAT, "done": FLAG}
    shrinking = {"tenfold": members["tenth"]}
    found = run_stages([block], wires, {"number": floats(5, 50, 50_000)}, shrinking)
    assert found["last"].ravel().tolist() == pytest.approx([0.5, 0.5, 50])
    assert found["done"].ravel().tolist() == [True, True, False]
    with pytest.raises(PipelineError, match="step 'small' fails on the sample") as raised:
        run_stages([block], wires, {"number": floats(5, -50)}, shrinking)
    assert raised.value.cause == "row 1: it is negative"


def test_rows_of_free_size_are_lists():
    values = as_values({"a": np.zeros((2, 3)), "b": np.zeros((2, 1))}, {"a": LINE, "b": FLOAT})
    assert isinstance(values["a"], list)
    assert isinstance(values["b"], np.ndarray)
