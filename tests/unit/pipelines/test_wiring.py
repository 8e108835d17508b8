# SPDX-License-Identifier: Apache-2.0
"""Every wire is typed before anything is written; what cannot work is told with names, types and a drawing."""

import copy

import pytest
import yaml

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError, error_from_dict
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.pipelines.stages import BlockStage
from repo_tool.pipelines.wiring import type_pipeline
from repo_tool.repository.layout import ModelRepository
from support.golden import matches_golden

MODELS = {
    "quick": (16, {"x": ("FP32", (3,))}, {"y": ("FP32", (3,))}),
    "slow": (8, {"x": ("FP32", (3,))}, {"y": ("FP32", (3,))}),
    "crop": (8, {"x": ("UINT8", (4, 4, 3))}, {"y": ("FP32", (3,))}),
    "one_row": (0, {"x": ("FP32", (1, 3))}, {"y": ("FP32", (1, 3))}),
    "two_rows": (0, {"x": ("FP32", (2, 3))}, {"y": ("FP32", (2, 3))}),
    "any_rows": (0, {"x": ("FP32", (-1, 3))}, {"y": ("FP32", (-1, 3))}),
    "no_rows": (0, {"x": ("FP32", (3,))}, {"y": ("FP32", (3,))}),
    "vague": (8, {"x": ("FP32", (-1,))}, {"y": ("FP32", (-1,))}),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = ModelRepository(tmp_path_factory.mktemp("wiring") / "models")
    for name, (size, inputs, outputs) in MODELS.items():
        add(repository, name, size, inputs, outputs)
    add(repository, "slow", *MODELS["slow"], version=4)
    add(repository, "many_answers", 8, *MODELS["slow"][1:], decoupled=True)
    return repository


def add(repository, name, size, inputs, outputs, *, version=1, **more):
    config = ModelConfig(
        name=name,
        backend="python",
        max_batch_size=size,
        inputs=tuple(tensor(*each) for each in inputs.items()),
        outputs=tuple(tensor(*each) for each in outputs.items()),
        **more,
    )
    repository.model(name).version_path(version).mkdir(parents=True)
    repository.model(name).config_path.write_text(pbtxt.render(config))


def tensor(name, kind):
    return ModelTensor(name=name, datatype=DataType[kind[0]], dims=kind[1])


def model(name, read, written, **more):
    return {"model": name, "inputs": {"x": read}, "outputs": {"y": written}, **more}


def softmax(read, written="probabilities"):
    return {"use": "softmax", "inputs": {"logits": read}, "outputs": {"probabilities": written}}


def pipeline(*steps, outputs=("result",), inputs=None, **more):
    inputs = inputs or {"features": ("FP32", [3])}
    declared = {name: {"datatype": datatype, "dims": dims} for name, (datatype, dims) in inputs.items()}
    outputs = outputs if isinstance(outputs, dict) else [*outputs]
    return {"name": "tried", "inputs": declared, "steps": [*steps], "outputs": outputs, **more}


@pytest.fixture
def typed(repository, tmp_path):
    def type_file(values):
        path = tmp_path / "pipeline.yaml"
        path.write_text(yaml.safe_dump(copy.deepcopy(values), sort_keys=False))
        return type_pipeline(read_pipeline(path), repository)

    return type_file


CASCADE = pipeline(
    model("quick", "features", "logits"),
    softmax("logits"),
    {"use": "top_k_labels", "with": {"labels": ["a", "b", "c"], "k": 1}},
    {
        "when": {"wire": "probability", "is_below": 0.8, "otherwise": {"better": {"wire": "probabilities"}}},
        "steps": [model("slow", "features", "slow_logits"), softmax("slow_logits", "better")],
        "outputs": {"better": "result"},
    },
    outputs=["result", "label"],
)
CROPS = pipeline(
    {
        "for_each": {"items": {"crop": "crops"}, "count": "found", "pad": {"scores": -1}},
        "steps": [model("crop", "crop", "scores")],
        "outputs": {"scores": "result"},
    },
    inputs={"crops": ("UINT8", [-1, 4, 4, 3]), "found": ("INT32", [1])},
)
LOOP = pipeline(
    {
        "repeat": {"carry": {"next": "features"}, "at_most": 5},
        "steps": [model("quick", "features", "next")],
        "outputs": {"next": "result"},
    }
)


def test_a_block_tells_its_outputs_with_their_types(typed):
    found = typed(CASCADE)
    block = found.stages[-1]
    assert isinstance(block, BlockStage)
    assert str(found.wires["result"]) == "FP32 [3]"
    assert set(block.inputs) == {"features", "probability", "probabilities"}
    assert {name: str(wire) for name, wire in block.wires.items()} == {
        "features": "FP32 [3]",
        "probabilities": "FP32 [3]",
        "probability": "FP32 [1]",
        "slow_logits": "FP32 [3]",
        "better": "FP32 [3]",
    }
    assert found.max_batch_size == 8
    assert dict(found.members) == {"quick": 1, "slow": 4}


def test_items_become_rows_and_their_results_items_again(typed):
    found = typed(CROPS)
    assert str(found.stages[0].wires["crop"]) == "UINT8 [4, 4, 3]"
    assert str(found.wires["result"]) == "FP32 [-1, 3]"


def test_a_wire_may_be_told_under_another_name(typed):
    values = pipeline(
        model("quick", "features", "logits"), softmax("logits"), outputs={"best": "probabilities", "raw": "logits"}
    )
    found = typed(values)
    assert found.outputs == ("best", "raw")
    assert found.stages[0].outputs == {"y": "raw"}
    assert found.stages[1].inputs == {"logits": "raw"}
    assert set(found.wires) == {"features", "raw", "best"}


def test_names_can_be_swapped(typed):
    values = pipeline(
        model("quick", "features", "one"), model("slow", "one", "two"), outputs={"one": "two", "two": "one"}
    )
    found = typed(values)
    assert [stage.outputs["y"] for stage in found.stages] == ["two", "one"]


def test_further_outputs_leave_the_stages_as_they_are(repository, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(CASCADE, sort_keys=False))
    pipeline = read_pipeline(path)
    plain, telling = (type_pipeline(each, repository) for each in (pipeline, pipeline.with_outputs(["logits"])))
    assert telling.stages == plain.stages
    assert telling.outputs == (*plain.outputs, "logits")


@pytest.mark.parametrize(("name", "rows"), [("one_row", 1), ("any_rows", -1)])
def test_a_model_that_does_not_batch_makes_a_pipeline_that_does_not(typed, name, rows):
    found = typed(pipeline(model(name, "features", "logits"), softmax("logits", "result")))
    assert (found.max_batch_size, found.rows) == (0, rows)
    assert str(found.wires["result"]) == "FP32 [3]"


def test_a_pipeline_that_batches_has_no_number_of_rows(typed):
    found = typed(pipeline(model("quick", "features", "result")))
    assert (found.max_batch_size, found.rows) == (16, None)


def test_a_version_may_be_pinned_and_is_the_newest_else(typed):
    newest = typed(pipeline(model("slow", "features", "result")))
    said = typed(pipeline(model("slow", "features", "result", version=-1)))
    pinned = typed(pipeline(model("slow", "features", "result", version=1)))
    assert [found.stages[0].version for found in (newest, said, pinned)] == [4, 4, 1]


def test_a_free_dim_that_a_model_writes_fits_any(typed):
    assert typed(pipeline(model("vague", "features", "w"), model("quick", "w", "result")))


def test_stages_of_one_kind_have_names_of_their_own(typed):
    found = typed(pipeline(softmax("features", "once"), softmax("once", "result") | {"name": "again"}))
    assert [stage.name for stage in found.stages] == ["softmax", "again"]
    twice = typed(pipeline(softmax("features", "once"), softmax("once", "result")))
    assert [stage.name for stage in twice.stages] == ["softmax", "softmax_2"]


def changed(values, *path, to):
    values = copy.deepcopy(values)
    target = values
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = to
    return values


BLOCK = ("steps", 3)
LOOP_LONG = {"carry": {"next": "features"}, "at_most": 3000}
PICTURES = (
    {"use": "decode_image"},
    {"use": "resize", "with": {"height": 6, "width": 6}},
    {"use": "centre_crop", "with": {"height": 4, "width": 4}},
)
MISTAKES = {
    "steps that are not wired to one another": (
        pipeline(*PICTURES[:3], model("crop", "pixels", "result"), inputs={"image": ("BYTES", [1])}),
        [
            "model 'crop' takes UINT8 [4, 4, 3] as 'x' and gets UINT8 [-1, -1, 3]",
            "nobody reads 'resized' of step 2 'resize' and 'cropped' of step 3 'centre_crop'",
            "did you mean `inputs: {pixels: resized}` for step 3 'centre_crop' "
            "and `inputs: {x: cropped}` for model 4 'crop'?",
            "│ past 2 steps",
        ],
    ),
    "a step that the next one reads past": (
        pipeline(
            *PICTURES[:2],
            {"use": "cast", "with": {"datatype": "FP32"}, "inputs": {"values": "pixels"}},
            inputs={"image": ("BYTES", [1])},
            outputs=["cast"],
        ),
        ["nobody reads what step 2 'resize' writes", "did you mean `inputs: {values: resized}` for step 3 'cast'?"],
    ),
    "parameters of one of two steps of a kind": (
        pipeline(
            *PICTURES[:2],
            {"use": "resize", "with": {"height": 6, "width": 0}, "inputs": {"pixels": "resized"}},
            inputs={"image": ("BYTES", [1])},
        ),
        ["the parameters of step 3 'resize' do not fit", "cause: a side", "next:  mend them: it takes height"],
    ),
    "a step above the one it reads": (
        pipeline(softmax("logits", "result"), model("quick", "features", "logits")),
        ["step 'softmax' reads 'logits'", "model 'quick' writes after it", "move model 'quick' above step 'softmax'"],
    ),
    "a circle": (
        pipeline(model("quick", "b", "a"), model("slow", "a", "b"), softmax("b", "result")),
        ["model 'quick' reads 'b'", "model 'slow' writes, which waits for model 'quick': a circle"],
    ),
    "its own answer": (
        pipeline(model("quick", "a", "a"), softmax("a", "result")),
        ["model 'quick' reads 'a'", "it writes itself"],
    ),
    "a step whose answer nobody reads": (
        pipeline(model("quick", "features", "result"), softmax("result")),
        ["nobody reads what step 2 'softmax' writes", "'probabilities'"],
    ),
    "a version that there is not": (
        pipeline(model("slow", "features", "result", version=2)),
        ["model 'slow' has no version 2", "there are 1, 4"],
    ),
    "two versions of one model": (
        pipeline(model("slow", "features", "a"), model("slow", "a", "result", version=1)),
        ["model 'slow' is used in the versions 4 and 1"],
    ),
    "a model that answers several times": (
        pipeline(model("many_answers", "features", "result")),
        ["model 'many_answers' is decoupled"],
    ),
    "a pipeline that calls itself": (
        pipeline(model("tried", "features", "result")),
        ["pipeline 'tried' calls itself"],
    ),
    "a free dim into a fixed one": (
        pipeline(model("quick", "features", "result"), inputs={"features": ("FP32", [-1])}),
        ["model 'quick' takes FP32 [3] as 'x' and gets FP32 [-1]"],
    ),
    "another number of dims": (
        pipeline(model("quick", "features", "result"), inputs={"features": ("FP32", [1, 3])}),
        ["model 'quick' takes FP32 [3] as 'x' and gets FP32 [1, 3]"],
    ),
    "a model that cannot batch": (
        pipeline(model("no_rows", "features", "result")),
        ["model 'no_rows' does not batch", "'x' FP32 [3] has no dimension for rows"],
    ),
    "models of different numbers of rows": (
        pipeline(model("one_row", "features", "a"), model("two_rows", "a", "result")),
        ["'x' of model 'one_row' has 1 row and 'x' of model 'two_rows' has 2"],
    ),
    "batches of a model that does not batch": (
        pipeline(model("any_rows", "features", "result"), max_batch_size=4),
        ["max_batch_size 4 is more than model 'any_rows' takes", "does not batch"],
    ),
    "one row at a time in a block": (
        changed(CASCADE, *BLOCK, "steps", 0, "model", to="one_row"),
        ["model 'one_row' takes 1 row at a time, inside a block"],
    ),
    "two names for one output": (
        pipeline(model("quick", "features", "a"), outputs={"b": "a", "c": "a"}),
        ["tells 'a' under two names"],
    ),
    "the name of another wire": (
        pipeline(model("quick", "features", "a"), outputs={"features": "a"}),
        ["tells 'a' as 'features', which is the name of another wire"],
    ),
    "a typo in an output": (
        pipeline(model("quick", "features", "result"), outputs=["results"]),
        ["output 'results'", "did you mean 'result'?"],
    ),
    "a typo in a model's tensor": (
        pipeline({"model": "quick", "inputs": {"X": "features"}, "outputs": {"y": "result"}}),
        ["model 'quick' has no input 'X'", "x: FP32 [3]", "did you mean 'x'?"],
    ),
    "a typo in a key": (
        pipeline(model("quick", "features", "result")) | {"output": ["a"]},
        ["output: there is no such key", "did you mean 'outputs'"],
    ),
    "a condition of several numbers": (
        changed(CASCADE, *BLOCK, "when", "wire", to="probabilities"),
        ["block 'when' reads 'probabilities' as its `when:`", "one value a row, [1]; it is FP32 [3]"],
    ),
    "a condition without a comparison": (
        changed(
            CASCADE, *BLOCK, "when", to={"wire": "probability", "otherwise": {"better": {"wire": "probabilities"}}}
        ),
        ["must be BOOL [1] where it has no comparison; it is FP32 [1]"],
    ),
    "a number compared with text": (
        changed(CASCADE, *BLOCK, "when", "wire", to="label"),
        ["must be a number for that comparison; it is BYTES [1]"],
    ),
    "two comparisons": (
        changed(CASCADE, *BLOCK, "when", "equals", to=1),
        ["a condition has one comparison, not is_below and equals"],
    ),
    "rounds of rounds without end": (
        changed(LOOP, "steps", 0, "steps", to=[LOOP["steps"][0] | {"repeat": LOOP_LONG, "outputs": {"next": "next"}}]),
        ["blocks inside one another repeat 15000 rounds, and at most 10000"],
    ),
    "a comparison with NaN": (
        changed(CASCADE, *BLOCK, "when", "is_below", to=float("nan")),
        ["block 'when' compares 'probability' FP32 [1] with nan", "no FP32"],
    ),
    "a comparison with what overflows": (
        changed(CASCADE, *BLOCK, "when", "is_below", to=1e39),
        ["block 'when' compares 'probability' FP32 [1] with 1e+39", "no FP32"],
    ),
    "otherwise infinite": (
        changed(CASCADE, *BLOCK, "when", "otherwise", to={"better": float("inf")}),
        ["fills 'better' FP32 [3] with inf", "no FP32"],
    ),
    "otherwise an integer between two floats": (
        changed(CASCADE, *BLOCK, "when", "otherwise", to={"better": 16777217}),
        ["fills 'better' FP32 [3] with 16777217", "no FP32"],
    ),
    "otherwise an integer of a thousand digits": (
        changed(CASCADE, *BLOCK, "when", "otherwise", to={"better": 10**999}),
        ["fills 'better' FP32 [3] with 1000", "no FP32"],
    ),
    "otherwise too small for a float": (
        changed(CASCADE, *BLOCK, "when", "otherwise", to={"better": 1e-60}),
        ["fills 'better' FP32 [3] with 1e-60", "no FP32"],
    ),
    "otherwise of another type": (
        changed(CASCADE, *BLOCK, "when", "otherwise", to={"better": {"wire": "probability"}}),
        ["gives 'better' FP32 [3] where it holds, and 'probability' FP32 [1] otherwise"],
    ),
    "otherwise of another datatype": (
        changed(CASCADE, *BLOCK, "when", "otherwise", to={"better": "none"}),
        ["fills 'better' FP32 [3] with 'none'", "no FP32"],
    ),
    "no otherwise": (
        changed(CASCADE, *BLOCK, "outputs", to={"better": "result", "slow_logits": "w"}),
        ["says no `otherwise:` for its output 'slow_logits'"],
    ),
    "otherwise for what is not told": (
        changed(CASCADE, *BLOCK, "when", "otherwise", "bettr", to=0),
        ["names 'bettr', which is none of its outputs", "did you mean 'better'?"],
    ),
    "a block's output that no step writes": (
        changed(CASCADE, *BLOCK, "outputs", to={"best": "result"}),
        ["`outputs:` of block 'when' names 'best', which no step inside it writes", "slow_logits, better"],
    ),
    "a mistake inside a block": (
        changed(CASCADE, *BLOCK, "steps", 0, "inputs", "x", to="probability"),
        ["model 'slow' takes FP32 [3] as 'x' and gets FP32 [1]", "4.1"],
    ),
    "a step inside a block that nobody reads": (
        changed(CASCADE, *BLOCK, "steps", 1, to=softmax("features", "better")),
        ["nobody reads what model 4.1 'slow' writes"],
    ),
    "a wire of inside read outside": (
        changed(CASCADE, "outputs", to=["result", "slow_logits"]),
        ["output 'slow_logits'", "written by no step"],
    ),
    "the items of nothing": (
        changed(CROPS, "steps", 0, "for_each", "items", to={"crop": "crop"}),
        ["reads 'crop'", "did you mean 'crops'?"],
    ),
    "items of different numbers": (
        changed(CROPS, "steps", 0, "for_each", "items", to={"crop": "crops", "one": "found"}),
        ["different numbers of them", "'crops' has any number, 'found' has 1"],
    ),
    "items called like a wire": (
        changed(CROPS, "steps", 0, "for_each", "items", to={"found": "crops"}),
        ["gives its steps 'found', which is a wire outside"],
    ),
    "a count that is none": (
        changed(CROPS, "inputs", "found", "datatype", to="FP32"),
        ["reads 'found' as its `count:`, which must be an integer [1]", "it is FP32 [1]"],
    ),
    "padding without a count": (
        changed(CROPS, "steps", 0, "for_each", to={"items": {"crop": "crops"}, "pad": {"scores": 0}}),
        ["says `pad:` and no `count:`"],
    ),
    "results of free size": (
        pipeline(
            {
                "for_each": {"items": {"item": "items"}},
                "steps": [model("vague", "item", "each")],
                "outputs": {"each": "result"},
            },
            inputs={"items": ("FP32", [2, 5])},
        ),
        ["cannot put the results 'each' of its items together", "each is FP32 [-1]"],
    ),
    "carried to another type": (
        pipeline(
            {
                "repeat": {"carry": {"next": "pair"}, "at_most": 5},
                "steps": [model("vague", "pair", "other"), model("quick", "other", "next")],
                "outputs": {"next": "result"},
            },
            inputs={"pair": ("FP32", [2])},
        ),
        ["block 'repeat' carries 'next' FP32 [3] to 'pair' FP32 [2]"],
    ),
    "until something that is no yes or no": (
        changed(LOOP, "steps", 0, "repeat", "until", to="next"),
        ["`until:` of block 'repeat' is 'next' FP32 [3], and must be BOOL [1]"],
    ),
    "a file given as text": (
        pipeline(
            {"use": "tokenize_text", "with": {"tokenizer": "tokenizer.json", "length": 4}},
            inputs={"text": ("BYTES", [1])},
        ),
        ["`tokenizer:` wants a file", "write {file: tokenizer.json}"],
    ),
    "a file that there is not": (
        pipeline({"use": "top_k_labels", "with": {"labels": {"file": "gone.txt"}}}),
        ["there is no file", "gone.txt"],
    ),
}


@pytest.mark.parametrize(("values", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_names_and_types(typed, values, words):
    with pytest.raises(PipelineError) as raised:
        typed(values)
    for word in words:
        assert word in str(raised.value)
    assert raised.value.cause
    assert raised.value.next_step


def test_an_error_keeps_its_drawing_on_its_way_through_a_process(typed):
    with pytest.raises(PipelineError) as raised:
        typed(pipeline(model("quick", "features", "result"), softmax("result")))
    told = str(error_from_dict(raised.value.to_dict()))
    assert told == str(raised.value)
    assert told.splitlines()[1:3] == ["  ┌──────────────────┐", "  │ 2 step 'softmax' │"]


def test_the_spot_is_drawn(typed):
    drawn = []
    for name, (values, _) in MISTAKES.items():
        with pytest.raises(PipelineError) as raised:
            typed(values)
        drawn += [f"# {name}", raised.value.drawing] if raised.value.drawing else []
    assert matches_golden("\n".join(drawn) + "\n", "pipelines/spots.txt")
