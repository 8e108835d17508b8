# SPDX-License-Identifier: Apache-2.0
"""``repo-tool show`` and ``repo-tool verify`` as a person runs them, against a real server."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from repo_tool.config import pbtxt
from repo_tool.config.model import VersionPolicy
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import write_provenance
from repo_tool.samples import Sample, read_published_sample, write_published_sample
from repo_tool.triton import EmbeddedServer, ServerOptions
from support.command import REPO_TOOL, environment, repo_tool
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


@pytest.fixture(scope="module")
def server(published):
    """A server of that repository, which loads the newest version of each model."""
    with EmbeddedServer(published, ServerOptions(graceful_stop_s=0)) as running:
        running.load("relu")
        yield running


def test_show_tells_where_a_version_came_from(published):
    said = repo_tool("show", "relu", "--repository", published)
    assert said.returncode == 0, said.stderr
    for words in ("relu, version 2", "1, 2", "relu.onnx sha256:", "onnxruntime backend", "rows.npy, 5 rows", "FP32"):
        assert words in said.stdout
    for words in ("takes │ x", "gives │ y", "repo-tool 0", "5 rows on Triton in batches of 1, 2, 3, 32"):
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


def test_show_says_which_version_is_served(repository):
    config = ModelRepository(repository).model("relu").config_path
    parsed = pbtxt.parse(config.read_text())
    config.write_text(pbtxt.render(replace(parsed, version_policy=VersionPolicy(specific=(1,)))))
    said = repo_tool("show", "relu", "--repository", repository)
    assert "relu, version 2 (not served; served: 1)" in said.stdout
    told = json.loads(repo_tool("show", "relu", "--json", "--repository", repository).stdout)
    assert (told["version"], told["served"]) == (2, [1])


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
    assert "was not published by repo-tool" in done.stderr


def rewrite_provenance(repository, **changes):
    path = ModelRepository(repository).model("relu").provenance_path(2)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("command", ["show", "verify"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "its schema is 2; this repo-tool reads 1"),
        ({"files": ["model.onnx"]}, "'files' is no dict"),
        ({"parity": "fine"}, "'parity' is no dict"),
    ],
)
def test_a_provenance_of_another_make_is_refused(repository, command, changes, words):
    rewrite_provenance(repository, **changes)
    done = repo_tool(command, "relu", "--repository", repository)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr


def test_a_tolerance_of_another_make_is_refused(repository):
    rewrite_provenance(repository, tolerance={"absolute": -1, "percent": 5})
    done = repo_tool("verify", "relu", "--serve", "--repository", repository)
    assert done.returncode == 2, done.stderr
    assert "holds no tolerance" in done.stderr


def test_what_was_never_proven_says_so_and_why(repository, server):
    why = "backend 'fil' is in NVIDIA's image only"
    rewrite_provenance(repository, parity=None, verified=False, unproven=why)
    said = repo_tool("show", "relu", "--repository", repository)
    assert said.returncode == 0, said.stderr
    assert f"NOT PROVEN: {why}" in said.stdout
    assert "gives │ y" in said.stdout
    refused = repo_tool("verify", "relu", "--serve", "--repository", repository)
    assert refused.returncode == 2
    assert why in refused.stderr
    proven = repo_tool("verify", "relu", "--server", f"grpc://{server.grpc_url}", "--repository", repository)
    assert (proven.returncode, proven.stdout.splitlines()[-1]) == (0, "as published")


def test_what_was_published_verifies(published):
    done = repo_tool("verify", "relu", "--serve", "--json", "--repository", published)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["equal"], said["version"], said["files"]) == (True, 2, [])
    assert said["parity"]["batch_sizes"] == [1, 2, 3, 32]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_running_server_is_held_to_it(published, server, protocol):
    url = f"{protocol}://{getattr(server, f'{protocol}_url')}"
    done = repo_tool("verify", "relu", "--server", url, "--json", "--repository", published)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["server"] == url


def test_a_model_that_the_server_has_not_loaded_is_told_from_a_wrong_name(repository, server):
    shutil.copytree(repository / "relu", repository / "late")
    url = f"grpc://{server.grpc_url}"
    for command in ("call", "verify"):
        done = repo_tool(command, "late", "--server", url, "--repository", repository)
        assert done.returncode == 2, done.stderr
        assert "the server has not loaded 'late'" in done.stderr
        assert "repo-tool serve" in done.stderr
        assert "client.admin.load('late')" in " ".join(done.stderr.split())
        assert "check the name" not in done.stderr


def test_a_model_directory_that_is_a_link_verifies(published, tmp_path):
    elsewhere = tmp_path / "model_repository"
    elsewhere.mkdir()
    (elsewhere / "relu").symlink_to(published / "relu")
    done = repo_tool("verify", "relu", "--serve", "--json", "--repository", elsewhere)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["equal"] is True


@pytest.mark.parametrize(("model", "code"), [("relu", 141), ("nobody", 2)])  # 141: as a program ends by SIGPIPE
def test_nobody_reads_the_json_and_success_is_not_claimed(published, model, code):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        done = subprocess.run(
            [REPO_TOOL, "show", model, "--repository", published, "--json"],
            env=environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == code, done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_version_verifies_on_a_server_of_its_own(published):
    done = repo_tool("verify", "relu", "--version", 1, "--serve", "--repository", published)
    assert done.returncode == 0, done.stderr
    assert "relu, version 1" in done.stdout


def test_a_version_that_is_not_loaded_is_told_from_those_that_are(published, server):
    url = f"grpc://{server.grpc_url}"
    done = repo_tool("verify", "relu", "--version", 1, "--server", url, "--repository", published)
    assert done.returncode == 2
    assert "does not serve version 1 of 'relu'" in done.stderr
    assert "it serves version 2" in done.stderr


def test_another_model_of_that_name_is_a_finding(repository, server):
    config = ModelRepository(repository).model("relu").config_path
    config.write_text(config.read_text().replace('name: "y"', 'name: "z"'))
    sample = ModelRepository(repository).model("relu").sample_path(2)
    whole = read_published_sample(sample)
    write_published_sample(sample, Sample(inputs=whole.inputs, outputs={"z": whole.outputs["y"]}))
    done = repo_tool("verify", "relu", "--server", f"grpc://{server.grpc_url}", "--repository", repository)
    assert done.returncode == 1, done.stderr
    assert "output 'y' is FP32 [-1, 4] there, none was published" in done.stdout
    assert "output 'z' is absent there" in done.stdout


def test_altered_files_are_not_run_here(repository):
    model = ModelRepository(repository).model("relu")
    (model.version_path(2) / "model.onnx").write_bytes(b"anything")
    done = repo_tool("verify", "relu", "--serve", "--json", "--repository", repository)
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["files"] == ["model.onnx was changed"]
    assert said["parity"] is None
    assert "is not run on this machine" in said["served"][0]


def test_a_sample_that_is_gone_is_a_finding_too(repository):
    ModelRepository(repository).model("relu").sample_path(2).unlink()
    done = repo_tool("verify", "relu", "--repository", repository)
    assert done.returncode == 1, done.stderr
    assert "sample.npz is missing" in done.stdout


def test_one_server_at_a_time(published):
    done = repo_tool("verify", "relu", "--serve", "--server", "grpc://127.0.0.1:1", "--repository", published)
    assert done.returncode == 2
    assert "--serve contradicts --server" in done.stderr


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
    assert "output 'y' differs by up to 0.5" in done.stdout


def test_without_a_server_there_is_nothing_to_compare_with(published):
    done = repo_tool("verify", "relu", "--server", "grpc://127.0.0.1:1", "--repository", published)
    assert done.returncode == 2
    assert "no server answers" in done.stderr
