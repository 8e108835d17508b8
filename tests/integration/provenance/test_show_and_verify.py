# SPDX-License-Identifier: Apache-2.0
"""``repo-tool show`` and ``repo-tool verify`` as a person runs them, against a real server."""

import json
import shutil

import numpy as np
import pytest

from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import write_provenance
from repo_tool.samples import Sample, read_published_sample, write_published_sample
from support.command import repo_tool
from support.package_sources import relu_onnx


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A repository with two versions of `relu`."""
    folder = tmp_path_factory.mktemp("published")
    relu_onnx(folder / "relu.onnx")
    np.save(folder / "rows.npy", np.linspace(-2, 2, 20, dtype=np.float32).reshape(5, 4))
    for _ in range(2):
        done = repo_tool("add-model", "relu.onnx", "--name", "relu", "--sample", "rows.npy", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "model_repository"


@pytest.fixture
def repository(published, tmp_path):
    """A copy of it, to be tampered with."""
    return shutil.copytree(published, tmp_path / "model_repository")


def test_show_tells_where_a_version_came_from(published):
    said = repo_tool("show", "relu", "--repository", published)
    assert said.returncode == 0, said.stderr
    for words in ("relu, version 2", "1, 2", "relu.onnx sha256:", "onnxruntime backend", "rows.npy, 5 rows", "FP32"):
        assert words in said.stdout
    assert "2 as published" in said.stdout


def test_show_gives_everything_as_json(published):
    said = json.loads(repo_tool("show", "relu", "--version", 1, "--json", "--repository", published).stdout)
    assert (said["name"], said["version"], said["versions"]) == ("relu", 1, [1, 2])
    facts = said["provenance"]
    assert facts["files"].keys() == {"model.onnx", "sample.npz"}
    assert facts["files"]["model.onnx"] == facts["source_digest"]
    assert facts["tolerance"] == {"absolute": 1e-4, "relative": 1e-4, "scale": 0.0}
    assert facts["parity"]["outputs"][0]["largest_absolute"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), "no model 'nobody'"),
        (("relu", "--version", 7), "has no version 7"),
    ],
)
@pytest.mark.parametrize("command", ["show", "verify"])
def test_what_is_not_there_is_a_mistake_of_the_person(published, command, arguments, words):
    done = repo_tool(command, *arguments, "--repository", published)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_model_that_others_put_there_has_nothing_to_show(repository):
    ModelRepository(repository).model("relu").provenance_path(2).unlink()
    done = repo_tool("show", "relu", "--repository", repository)
    assert done.returncode == 2
    assert "no readable provenance" in done.stderr


def test_what_was_published_verifies(published):
    done = repo_tool("verify", "relu", "--serve", "--json", "--repository", published)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["equal"], said["version"], said["files"]) == (True, 2, [])
    assert said["parity"]["batch_sizes"] == [1, 2, 3, 32]


def test_files_that_changed_vanished_or_came_are_named(repository):
    version = ModelRepository(repository).model("relu").version_path(2)
    (version / "extra.bin").write_bytes(b"x")
    with (version / "sample.npz").open("ab") as file:
        file.write(b"\0")
    done = repo_tool("verify", "relu", "--serve", "--repository", repository)
    assert done.returncode == 1, done.stderr
    assert "extra.bin was not published with it" in done.stdout
    assert "sample.npz was changed" in done.stdout


def test_an_answer_that_differs_is_found_even_if_the_digests_were_forged(repository):
    model = ModelRepository(repository).model("relu")
    path = model.sample_path(2)
    sample = read_published_sample(path)
    outputs = {name: array + 0.5 for name, array in sample.outputs.items()}
    write_published_sample(path, Sample(inputs=sample.inputs, outputs=outputs))
    facts = json.loads(model.provenance_path(2).read_text())
    del facts["files"], facts["schema"]
    write_provenance(model.provenance_path(2), facts)
    done = repo_tool("verify", "relu", "--serve", "--repository", repository)
    assert done.returncode == 1, done.stderr
    assert "output 'y' differs: by 0.5" in done.stdout


def test_without_a_server_there_is_nothing_to_compare_with(published):
    done = repo_tool("verify", "relu", "--server", "grpc://127.0.0.1:1", "--repository", published)
    assert done.returncode == 2
    assert "no server answers" in done.stderr
