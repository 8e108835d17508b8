# SPDX-License-Identifier: Apache-2.0
"""A version that a pipeline was proven with stays loaded when the model gets a further one."""

import pytest

from repo_tool.config import pbtxt
from repo_tool.config.model import EnsembleScheduling, EnsembleStep, ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.repository.layout import ModelRepository
from support.command import repo_tool


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
    assert "the new version of 'relu' has other max batch size" in refused.stderr
    assert "'reader' was proven with" in refused.stderr
    assert (pinned / "relu" / "config.pbtxt").read_bytes() == before
    assert not (pinned / "relu" / "2").exists()
