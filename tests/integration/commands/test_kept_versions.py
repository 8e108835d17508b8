# SPDX-License-Identifier: Apache-2.0
"""A version that a pipeline was proven with stays loaded when the model gets a further one."""

import json

import numpy as np
import pytest

from repo_tool.config import pbtxt
from repo_tool.config.model import EnsembleScheduling, EnsembleStep, ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.repository.layout import ModelRepository
from support.command import repo_tool

CASCADE = """
name: cascade
inputs: {x: {datatype: FP32, dims: [4]}, is_hard: {datatype: BOOL, dims: [1]}}
steps:
  - when: {wire: is_hard, otherwise: {found: {wire: x}}}
    steps: [{model: relu, outputs: {y: found}}]
    outputs: {found: y}
outputs: [y]
"""


def tensor(name):
    return ModelTensor(name=name, datatype=DataType.FP32, dims=(4,))


@pytest.fixture
def pinned(sources, tmp_path):
    """A repository with version 1 of a model, and an ensemble that asks for it by number."""
    repository = tmp_path / "models"
    repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "-r", repository)
    step = EnsembleStep(model_name="relu", model_version=1, input_map={"x": "x"}, output_map={"y": "y"})
    ensemble = ModelConfig(
        name="reader",
        platform="ensemble",
        max_batch_size=ModelRepository(repository).model("relu").read_config().max_batch_size,
        inputs=(tensor("x"),),
        outputs=(tensor("y"),),
        ensemble_scheduling=EnsembleScheduling(steps=(step,)),
    )
    (repository / "reader" / "1").mkdir(parents=True)
    (repository / "reader" / "config.pbtxt").write_text(pbtxt.render(ensemble))
    return repository


def test_a_version_that_a_pipeline_pins_is_served_beside_the_new_one(sources, pinned):
    added = repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "-r", pinned)
    assert added.returncode == 0, added.stderr
    text = (pinned / "relu" / "config.pbtxt").read_text()
    assert pbtxt.parse(text).version_policy.specific == (1, 2)
    assert "# Version 1 is what 'reader' was proven with." in text
    validated = repo_tool("validate", pinned, "--live")
    assert validated.returncode == 0, validated.stdout + validated.stderr


def test_a_new_version_that_takes_something_else_is_refused(sources, pinned):
    before = (pinned / "relu" / "config.pbtxt").read_bytes()
    refused = repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "--max-batch-size", "7", "-r", pinned)
    assert refused.returncode == 2
    assert "the new version of 'relu' has other max batch size: " in refused.stderr
    assert "'reader' was proven with" in refused.stderr
    assert (pinned / "relu" / "config.pbtxt").read_bytes() == before
    assert not (pinned / "relu" / "2").exists()


@pytest.mark.slow(reason="two pipelines are published and proven")
def test_a_version_that_a_block_calls_is_served_beside_the_new_one(sources, tmp_path):
    repository, file = tmp_path / "models", tmp_path / "cascade.yaml"
    repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "-r", repository)
    file.write_text(CASCADE)
    np.savez(tmp_path / "rows.npz", x=np.full((3, 4), -1, np.float32), is_hard=np.array([[True], [False], [True]]))
    piped = repo_tool("add-pipeline", file, "--sample", tmp_path / "rows.npz", "-r", repository)
    assert piped.returncode == 0, piped.stderr
    added = repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "-r", repository)
    assert added.returncode == 0, added.stderr
    config = repository / "relu" / "config.pbtxt"
    assert pbtxt.parse(config.read_text()).version_policy.specific == (1, 2)
    assert "# Version 1 is what 'cascade' was proven with." in config.read_text()
    assert errors_of(repository) == []
    config.write_text(config.read_text().replace("[ 1, 2 ]", "[ 2 ]"))
    assert errors_of(repository) == ["ENS122"]


def errors_of(repository):
    found = json.loads(repo_tool("validate", repository, "--json").stdout)
    return [each["code"] for each in found["diagnostics"] if each["severity"] == "error"]
