# SPDX-License-Identifier: Apache-2.0
"""``add-model --variants``: what is written beside config.pbtxt, what a real Triton makes of it, how it is renewed."""

import json
import shutil

import pytest
from tritonclient import grpc

from repo_tool.repository.layout import ModelRepository
from repo_tool.triton import EmbeddedServer, ServerOptions
from support.command import everything_in, repo_tool


@pytest.fixture(scope="module")
def with_variants(sources, tmp_path_factory):
    """A repository with `relu` and its variants, and what add-model said."""
    repository = tmp_path_factory.mktemp("variants") / "model_repository"
    done = repo_tool(
        *("add-model", sources / "relu.onnx", "-n", "relu", "-r", repository, "--variants", "--cores", 2, "--json")
    )
    assert done.returncode == 0, done.stderr
    return repository, json.loads(done.stdout)


def test_both_are_written_and_keep_every_rule(with_variants):
    repository, said = with_variants
    assert said["variants"] == ["cpu", "gpu"]
    assert ModelRepository(repository).model("relu").variants() == ("cpu", "gpu")
    done = repo_tool("validate", repository, "--strict")
    assert done.returncode == 0, done.stdout


def test_triton_serves_the_cpu_variant_where_it_is_told_to(with_variants):
    options = ServerOptions(graceful_stop_s=0, model_config_name="cpu")
    with EmbeddedServer(with_variants[0], options) as server:
        assert [outcome.is_ready for outcome in server.load_all()] == [True]
        with grpc.InferenceServerClient(server.grpc_url) as client:
            served = client.get_model_config("relu").config
    assert served.instance_group[0].kind == served.instance_group[0].KIND_CPU
    assert [warmup.batch_size for warmup in served.model_warmup] == [1, 32]


def test_triton_reads_the_gpu_variant_and_refuses_it_only_for_want_of_a_gpu(with_variants):
    options = ServerOptions(graceful_stop_s=0, model_config_name="gpu")
    with EmbeddedServer(with_variants[0], options) as server:
        (outcome,) = server.load_all()
    assert "no GPUs are available" in outcome.reason


def test_a_further_version_renews_them_and_leaves_those_of_a_person(with_variants, sources, tmp_path):
    repository = tmp_path / "model_repository"
    shutil.copytree(with_variants[0], repository)
    model = ModelRepository(repository).model("relu")
    model.variant_path("mine").write_text(model.config_path.read_text())
    done = repo_tool("add-model", sources / "relu.onnx", "-n", "relu", "-r", repository, "--max-batch-size", 4)
    assert done.returncode == 0, done.stderr
    assert model.versions() == (1, 2)
    sizes = {name: model.read_config(name).max_batch_size for name in ("", "cpu", "gpu", "mine")}
    assert sizes == {"": 4, "cpu": 4, "gpu": 4, "mine": 32}
    assert "x:4x4" in model.variant_path("gpu").read_text()


def test_a_field_that_is_set_is_served_by_the_variants_too(with_variants, tmp_path):
    repository = tmp_path / "model_repository"
    shutil.copytree(with_variants[0], repository)
    done = repo_tool("config", "relu", "-r", repository, "--set", "max_batch_size=64")
    assert done.returncode == 0, done.stderr
    assert "kept" not in done.stderr
    model = ModelRepository(repository).model("relu")
    assert "x:64x4" in model.variant_path("gpu").read_text()
    done = repo_tool("validate", repository, "--strict")
    assert done.returncode == 0, done.stdout
    options = ServerOptions(graceful_stop_s=0, model_config_name="cpu")
    with EmbeddedServer(repository, options) as server:
        assert [outcome.is_ready for outcome in server.load_all()] == [True]
        with grpc.InferenceServerClient(server.grpc_url) as client:
            assert client.get_model_config("relu").config.max_batch_size == 64


def test_a_release_that_never_reads_them_is_named(sources, tmp_path):
    done = repo_tool(
        *("add-model", sources / "relu.onnx", "-n", "relu", "--variants", "--release", "24.04"), cwd=tmp_path
    )
    assert done.returncode == 2
    assert "--model-config-name came with 24.05" in done.stderr
    assert everything_in(tmp_path) == {}


def test_serve_names_the_models_that_lack_the_variant(with_variants, tmp_path):
    empty = tmp_path / "models"
    (empty / "plain").mkdir(parents=True)
    done = repo_tool(
        *("serve", empty, "--model-config-name", "gpu", "--http-port", 0, "--grpc-port", 0, "--metrics-port", 0)
    )
    assert done.returncode == 1
    assert "without configs/gpu.pbtxt, served by config.pbtxt: plain" in done.stderr
