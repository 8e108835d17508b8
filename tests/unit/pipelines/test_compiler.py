# SPDX-License-Identifier: Apache-2.0
"""A pipeline file becomes an ensemble, or a message that names the step, the tensor and both types."""

import copy

import pytest
import yaml

from repo_tool.columns import columns_parameters, read_columns
from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError, RepositoryError
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.repository.layout import ModelRepository
from support.golden import matches_golden

READER = {
    "name": "reader",
    "inputs": {"image": {"datatype": "BYTES", "dims": [1]}},
    "steps": [
        {"use": "decode_image", "with": {"height": 8, "width": 8, "mode": "L"}},
        {"use": "normalise", "with": {"mean": [0.3], "std": [0.4]}},
        {"model": "cnn", "inputs": {"x": "tensor"}, "outputs": {"y": "logits"}},
        {"use": "softmax"},
        {"use": "top_k_labels", "with": {"k": 2, "labels": {"file": "labels.txt"}}},
    ],
    "outputs": ["label", "top_probabilities"],
    "merge": False,
}


@pytest.fixture
def repository(tmp_path):
    config = ModelConfig(
        name="cnn",
        backend="onnxruntime",
        max_batch_size=16,
        inputs=(ModelTensor(name="x", datatype=DataType.FP32, dims=(1, 8, 8)),),
        outputs=(
            ModelTensor(name="y", datatype=DataType.FP32, dims=(3,)),
            ModelTensor(name="embedding", datatype=DataType.FP32, dims=(64,)),
        ),
    )
    (tmp_path / "models" / "cnn" / "1").mkdir(parents=True)
    (tmp_path / "models" / "cnn" / "config.pbtxt").write_text(pbtxt.render(config))
    return ModelRepository(tmp_path / "models")


@pytest.fixture
def compiled(repository, tmp_path):
    def compile_changed(change=lambda pipeline: None):
        pipeline = copy.deepcopy(READER)
        change(pipeline)
        (tmp_path / "labels.txt").write_text("a\nb\nc\n")
        path = tmp_path / "pipeline.yaml"
        path.write_text(yaml.safe_dump(pipeline))
        return compile_pipeline(read_pipeline(path), repository)

    return compile_changed


def test_neighbouring_steps_become_one_model(compiled):
    pipeline = compiled()
    assert [step.model_name for step in pipeline.own.config.ensemble_steps] == ["reader_pre", "cnn", "reader_post"]
    assert {"model.py", "steps/decode_image.py", "steps/normalise.py"} == set(pipeline.models[0].files)


def test_the_ensemble_is_written_with_its_maps(compiled):
    assert matches_golden(pbtxt.render(compiled().own.config, verified=True), "configs/ensemble.pbtxt")


def test_a_step_model_carries_its_steps(compiled):
    assert matches_golden(pbtxt.render(compiled().models[1].config, verified=True), "configs/step_model.pbtxt")


def test_outputs_that_nobody_reads_are_not_mapped(compiled):
    assert dict(compiled().own.config.ensemble_steps[1].output_map) == {"y": "logits"}


TABLE = {
    "name": "sums",
    "inputs": {"table": {"datatype": "FP32", "dims": [3]}},
    "steps": [{"model": "named", "inputs": {"features": "table"}}],
    "outputs": ["prediction"],
}


@pytest.fixture
def table_pipeline(repository, tmp_path):
    """Compiles TABLE with further steps, with a repository in which models take tables of three columns."""
    for name, columns in {"named": "abc", "other": "cab", "unnamed": ""}.items():
        config = ModelConfig(
            name=name,
            backend="sklearn",
            max_batch_size=16,
            inputs=(ModelTensor(name="features", datatype=DataType.FP32, dims=(3,)),),
            outputs=(ModelTensor(name="prediction", datatype=DataType.FP32, dims=(1,)),),
            parameters=columns_parameters({"features": list(columns)}),
        )
        (repository.path / name / "1").mkdir(parents=True)
        (repository.path / name / "config.pbtxt").write_text(pbtxt.render(config))

    def compile_with(*more):
        path = tmp_path / "sums.yaml"
        told = [*TABLE["outputs"], *(wire for step in more for wire in step["outputs"].values())]
        path.write_text(yaml.safe_dump(TABLE | {"steps": [*TABLE["steps"], *more], "outputs": told}))
        return compile_pipeline(read_pipeline(path), repository).own.config

    return compile_with


@pytest.mark.parametrize("more", [[], [{"model": "unnamed"}]], ids=["alone", "beside one that tells none"])
def test_the_columns_of_an_input_that_goes_into_a_model_unchanged_are_the_ensemble_s(table_pipeline, more):
    more = [step | {"inputs": {"features": "table"}, "outputs": {"prediction": "second"}} for step in more]
    ensemble = table_pipeline(*more)
    assert read_columns(ensemble.parameters) == {"table": ("a", "b", "c")}
    assert pbtxt.parse(pbtxt.render(ensemble)) == ensemble


def test_of_two_models_that_tell_columns_neither_s_are_the_ensemble_s(table_pipeline):
    other = {"model": "other", "inputs": {"features": "table"}, "outputs": {"prediction": "second"}}
    assert table_pipeline(other).parameters == {}


def test_the_batch_size_is_the_smallest_of_the_members(compiled):
    pipeline = compiled()
    assert pipeline.own.config.max_batch_size == 16
    assert {model.config.max_batch_size for model in pipeline.models} == {16}


def set_at(*path, value):
    def change(pipeline):
        target = pipeline
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def drop_step(index):
    return lambda pipeline: pipeline["steps"].pop(index)


MISTAKES = {
    "a wire nobody writes": (
        set_at("steps", 2, "inputs", value={"x": "pixel"}),
        ["model 'cnn' reads 'pixel' for its input 'x'", "image, pixels, tensor"],
    ),
    "another type along a wire": (
        set_at("steps", 2, "inputs", value={"x": "pixels"}),
        ["model 'cnn' takes FP32 [1, 8, 8] as 'x' and gets UINT8 [8, 8, 1]"],
    ),
    "another size along a wire": (
        set_at("steps", 0, "with", "height", value=9),
        ["takes FP32 [1, 8, 8] as 'x' and gets FP32 [1, 9, 8]"],
    ),
    "another layout": (set_at("steps", 1, "with", "layout", value="HWC"), ["gets FP32 [8, 8, 1]"]),
    "a tensor that the model has not": (
        set_at("steps", 2, "outputs", value={"logit": "logits"}),
        ["model 'cnn' has no output 'logit'", "y, embedding"],
    ),
    "a wire written twice": (
        set_at("steps", 3, "outputs", value={"probabilities": "logits"}),
        ["step 'softmax' writes 'logits', which is written before"],
    ),
    "labels fewer than classes": (
        set_at("steps", 4, "with", "labels", value=["a", "b"]),
        ["step 'top_k_labels' cannot work", "FP32 [3]"],
    ),
    "k larger than the labels": (set_at("steps", 4, "with", "k", value=9), ["k is 9, and there are 3 labels"]),
    "a parameter of another type": (set_at("steps", 0, "with", "height", value="tall"), ["height:"]),
    "a parameter that is missing": (set_at("steps", 1, "with", value={"mean": [0.3]}), ["std: field required"]),
    "an unknown parameter": (set_at("steps", 3, "with", value={"axes": 1}), ["axes:", "did you mean 'axis'?"]),
    "an unknown step": (set_at("steps", 3, "use", value="soft_max"), ["did you mean 'softmax'?"]),
    "an output that no step writes": (set_at("outputs", value=["word"]), ["output 'word'"]),
    "an input as an output": (set_at("outputs", value=["image"]), ["output 'image'"]),
    "an input that no step reads": (
        set_at("inputs", "extra", value={"datatype": "FP32", "dims": [1]}),
        ["input 'extra'"],
    ),
    "an unknown datatype": (set_at("inputs", "image", "datatype", value="STRING"), ["'STRING' is no datatype"]),
    "an unknown key": (set_at("step", value=[]), ["step: there is no such key"]),
    "both a step and a model": (set_at("steps", 3, "model", value="cnn"), ["either `use:`"]),
    "no steps": (set_at("steps", value=[]), ["steps"]),
    "a batch larger than the model's": (set_at("max_batch_size", value=64), ["more than model 'cnn' takes", "16"]),
    "the decoder on pixels": (
        set_at("inputs", "image", value={"datatype": "UINT8", "dims": [8, 8, 1]}),
        ["step 'decode_image' cannot work"],
    ),
    "no step before the model": (drop_step(1), ["reads 'tensor'"]),
}


@pytest.mark.parametrize(("change", "words"), MISTAKES.values(), ids=MISTAKES)
def test_an_impossible_pipeline_is_refused_by_name(compiled, change, words):
    with pytest.raises(PipelineError) as raised:
        compiled(change)
    for word in words:
        assert word in str(raised.value)
    assert raised.value.next_step


def test_a_model_that_is_not_there_lists_those_that_are(compiled):
    with pytest.raises(RepositoryError, match="no model 'cnm'") as raised:
        compiled(set_at("steps", 2, "model", value="cnm"))
    assert "'cnn'" in raised.value.cause


@pytest.mark.parametrize(
    "text",
    [None, "", "- a\n- b\n", "name: [", "\x00", "name: 5"],
    ids=["absent", "empty", "list", "yaml", "nul", "int"],
)
def test_what_is_no_pipeline_file_is_refused(tmp_path, text):
    path = tmp_path / "pipeline.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PipelineError, match=r"pipeline\.yaml"):
        read_pipeline(path)
