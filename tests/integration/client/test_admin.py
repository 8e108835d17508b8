# SPDX-License-Identifier: Apache-2.0
"""The management of a real server, by all four clients."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repo_client import (
    Admin,
    Client,
    ClosedClientError,
    DeadlineExceededError,
    DynamicBatching,
    EnsembleStep,
    InputError,
    InstanceGroup,
    LoadRefusedError,
    ModelNotFoundError,
    SequenceBatching,
    TensorConfig,
    VersionPolicy,
)
from repo_tool.triton.ports import free_ports
from repo_tool.triton.server import EmbeddedServer, ServerOptions

X = np.zeros((3, 2), np.float32)
PLUS_SEVEN = b"""
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array + 7)]) for array in arrays]
"""


@pytest.fixture(scope="module")
def admin_repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("admin") / "repository"
    shutil.copytree(Path(__file__).parent / "admin_repository", path)
    return path


@pytest.fixture(scope="module")
def admin_server(admin_repository):
    with EmbeddedServer(admin_repository, ServerOptions(graceful_stop_s=0)) as server:
        outcomes = server.load_all(["chain", "counter", "ticker", "lone"])
        assert [outcome.refusal for outcome in outcomes] == [None] * 4
        yield server


@pytest.fixture
def client(admin_server, opener, variant):
    return opener.open(variant, grpc_url=admin_server.grpc_url, http_url=admin_server.http_url)


@pytest.fixture
def admin(client):
    return client.admin


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_the_server_tells_what_it_is(admin):
    server = admin.server_metadata()
    assert (server.name, server.version.split(".")[0]) == ("triton", "2")
    assert {"statistics", "model_configuration", "system_shared_memory"} <= set(server.extensions)


def test_a_configuration_is_typed_and_the_same_over_every_protocol(admin):
    config = admin.config("plus_one")
    assert (config.name, config.platform, config.backend, config.max_batch_size) == ("plus_one", "", "python", 8)
    assert config.inputs == (TensorConfig(name="x", datatype="FP32", dims=(2,)),)
    assert config.outputs == (TensorConfig(name="y", datatype="FP32", dims=(2,), label_filename="labels.txt"),)
    assert config.instance_groups == (InstanceGroup(name="plus_one_0", kind="KIND_CPU", count=1),)
    assert config.version_policy == VersionPolicy(kind="specific", versions=("1", "2"))
    assert config.dynamic_batching == DynamicBatching(
        preferred_batch_sizes=(4, 8), max_queue_delay_us=100, priority_levels=2, default_priority_level=1
    )
    assert (config.sequence_batching, config.ensemble_steps, config.decoupled) == (None, (), False)
    assert (config.response_cache, config.default_model_filename) == (False, "model.py")
    assert config.parameters == {"colour": "blue"}
    assert config.document["optimization"]["input_pinned_memory"] == {"enable": True}


def test_a_configuration_tells_ensembles_sequences_and_decoupled_models(admin):
    chain, counter, ticker = map(admin.config, ("chain", "counter", "ticker"))
    assert chain.platform == "ensemble"
    assert chain.ensemble_steps == (
        EnsembleStep(model="plus_one", version="1", input_map={"x": "x"}, output_map={"y": "half"}),
        EnsembleStep(model="plus_one", version="", input_map={"x": "half"}, output_map={"y": "y"}),
    )
    assert chain.instance_groups == ()
    assert counter.sequence_batching == SequenceBatching(strategy="oldest", max_sequence_idle_us=5_000_000)
    assert counter.instance_groups == (InstanceGroup(name="both", kind="KIND_CPU", count=2),)
    assert counter.inputs == (TensorConfig(name="x", datatype="BYTES", dims=(-1,), optional=True),)
    assert (ticker.decoupled, ticker.max_batch_size, ticker.dynamic_batching) == (True, 0, None)
    assert ticker.version_policy == VersionPolicy(kind="latest", latest=1)


def test_a_configuration_of_no_model_is_an_error(admin):
    with pytest.raises(ModelNotFoundError, match="nothing_here"):
        admin.config("nothing_here")


def test_statistics_count_rows_batches_and_their_sizes(client):
    before = {batch.batch_size: batch.compute_infer.count for batch in _statistics(client, "2").batches}
    rows = _statistics(client, "2").inference_count
    client.model("plus_one", version=2).infer({"x": X})
    until(lambda: _statistics(client, "2").inference_count == rows + 3)
    after = _statistics(client, "2")
    assert {batch.batch_size: batch.compute_infer.count for batch in after.batches} == before | {
        3: before.get(3, 0) + 1
    }
    assert after.success.count >= 1
    assert after.compute_infer.mean_ms > 0
    assert after.last_inference_ms > 1_600_000_000_000
    assert (after.fail.count, after.fail.mean_ms, after.cache_hit.count, after.responses) == (0, 0.0, 0, ())


def _statistics(client, version):
    return client.admin.statistics("plus_one", version=version)[0]


def test_statistics_of_all_models_at_once(admin):
    entries = {(entry.name, entry.version) for entry in admin.statistics()}
    assert {("chain", "1"), ("plus_one", "1"), ("plus_one", "2"), ("ticker", "1")} <= entries
    with pytest.raises(InputError, match="of no model"):
        admin.statistics(version=1)


@pytest.fixture
def lone(client):
    """The name of a model that is loaded as it was in the end."""
    yield "lone"
    client.admin.unload("lone")  # without this, an unchanged folder is not read again
    client.admin.load("lone")
    assert client.admin.config("lone").max_batch_size == 8


def test_a_model_is_loaded_with_another_configuration(client, lone):
    config = client.admin.config(lone)
    client.admin.load(lone, config={**config.document, "max_batch_size": 9})
    assert client.admin.config(lone) == replace(config, max_batch_size=9)
    assert client.model(lone).signature.max_batch_size == 9


def test_a_model_is_loaded_with_other_files(client, lone):
    config = client.admin.config(lone).document
    client.admin.unload(lone)  # without this, instances of an unchanged configuration go on as they are
    client.admin.load(lone, config=config, files={"1/model.py": PLUS_SEVEN, "labels.txt": b"up\nmore\n"})
    np.testing.assert_array_equal(client.model(lone).infer({"x": X})["y"], X + 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": {"1/model.py": b""}}, "files without a configuration"),
        ({"config": {}, "files": {"1/../../model.py": b""}}, r"'1/\.\./\.\./model\.py' is no path in its folder"),
        ({"config": {}, "files": {"/etc/passwd": b""}}, "'/etc/passwd' is no path in its folder"),
        ({"config": {}, "files": {"": b""}}, "is no path in its folder"),
    ],
)
def test_files_that_no_model_can_have_are_refused(admin, options, message):
    with pytest.raises(InputError, match=message):
        admin.load("lone", **options)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"backend": "no_such_backend", "max_batch_size": 1}, "no_such_backend"),
        (
            {"max_batch_size": 4, "dynamic_batching": {"preferred_batch_size": [5]}},
            "failed to poll from model repository",
        ),
        ("no JSON", "failed to poll from model repository"),
    ],
)
def test_a_refused_configuration_leaves_what_was_loaded(client, config, words):
    with pytest.raises(LoadRefusedError) as caught:
        client.admin.load("lone", config=config)
    assert words in caught.value.server_words
    np.testing.assert_array_equal(client.model("lone").infer({"x": X})["y"], X + 1)


def test_an_ensemble_is_unloaded_with_or_without_its_models(admin):
    def ready():
        return {entry.name for entry in admin.repository_index() if entry.is_ready}

    admin.load("chain")
    admin.unload("chain")
    until(lambda: "chain" not in ready())
    assert "plus_one" in ready()
    admin.load("chain")
    admin.unload("chain", dependents=True)
    until(lambda: not ready() & {"chain", "plus_one"})
    admin.load("chain")
    admin.wait_until_model_ready("chain", timeout_s=10)


def test_waiting_for_a_model_ends_when_it_is_loaded(admin, admin_server):
    admin.wait_until_model_ready("plus_one", timeout_s=10, version=2)
    assert admin.is_model_ready("plus_one", version=1)


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [("nothing_here", None, "the repository has no such model"), ("plus_one", 3, "it is not loaded")],
)
def test_waiting_for_a_model_ends_at_the_deadline_and_says_why(admin, name, version, words):
    with pytest.raises(DeadlineExceededError, match=rf"'{name}' was not ready after 0\.2 s: {words}") as caught:
        admin.wait_until_model_ready(name, timeout_s=0.2, version=version)
    assert (caught.value.model, caught.value.server_words) == (name, words)


def test_waiting_for_a_model_of_no_server_says_so():
    url = f"grpc://127.0.0.1:{free_ports(1)[0]}"
    with Admin(url) as admin, pytest.raises(DeadlineExceededError, match="the server does not answer"):
        admin.wait_until_model_ready("plus_one", timeout_s=0.2)


def test_an_admin_has_a_connection_of_its_own_or_its_clients(admin_server):
    url = f"grpc://{admin_server.grpc_url}"
    with Admin(url) as admin:
        assert admin.is_ready()
    with pytest.raises(ClosedClientError, match="is closed"):
        admin.is_ready()
    with Client(url) as client:
        with client.admin as lent:
            assert lent.is_live()
        assert client.is_ready()
        kept = client.admin
    with pytest.raises(ClosedClientError, match="is closed"):
        kept.is_live()
