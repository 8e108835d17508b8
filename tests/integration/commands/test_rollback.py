# SPDX-License-Identifier: Apache-2.0
"""A pipeline goes back whole: its configuration, the models made for it, its members' versions; or nothing changes."""

import json
import shutil

import numpy as np
import pytest
import yaml

from repo_tool.config import pbtxt
from repo_tool.errors import RepositoryError
from repo_tool.workflows.add_pipeline import AddPipelineRequest, add_pipeline
from repo_tool.workflows.progress import RecordedProgress
from support.command import everything_in, repo_tool

SOFTMAX = {
    "name": "reader",
    "inputs": {"x": {"datatype": "FP32", "dims": [4]}},
    "steps": [{"model": "relu"}, {"use": "softmax", "inputs": {"logits": "y"}}],
    "outputs": ["probabilities"],
    "merge": False,
}
BEST = SOFTMAX | {
    "steps": [*SOFTMAX["steps"], {"use": "top_k_labels", "with": {"labels": ["a", "b", "c", "d"], "k": 1}}],
    "outputs": ["label"],
}


@pytest.fixture(scope="module")
def two_versions(sources, tmp_path_factory):
    """Version 1 over relu/1 tells probabilities, version 2 over relu/2 a label."""
    folder = tmp_path_factory.mktemp("two_versions")
    repository = folder / "models"
    np.savez(folder / "rows.npz", x=np.arange(12, dtype=np.float32).reshape(3, 4))
    for pipeline in (SOFTMAX, BEST):
        added = repo_tool("add-model", sources / "relu.onnx", "--name", "relu", "-r", repository)
        assert added.returncode == 0, added.stderr
        (folder / "reader.yaml").write_text(yaml.safe_dump(pipeline))
        added = repo_tool("add-pipeline", folder / "reader.yaml", "--sample", folder / "rows.npz", "-r", repository)
        assert added.returncode == 0, added.stderr
    return folder


@pytest.fixture
def copied(two_versions, tmp_path):
    """The same in a folder of the test's own."""
    return shutil.copytree(two_versions, tmp_path / "copied")


class Meanwhile(RecordedProgress):
    """Lets somebody else do something before a step begins."""

    def __init__(self, title, do):
        super().__init__()
        self.title, self.do = title, do

    def step(self, title):
        if title == self.title:
            self.do()
        return super().step(title)


def configs(repository):
    return {path.parent.name: pbtxt.parse(path.read_text()) for path in repository.glob("*/config.pbtxt")}


def roll_back(repository, *options):
    return repo_tool("pipeline", "rollback", "reader", "-r", repository, *options)


def test_back_and_forward_again(two_versions):
    repository = two_versions / "models"
    newest = configs(repository)
    done = roll_back(repository, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 1
    old = configs(repository)
    assert [tensor.name for tensor in old["reader"].outputs] == ["probabilities"]
    assert {step.model_name: step.model_version for step in old["reader"].ensemble_steps}["relu"] == 1
    assert old["relu"].version_policy.specific == (1, 2)
    valid = repo_tool("validate", repository, "--live")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    forward = roll_back(repository, "--to", "2")
    assert forward.returncode == 0, forward.stderr
    again = configs(repository)
    assert again["reader"].outputs == newest["reader"].outputs
    assert again["reader"].ensemble_steps == newest["reader"].ensemble_steps


def test_a_version_that_is_not_there_is_refused(two_versions):
    refused = roll_back(two_versions / "models", "--to", "9")
    assert refused.returncode == 2
    assert "no version 9" in refused.stderr


def test_a_model_that_is_no_pipeline_is_refused(two_versions):
    refused = repo_tool("pipeline", "rollback", "relu", "--to", "1", "-r", two_versions / "models")
    assert refused.returncode == 2
    assert "'relu' is no pipeline" in refused.stderr


def test_answers_that_are_no_longer_the_same_change_nothing(two_versions, tmp_path):
    repository = tmp_path / "models"
    shutil.copytree(two_versions / "models", repository)
    sample = repository / "reader" / "1" / "sample.npz"
    rows = dict(np.load(sample))
    changed = {key: array + 1 if "probabilities" in key else array for key, array in rows.items()}
    np.savez(sample, **changed)
    before = everything_in(repository)
    refused = roll_back(repository, "--to", "1")
    assert refused.returncode == 1
    assert "'reader'" in refused.stderr
    assert everything_in(repository) == before


def test_a_member_that_changed_during_the_proof_is_noticed(copied):
    """Its policy no longer loads the version that the pipeline would ask for."""
    repository = copied / "models"
    (copied / "other.yaml").write_text(yaml.safe_dump(BEST | {"name": "other"}))
    request = AddPipelineRequest(file=copied / "other.yaml", sample=copied / "rows.npz", repository=repository)

    def publish_relu():
        shutil.copytree(repository / "relu" / "2", repository / "relu" / "3")

    with pytest.raises(RepositoryError, match="'relu' has been changed meanwhile"):
        add_pipeline(request, Meanwhile("publish", publish_relu))
    assert not (repository / "other").exists()
