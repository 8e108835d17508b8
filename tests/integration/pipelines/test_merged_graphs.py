# SPDX-License-Identifier: Apache-2.0
"""The demo's models merged with the steps around them, on a real server: they answer as stage after stage."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc

from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.placement import PartKind
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import StepStage
from repo_tool.releases import known_releases, release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules.diagnostics import Severity
from repo_tool.rules.validation import validate
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.workflows.pipeline_staging import write_pipeline
from support.inference import infer

DEMO = Path(__file__).resolve().parents[3] / "model_repository"
RANDOM = np.random.default_rng(17)
DIGITS = [str(digit) for digit in range(10)]
PIXELS = {"pixels": {"datatype": "UINT8", "dims": [8, 8, 1]}}
ROWS = 5


def normalise(layout, **renamed):
    return {
        "use": "normalise",
        "with": {"mean": [0.305], "std": [0.376], "layout": layout},
        "outputs": renamed or {"tensor": "tensor"},
    }


def top(probabilities, prefix=""):
    names = ("label", "probability", "top_labels", "top_probabilities")
    return {
        "name": f"{prefix}top",
        "use": "top_k_labels",
        "with": {"labels": DIGITS},
        "inputs": {"probabilities": probabilities},
        "outputs": {name: f"{prefix}{name}" for name in names},
    }


def rows_of(pipeline):
    """Random ones, some numbers missing."""
    ((name, declared),) = pipeline["inputs"].items()
    shape = (ROWS, *declared["dims"])
    if declared["datatype"] == "UINT8":
        return {name: RANDOM.integers(0, 256, shape, dtype=np.uint8)}
    table = RANDOM.normal(0, 0.05, shape).astype(np.float32)
    table[RANDOM.random(shape) < 0.1] = np.nan
    return {name: table}


PIPELINES = {
    "convolutional": {
        "inputs": PIXELS,
        "steps": [
            normalise("CHW"),
            {"model": "digits_cnn", "inputs": {"image": "tensor"}, "outputs": {"output": "logits"}},
            {"use": "softmax"},
            top("probabilities"),
        ],
        "outputs": ["label", "top_probabilities"],
    },
    "tumour": {
        "inputs": {"table": {"datatype": "FP32", "dims": [30]}},
        "steps": [
            {"use": "impute", "with": {"values": [1.5] * 30}},
            {"model": "breast_cancer", "inputs": {"features": "imputed"}, "outputs": {"label": "class"}},
            {
                "use": "top_k_labels",
                "with": {"labels": ["malignant", "benign"], "k": 1},
            },
        ],
        "outputs": ["class", "label", "probabilities"],
    },
    "progress": {
        "inputs": {"table": {"datatype": "FP32", "dims": [10]}},
        "steps": [
            {"use": "impute", "with": {"values": [0.01] * 10}},
            {"model": "diabetes", "inputs": {"features": "imputed"}},
            {"use": "round", "with": {"decimals": 1}, "inputs": {"values": "prediction"}},
        ],
        "outputs": ["rounded"],
    },
    "two_readers": {
        "inputs": PIXELS,
        "steps": [
            normalise("CHW"),
            {"name": "last", **normalise("HWC", tensor="channels_last")},
            {"model": "digits_cnn", "inputs": {"image": "tensor"}, "outputs": {"output": "logits"}},
            {"model": "digits_keras", "inputs": {"image": "channels_last"}},
            {"use": "softmax"},
            top("probabilities"),
        ],
        "outputs": ["label", "output_0"],
    },
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merged") / "models"
    for name in ("digits_cnn", "digits_keras", "breast_cancer", "diabetes"):
        shutil.copytree(DEMO / name, folder / name)
    return ModelRepository(folder)


@pytest.fixture(scope="module")
def compiled(repository):
    made = {}
    for name, pipeline in PIPELINES.items():
        made[name] = compile_pipeline(PipelineFile.model_validate({"name": name, **pipeline}), repository)
        write_pipeline(repository, made[name], 1, repository)
    return made


@pytest.fixture(scope="module")
def client(repository, compiled):
    with EmbeddedServer(repository.path, ServerOptions(graceful_stop_s=0)) as server:
        refused = {outcome.model: outcome.reason for outcome in server.load_all() if not outcome.is_ready}
        assert refused == {}
        with grpc.InferenceServerClient(server.grpc_url) as connected:
            yield connected


def stage_after_stage(stages, client, tensors):
    for stage in stages:
        given = {tensor: tensors[wire] for tensor, wire in stage.inputs.items()}
        found = stage.step.run(given) if isinstance(stage, StepStage) else infer(client, stage.config.name, given)
        tensors = tensors | {wire: found[tensor] for tensor, wire in stage.outputs.items()}
    return tensors


@pytest.mark.parametrize("name", PIPELINES)
def test_it_is_one_model_that_answers_as_its_stages_do(compiled, client, name):
    assert [part.kind for part in compiled[name].parts] == [PartKind.GRAPH]
    rows = rows_of(PIPELINES[name])
    wanted = stage_after_stage(compiled[name].stages, client, rows)
    found = infer(client, name, rows)
    assert sorted(found) == sorted(PIPELINES[name]["outputs"])
    for output, array in found.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(array, wanted[output], rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(array, wanted[output])


@pytest.mark.parametrize("name", PIPELINES)
def test_a_row_alone_gets_the_answer_that_it_gets_in_a_batch(client, name, compiled):
    rows = rows_of(PIPELINES[name])
    together = infer(client, name, rows)
    for row in range(ROWS):
        alone = infer(client, name, {tensor: array[row : row + 1] for tensor, array in rows.items()})
        for output, array in alone.items():
            if array.dtype.kind == "f":
                np.testing.assert_allclose(array[0], together[output][row], rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(array[0], together[output][row])


def test_every_release_that_loads_the_models_loads_what_is_merged_of_them(repository, compiled):
    for name in known_releases():
        found = validate(repository, release=release(name))
        errors = {each.model for each in found if each.severity is Severity.ERROR}
        for pipeline, made in compiled.items():
            assert pipeline not in errors or errors & set(made.member_names), name
