# SPDX-License-Identifier: Apache-2.0
"""Differences to the training code: counted, placed, and explained where trying makes the numbers agree."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import ParityError, PipelineError
from repo_tool.pipelines.compiled import CompiledModel
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import TypedPipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.verification import Tolerance
from repo_tool.workflows.add_pipeline_values import AddPipelineRequest
from repo_tool.workflows.pipeline_rows import PipelineRows
from repo_tool.workflows.reference import MODEL_INPUT, ReferenceAnswers
from repo_tool.workflows.skew import DifferentRow, SkewReport, WireComparison, require_no_skew
from repo_tool.workflows.skew_check import AnsweredRow, Same, require_same_places, told_wires
from repo_tool.workflows.skew_coverage import untried
from repo_tool.workflows.skew_diagnosis import Suspect, diagnose
from support.colour_reader import write_model
from support.served_parts import write_compiled

RANDOM = np.random.default_rng(3)


def compared(served, wanted, **more):
    comparison = WireComparison(wire="w", step="step 's'", is_final=True, tolerance=Tolerance(), **more)
    for row, (found, reference) in enumerate(zip(served, wanted, strict=True)):
        comparison.add(row, np.asarray(found), np.asarray(reference))
    return comparison.result()


def words(*rows):
    return [np.array([row], dtype=object) for row in rows]


def test_rows_beyond_the_tolerance_are_counted_and_the_worst_is_placed():
    served = np.float32([[1, 2], [3, 4.00001], [5, 6]])
    wanted = np.float64([[1, 2], [3, 4], [5, 8]])
    found = compared(served, wanted)
    assert (found.rows, found.rows_that_differ, found.worst_row, found.worst_index) == (3, 1, 2, (1,))
    assert (found.largest_absolute, found.largest_relative) == (2, 0.25)
    assert (found.served, found.wanted) == ("6", "8")
    assert (found.datatype, found.shape) == ("float32", (2,))


@pytest.mark.parametrize(
    ("served", "wanted", "differ"),
    [
        (np.uint8([[1], [2]]), np.uint8([[1], [3]]), 1),
        (np.float32([[np.nan], [1]]), np.float32([[np.nan], [np.inf]]), 1),
        (np.float32([[1], [1]]), np.float32([1, 2]), 1),  # a scalar where the wire has [1]
        (np.float32([[[1, 2]], [[3, 4]]]), np.float32([[1, 2], [3, 4]]), 0),
        (np.float32([[1, 2], [3, 4]]), np.float32([[1, 2, 3], [3, 4, 5]]), 2),
        (words(b"a", b"b"), words(b"a", b"B"), 1),
        (words(b"1", b"2"), np.float32([[1], [2]]), 2),
        (np.int64([[2**53 + 1]]), np.int64([[2**53]]), 1),  # one number as float64
        (np.int64([[2**53 + 1]]), np.float64([[2**53]]), 1),
        (np.uint64([[2**63 + 1]]), np.int64([[2**63 - 1]]), 1),
        (np.uint64([[2**64 - 1]]), np.int8([[-1]]), 1),
        (np.int64([[2**53 + 1]]), np.int64([[2**53 + 1]]), 0),
        (np.bool_([[True], [False]]), np.uint8([[1], [1]]), 1),
        (np.int8([[-128]]), np.int8([[127]]), 1),
    ],
)
def test_what_counts_as_different(served, wanted, differ):
    assert compared(served, wanted).rows_that_differ == differ


@pytest.mark.parametrize(
    ("datatype", "tolerances", "differ"),
    [(DataType.FP16, {}, 0), (DataType.FP32, {}, 2), (DataType.FP16, {"w": 1e-4}, 2)],
)
def test_a_wire_is_held_to_what_its_type_can_hold(datatype, tolerances, differ):
    request = AddPipelineRequest(file=Path("p.yaml"), sample=Path("rows"), tolerances=tolerances)
    comparison = WireComparison(wire="w", step="step 's'", is_final=False, tolerance=request.allowed_for("w", datatype))
    for row, wanted in enumerate(np.float32([[1000.3], [2049]])):
        comparison.add(row, wanted.astype(np.float16), wanted)
    assert comparison.result().rows_that_differ == differ


def test_the_size_of_a_difference_of_whole_numbers_is_exact():
    assert compared(np.int64([[2**62]]), np.int64([[-(2**62)]])).largest_absolute == 2.0**63
    assert compared(np.int64([[2**53 + 1]]), np.int64([[2**53]])).largest_absolute == 1


def test_whole_numbers_may_differ_where_that_is_tolerated():
    loose = {"exact_integers": False}
    assert compared(np.uint8([[1]]), np.uint8([[2]]), **loose).rows_that_differ == 1
    assert compared(np.int64([[100_000]]), np.int64([[100_001]]), **loose).rows_that_differ == 0


def test_the_first_step_that_differs_is_named_and_the_table_has_all():
    wires = [compared(np.float32([[1]]), np.float32([[1]])), compared(np.float32([[1]]), np.float32([[2]]))]
    report = SkewReport(reference="train.py:f", digest="sha256:0", rows=1, wires=tuple(wires))
    assert report.first_that_differs is wires[1]
    with pytest.raises(ParityError, match="first in step 's', which writes 'w'") as raised:
        require_no_skew(report, pipeline="p")
    assert raised.value.cause.count("step 's'") == 2
    require_no_skew(SkewReport(reference="f", digest="", rows=1, wires=(wires[0],)), pipeline="p")


PICTURES = RANDOM.integers(0, 256, (4, 6, 5, 3)).astype(np.float32)
TABLE = RANDOM.standard_normal((6, 4))
TOKENS = np.int64([[101, 20000, 30000, 102], [101, 20100, 30100, 102], [101, 20200, 30200, 102]])


@pytest.mark.parametrize(
    ("served", "wanted", "looks_like"),
    [
        (PICTURES, PICTURES[..., ::-1], "BGR and RGB swapped"),
        (PICTURES.transpose(0, 3, 1, 2), PICTURES[..., ::-1].transpose(0, 3, 1, 2), "BGR and RGB swapped"),
        (PICTURES, PICTURES.transpose(0, 3, 1, 2), "another layout"),
        (PICTURES, PICTURES[..., ::-1].transpose(0, 3, 1, 2), "another layout (channels first or last), and BGR"),
        (PICTURES, PICTURES[:, ::-1], "upside down"),
        (PICTURES, PICTURES / 255, "another scale: the reference is 0.00392157 times"),
        (PICTURES, (PICTURES - [1, 2, 3]) / [4, 5, 6], "another mean or std: by channel"),
        (PICTURES, (PICTURES[..., ::-1] - [1, 2, 3]) / [4, 5, 6], "BGR and RGB swapped"),
        (PICTURES + 0.3, PICTURES, "rounded"),
        (TABLE, TABLE[:, [2, 0, 1, 3]], "another order: the reference has the served [2, 0, 1, 3]"),
        (TABLE, TABLE * [1, 1, 3, 1], "another scale of column 2"),
        (TABLE, TABLE + RANDOM.standard_normal((6, 4)), ""),
        (PICTURES, PICTURES + RANDOM.standard_normal(PICTURES.shape), ""),
        (TOKENS, TOKENS + np.int64([0, 1, -1, 0]), ""),
        (words(b"Ab", b"c"), words(b"ab", b"C"), "upper and lower case"),
        (words(b" a  b"), words(b"a b"), "white space"),
        (words(b"a"), words(b"b"), ""),
    ],
)
def test_it_says_what_it_looks_like_only_where_that_makes_all_agree(served, wanted, looks_like):
    rows = [DifferentRow(row=at, served=found, wanted=wanted[at]) for at, found in enumerate(served)]
    suspect = Suspect(
        wire="w",
        rows=rows,
        typed=TypedPipeline(stages=(), wires={}),
        raw=PipelineRows(origin="rows", inputs={"x": np.zeros((len(rows), 1))}),
        members={},
        tolerance=Tolerance(),
    )
    found = diagnose(suspect)
    assert looks_like in found
    assert bool(found) == bool(looks_like)


@pytest.mark.parametrize(
    ("served", "wanted", "looks_like"),
    [
        # Half way between two whole numbers, so that how it is rounded makes a difference.
        ([[2], [4]], [[1], [3]], "with rounding: truncate in step 'cast' they agree"),
        # What a graph served in the step's place might answer: the step itself is not to blame.
        ([[1], [3]], [[2], [4]], "its steps run one by one agree with the reference"),
    ],
)
def test_a_step_is_blamed_only_where_it_differs_by_itself(tmp_path, served, wanted, looks_like):
    pipeline = PipelineFile.model_validate(
        {
            "name": "p",
            "inputs": {"values": {"datatype": "FP32", "dims": [1]}},
            "steps": [{"use": "cast", "with": {"datatype": "INT32", "rounding": "nearest"}}],
            "outputs": ["cast"],
        }
    )
    rows = [
        DifferentRow(row=at, served=np.int32(found), wanted=np.int32(wanted[at])) for at, found in enumerate(served)
    ]
    suspect = Suspect(
        wire="cast",
        rows=rows,
        typed=compile_pipeline(pipeline, ModelRepository(tmp_path)).typed,
        raw=PipelineRows(origin="rows", inputs={"values": np.float32([[1.5], [3.5]])}),
        members={},
        tolerance=Tolerance(),
    )
    assert looks_like in diagnose(suspect)


@pytest.mark.parametrize(
    ("steps", "resizer"),
    [
        ([{"use": "decode_image", "with": {"height": 4, "width": 5}}], "decode_image"),
        ([{"use": "decode_image"}, {"use": "resize", "with": {"height": 4, "width": 5}}], "resize"),
    ],
)
def test_a_sample_whose_pictures_need_no_resizing_is_told(tmp_path, steps, resizer):
    pipeline = PipelineFile.model_validate(
        {
            "name": "p",
            "inputs": {"image": {"datatype": "BYTES", "dims": [1]}},
            "steps": steps,
            "outputs": ["resized" if resizer == "resize" else "pixels"],
        }
    )
    typed = compile_pipeline(pipeline, ModelRepository(tmp_path)).typed
    (sentence,) = untried(typed, pictures((4, 5), (4, 5)), {})
    assert f"no row of the sample is resized by step '{resizer}'" in sentence
    assert untried(typed, pictures((4, 5), (5, 4)), {}) == ()


def pictures(*shapes):
    encoded = []
    for shape in shapes:
        stream = io.BytesIO()
        Image.fromarray(np.zeros(shape, dtype=np.uint8)).save(stream, format="PNG")
        encoded.append(stream.getvalue())
    return PipelineRows(origin="pictures", inputs={"image": np.array(encoded, dtype=object)[:, None]})


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    pipeline = PipelineFile.model_validate(
        {
            "name": "reader",
            "inputs": {"image": {"datatype": "BYTES", "dims": [1]}},
            "steps": [
                {"use": "decode_image", "with": {"height": 2, "width": 2}},
                {"use": "normalise", "with": {"mean": [0, 0, 0], "std": [1, 1, 1]}},
            ],
            "outputs": {"picture": "tensor"},
        }
    )
    return pipeline, compile_pipeline(pipeline, ModelRepository(tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (["picture", "pixels"], {"pixels": "pixels", "picture": "picture"}),
        (["tensor"], {"tensor": "picture"}),
        ([MODEL_INPUT], {MODEL_INPUT: "picture"}),
    ],
)
def test_wires_are_told_by_either_name_and_put_in_their_order(compiled, tmp_path, told, expected):
    answers = ReferenceAnswers(wires=tuple(told), rows=1, folder=tmp_path)
    found = told_wires(*compiled, answers)
    assert (found, list(found)) == (expected, list(expected))


@pytest.mark.parametrize("told", ["image", "pixel"])
def test_what_is_no_wire_that_a_step_writes_is_refused(compiled, tmp_path, told):
    with pytest.raises(PipelineError, match=f"the reference tells a '{told}'"):
        told_wires(*compiled, ReferenceAnswers(wires=(told,), rows=1, folder=tmp_path))


def test_a_probe_has_the_steps_of_the_pipeline_in_the_same_models(tmp_path):
    repository = ModelRepository(tmp_path / "models")
    write_model(tmp_path / "colours.onnx")
    colours = ModelConfig(
        name="colours",
        backend="onnxruntime",
        max_batch_size=4,
        inputs=(ModelTensor(name="x", datatype=DataType.FP32, dims=(3, 8, 8)),),
        outputs=(ModelTensor(name="logits", datatype=DataType.FP32, dims=(3,)),),
    )
    write_compiled(
        repository.path, CompiledModel(config=colours, files={"model.onnx": (tmp_path / "colours.onnx").read_bytes()})
    )
    steps = [
        {"use": "decode_image", "with": {"height": 8, "width": 8}},
        {"use": "normalise", "with": {"mean": [0, 0, 0], "std": [1, 1, 1]}},
        {"model": "colours", "inputs": {"x": "tensor"}},
        {"use": "softmax"},
        {"use": "json_out", "with": {"names": ["probabilities"]}},
    ]
    inputs = {"image": {"datatype": "BYTES", "dims": [1]}}
    pipeline = PipelineFile.model_validate({"name": "p", "inputs": inputs, "steps": steps, "outputs": ["json"]})
    told = ["tensor", "probabilities"]
    own, probe = (compile_pipeline(each, repository) for each in (pipeline, pipeline.with_outputs(told)))
    require_same_places(own, probe)
    assert [[tensor.name for tensor in each.own.config.outputs] for each in (own, probe)] == [
        ["json"],
        ["json", *told],
    ]
    assert len(own.parts) == 3
    apart = compile_pipeline(pipeline.model_copy(update={"merge": False}), repository)
    with pytest.raises(PipelineError, match="cannot be told as it is served"):
        require_same_places(own, apart)


def test_a_probe_that_answers_otherwise_than_the_pipeline_says_nothing_about_it():
    same = Same({"y": WireComparison(wire="y", step="step 's'", is_final=True, tolerance=Tolerance())})
    one, two = {"y": np.float32([1])}, {"y": np.float32([2]), "inner": np.float32([3])}
    same.add(0, AnsweredRow(one, {}))  # there is no probe
    same.require("p")
    assert AnsweredRow(one, two).told == {"y": one["y"], "inner": two["inner"]}
    same.add(1, AnsweredRow(one, two))
    with pytest.raises(ParityError, match="'p' answers otherwise where it also tells"):
        same.require("p")
