# SPDX-License-Identifier: Apache-2.0
"""Which stages become one model, why, what travels between the models, and what is published beside them."""

import json

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.compiled import CompiledModel
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.cutting import place
from repo_tool.pipelines.explain import explain
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.pipelines.wiring import type_pipeline
from repo_tool.repository.layout import ModelRepository
from support.served_parts import write_compiled

MINE = """
from dataclasses import dataclass

@dataclass(frozen=True, slots=True, kw_only=True)
class Double:
    def outputs(self, inputs):
        return {"doubled": inputs["values"]}

    def run(self, values):
        return {"doubled": values * 2}
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = ModelRepository(tmp_path_factory.mktemp("parts") / "models")
    repository.path.mkdir()
    for name in ("net", "other_net"):
        write_compiled(repository.path, graph(name))
    write_compiled(repository.path, CompiledModel(config=config("forest", "sklearn")))
    (repository.path.parent / "labels").mkdir()
    (repository.path.parent / "labels" / "words.txt").write_text("a\nb\nc\n")
    (repository.path.parent / "words.txt").write_text("d\ne\nf\n")
    (repository.path.parent / "mine.py").write_text(MINE)
    return repository


def config(name, backend):
    return ModelConfig(
        name=name,
        backend=backend,
        max_batch_size=8,
        inputs=(ModelTensor(name="x", datatype=DataType.FP32, dims=(3,)),),
        outputs=(ModelTensor(name="y", datatype=DataType.FP32, dims=(3,)),),
    )


def graph(name):
    values = [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["batch", 3]) for each in "xy"]
    made = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], name, values[:1], values[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return CompiledModel(config=config(name, "onnxruntime"), files={"model.onnx": model.SerializeToString()})


def model(name, read, written, **more):
    return {"model": name, "inputs": {"x": read}, "outputs": {"y": written}, **more}


def soft(read, written, **more):
    return {"use": "softmax", "inputs": {"logits": read}, "outputs": {"probabilities": written}, **more}


def python(read, written):
    """A step that is no arithmetic: it is somebody's own."""
    return {"use": "mine:Double", "inputs": {"values": read}, "outputs": {"doubled": written}}


def when(read, written, inner):
    block = {"wire": "is_sure", "otherwise": {"w": {"wire": read}}}
    return {
        "when": block,
        "steps": [inner | {"outputs": dict.fromkeys(inner["outputs"], "w")}],
        "outputs": {"w": written},
    }


@pytest.fixture
def read(repository):
    def read_steps(*steps, **more):
        is_sure = {"is_sure": {"datatype": "BOOL", "dims": [1]}} if "is_sure" in str(steps) else {}
        inputs = {"x": {"datatype": "FP32", "dims": [3]}, **is_sure}
        values = {"name": "p", "inputs": inputs, "steps": [*steps], "outputs": ["result"], **more}
        path = repository.path.parent / "p.yaml"
        path.write_text(yaml.safe_dump(values))
        return read_pipeline(path)

    return read_steps


CUTS = {
    "a model alone stays as it is": ([model("net", "x", "result")], ["member net"]),
    "arithmetic joins the model on both sides": (
        [soft("x", "a"), model("net", "a", "b"), soft("b", "result")],
        ["graph p"],
    ),
    "two models are one graph": ([model("net", "x", "a"), model("other_net", "a", "result")], ["graph p"]),
    "a model that is no graph stays apart": (
        [model("forest", "x", "a"), soft("a", "result")],
        ["member forest", "graph p_post"],
    ),
    "arithmetic alone is a graph": ([soft("x", "result")], ["graph p"]),
    "arithmetic beside Python stays in Python": ([python("x", "a"), soft("a", "result")], ["python p"]),
    "arithmetic between Python and a graph goes into the graph": (
        [python("x", "a"), soft("a", "b"), model("net", "b", "result")],
        ["python p_pre", "graph p_model"],
    ),
    "Python on both sides": (
        [python("x", "a"), model("net", "a", "b"), soft("b", "c"), python("c", "result")],
        ["python p_pre", "graph p_model", "python p_post"],
    ),
    "arithmetic between two runs of Python joins them": (
        [python("x", "a"), soft("a", "b"), python("b", "result")],
        ["python p"],
    ),
    "a model between keeps them apart": (
        [python("x", "a"), model("net", "a", "b"), python("b", "c"), model("forest", "c", "d"), python("d", "result")],
        ["python p_pre", "member net", "python p_post", "member forest", "python p_post2"],
    ),
    "a block takes the Python beside it along": (
        [python("x", "a"), when("a", "b", model("net", "a", "w")), soft("b", "result")],
        ["control p"],
    ),
    "a block beside a graph": (
        [when("x", "a", model("forest", "x", "w")), soft("a", "b"), model("net", "b", "result")],
        ["control p_control", "graph p_model"],
    ),
    "a step that must not be merged": (
        [soft("x", "a", merge=False), model("net", "a", "b"), soft("b", "result")],
        ["python p_pre", "graph p_model"],
    ),
    "a model that must not be merged": (
        [soft("x", "a"), model("net", "a", "result", merge=False)],
        ["graph p_pre", "member net"],
    ),
}


@pytest.mark.parametrize(("steps", "expected"), CUTS.values(), ids=CUTS)
def test_a_pipeline_is_cut_into_as_few_models_as_can_be(read, repository, steps, expected):
    pipeline = read(*steps)
    parts = place(type_pipeline(pipeline, repository), pipeline)
    assert [f"{part.kind} {part.name}" for part in parts] == expected
    assert all(part.reason for part in parts)
    assert [stage.name for part in parts for stage in part.stages] == list(dict.fromkeys(names(pipeline, repository)))


def test_a_step_that_needs_python_runs_with_another_as_soon_as_all_it_reads_is_there(read, repository):
    steps = [python("x", "a"), model("forest", "a", "b"), python("x", "c"), python("b", "d"), python("c", "result")]
    pipeline = read(*steps, outputs=["d", "result"])
    parts = place(type_pipeline(pipeline, repository), pipeline)
    assert [f"{part.kind} {part.name}" for part in parts] == ["python p_pre", "member forest", "python p_post"]
    assert [list(stage.outputs.values()) for stage in parts[0].stages] == [["a"], ["c"], ["result"]]
    assert [list(stage.outputs.values()) for stage in parts[2].stages] == [["d"]]


def names(pipeline, repository):
    return [stage.name for stage in type_pipeline(pipeline, repository).stages]


def test_nothing_is_merged_where_the_file_says_so(read, repository):
    pipeline = read(soft("x", "a"), model("net", "a", "b"), soft("b", "result"), merge=False)
    parts = place(type_pipeline(pipeline, repository), pipeline)
    assert [part.kind.value for part in parts] == ["python", "member", "python"]
    assert parts[1].reason == "model 'net' runs as it is: the file says `merge: false`"


def test_reasons_name_what_needs_python(read, repository):
    pipeline = read(python("x", "a"), soft("a", "result"))
    (part,) = place(type_pipeline(pipeline, repository), pipeline)
    assert "step 'mine:Double' needs Python: " in part.reason
    assert "step 'softmax' could be a graph, which would be a hop more" in part.reason


def test_what_cannot_be_merged_after_all_is_placed_again(read, repository, tmp_path):
    broken = ModelRepository(tmp_path / "models")
    broken.path.mkdir()
    write_compiled(broken.path, CompiledModel(config=config("net", "onnxruntime")))  # without its file
    compiled = compile_pipeline(read(soft("x", "a"), model("net", "a", "result")), broken)
    assert [part.kind.value for part in compiled.parts] == ["graph", "member"]
    assert "merging it failed: " in compiled.parts[1].reason
    assert (dict(compiled.called_versions), dict(compiled.member_versions)) == ({"net": 1}, {"net": 1})


def test_merged_models_are_members_that_are_not_called(read, repository):
    compiled = compile_pipeline(read(soft("x", "a"), model("net", "a", "result")), repository)
    assert compiled.own.config.backend == "onnxruntime"
    assert (compiled.member_names, dict(compiled.called_versions)) == (("net",), {})


TURNS = {
    "a step that hands on what the model reads": (
        [python("x", "a"), model("forest", "x", "result")],
        [("p_pre", {"x": "x"}, {"a", "x_passed"}), ("forest", {"x": "x_passed"}, {"result"})],
    ),
    "a block, too": (
        [when("x", "a", model("forest", "x", "w")), model("net", "x", "result")],
        [
            ("p_control", {"x": "x", "is_sure": "is_sure"}, {"a", "x_passed"}),
            ("net", {"x": "x_passed"}, {"result"}),
        ],
    ),
    "a step that waits for the model": (
        [model("forest", "x", "a"), python("x", "result")],
        [("forest", {"x": "x"}, {"a"}), ("p_post", {"x": "x", "a": "a"}, {"result"})],
    ),
    "a model of its own between two others": (
        [model("forest", "x", "a"), model("net", "x", "result")],
        [
            ("forest", {"x": "x"}, {"a"}),
            ("p_gate", {"x": "x", "a": "a"}, {"x_passed"}),
            ("net", {"x": "x_passed"}, {"result"}),
        ],
    ),
    "nothing where one waits for the other anyway": (
        [python("x", "a"), model("forest", "a", "result")],
        [("p_pre", {"x": "x"}, {"a"}), ("forest", {"x": "a"}, {"result"})],
    ),
}


@pytest.mark.parametrize(("steps", "expected"), TURNS.values(), ids=TURNS)
def test_no_two_models_run_at_once(read, repository, steps, expected):
    are_beside = "x" in steps[1]["inputs"].values()
    compiled = compile_pipeline(read(*steps, outputs=["a", "result"] if are_beside else ["result"]), repository)
    found = compiled.own.config.ensemble_steps
    assert [(step.model_name, dict(step.input_map), set(step.output_map.values())) for step in found] == expected
    waiting = [part.reason for part in compiled.parts if part.passes or {"a", "x"} <= {*part.reads}]
    assert all("Triton (2.51) may hang or end" in reason for reason in waiting)
    assert bool(waiting) == are_beside


def test_what_is_passed_on_is_told_as_coming_from_there(read, repository):
    pipeline = read(python("x", "a"), model("forest", "x", "result"), outputs=["a", "result"])
    hops = [(hop.source, hop.target, [*hop.wires]) for hop in explain(compile_pipeline(pipeline, repository)).hops]
    assert hops[:2] == [("client", "p_pre", ["x"]), ("p_pre", "forest", ["x"])]


def test_models_inside_blocks_are_members(read):
    assert read(when("x", "result", model("forest", "x", "w"))).member_names == ("forest",)


def test_a_generated_model_never_takes_a_members_name(read, repository):
    write_compiled(repository.path, CompiledModel(config=config("p_pre", "sklearn")))
    with pytest.raises(PipelineError, match="makes a model 'p_pre' and uses one of that name"):
        compile_pipeline(read(soft("x", "a", merge=False), model("p_pre", "a", "result")), repository)


def test_it_is_told_what_travels_and_what_that_costs(read, repository):
    told = explain(compile_pipeline(read(python("x", "a"), model("forest", "a", "result")), repository))
    assert [(hop.source, hop.target, hop.bytes_a_row) for hop in told.hops] == [
        ("client", "p_pre", 12),
        ("p_pre", "forest", 12),
        ("forest", "client", 12),
    ]
    assert [hop.cost_us is not None for hop in told.hops] == [False, True, False]
    assert told.cost_us == told.hops[1].cost_us
    assert [part.runs_in for part in told.parts] == ["Python", "sklearn"]
    assert json.loads(json.dumps(told.to_dict()))["parts"][1]["version"] == 1


def test_calls_out_of_a_block_are_told(read, repository):
    told = explain(compile_pipeline(read(when("x", "result", model("forest", "x", "w"))), repository))
    (call,) = [hop for hop in told.hops if hop.is_call]
    assert (call.source, call.target, call.bytes_a_row) == ("p", "forest", 12)
    assert told.parts[0].stages == ("block 'when'", "model 'forest'")


def test_one_part_has_no_hop(read, repository):
    told = explain(compile_pipeline(read(soft("x", "a"), model("net", "a", "result")), repository))
    assert (told.is_ensemble, told.cost_us, dict(told.merged)) == (False, 0, {"net": 1})


def labels(name, read, written):
    inputs, outputs = {"probabilities": read}, {"label": written}
    return {"use": "top_k_labels", "with": {"k": 1, "labels": {"file": name}}, "inputs": inputs, "outputs": outputs}


def test_the_files_of_a_pipeline_are_published_with_it(read, repository, tmp_path):
    pipeline = read(
        python("x", "a"),
        labels("words.txt", "a", "result"),
        labels("labels/words.txt", "a", "other") | {"outputs": dict(zip(OUTPUTS, "efgh", strict=True))},
        outputs=["result", "e"],
    )
    files = compile_pipeline(pipeline, repository).own.files
    assert {name for name in files if name.startswith(("assets", "pipeline"))} == {
        "assets/words.txt",
        "assets/2_words.txt",
        "assets/mine.py",
        "pipeline.json",
    }
    for name, content in files.items():
        target = tmp_path / "1" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    published = read_pipeline(tmp_path / "1" / "pipeline.json")
    assert published.digest == pipeline.digest
    again = compile_pipeline(published, repository)
    assert [part.reason for part in again.parts] == [
        part.reason for part in compile_pipeline(pipeline, repository).parts
    ]
    steps = [stage.step for stage in again.typed.stages[1:]]
    assert [step.parameters["labels"] for step in steps] == [["d", "e", "f"], ["a", "b", "c"]]
    rows = {"values": np.ones((1, 3), np.float32)}
    np.testing.assert_array_equal(again.typed.stages[0].step.run(rows)["doubled"], [[2, 2, 2]])


OUTPUTS = ("label", "probability", "top_labels", "top_probabilities")
