# SPDX-License-Identifier: Apache-2.0
"""New versions on a live server: beside the old one, proven, then instead; or the server as it was."""

import re

import pytest

from repo_tool.errors import RollOutError
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.stamps import provenance_digest
from support.live_roll_outs import Live, live, publish_caller, publish_changed, publish_ensemble
from support.open_loop import OpenLoop, publish_versioned, versioned_graph

_HANGS = b"""import time
import triton_python_backend_utils
class TritonPythonModel:
    def initialize(self, args):
        if args["model_version"] != "1":
            time.sleep(600)  # longer than anybody waits
    def execute(self, requests):
        return []
"""


def _config(*, datatype: str = "FP32", max_batch_size: int = 8) -> bytes:
    return (
        f'name: "m" backend: "onnxruntime" max_batch_size: {max_batch_size}\n'
        f'input [ {{ name: "x" data_type: TYPE_{datatype} dims: [ 4 ] }} ]\n'
        'output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
    ).encode()


@pytest.mark.slow(reason="two roll-outs under load")
def test_a_new_version_takes_over_and_no_request_fails(served: Live) -> None:
    url = f"grpc://{served.server.grpc_url}"
    with (
        OpenLoop(url, "m", rate=80, seed=1) as to_the_newest,
        OpenLoop(url, "m", rate=80, seed=2, label="stable", labels=_labelled(served)) as by_label,
    ):
        for version in (2, 3):
            publish_versioned(served.repository, "m", version)
            done = served.roll_out("m", label="stable")
            assert (done.before, done.served, done.proven) == ((version - 1,), (version,), (version,))
            assert Labels.of(served.repository).versions("m") == {"stable": version}
        by_label.wait_for(20)
    for load in (to_the_newest, by_label):
        assert not load.calls.failed
        assert load.calls.versions == {1, 2, 3}
    assert served.versions("m") == [3]
    assert served.served("m") == {"provenance.3": provenance_digest(served.repository.model("m"), 3)}
    assert served.becomes_ready()


def _labelled(served: Live) -> object:
    served.roll_out("m", label="stable")
    return served.repository.path


@pytest.mark.slow(reason="answers that take half a second")
def test_requests_in_flight_on_the_old_version_are_finished(repository: ModelRepository) -> None:
    publish_versioned(repository, "slow", 1, delay_s=0.5)
    with live(repository) as served:
        publish_versioned(repository, "slow", 2, delay_s=0.01)
        url = f"grpc://{served.server.grpc_url}"
        with OpenLoop(url, "slow", rate=20, seed=3, version=1, timeout_s=20) as load:
            load.wait_for(1)
            load.stop()
            in_flight = load.calls.sent
            served.roll_out("slow")
        assert in_flight > 2
        assert load.calls.answered == in_flight
        assert served.versions("slow") == [2]


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        ({"2/model.onnx": b"not a graph"}, "failed:Protobuf parsing failed"),
        pytest.param(
            {"2/model.onnx": versioned_graph(7).SerializeToString()},
            "differs from version 2 as published",
            marks=pytest.mark.slow,
        ),
        pytest.param({"config.pbtxt": _config(datatype="INT32")}, "TYPE_INT32 for input 'x'", marks=pytest.mark.slow),
        pytest.param({"config.pbtxt": _config(max_batch_size=-1)}, "max_batch_size", marks=pytest.mark.slow),
    ],
    ids=["not a model", "other answers", "another type", "a bad configuration"],
)
def test_a_bad_version_leaves_the_server_as_it_was(served: Live, files: dict[str, bytes], cause: str) -> None:
    before = served.served("m")
    publish_changed(served.repository, "m", 2, files=files)
    with OpenLoop(f"grpc://{served.server.grpc_url}", "m", rate=50, seed=4, version=1) as load:
        with pytest.raises(RollOutError) as refused:
            served.roll_out("m", label="stable")
        load.wait_for(5)
    assert cause in refused.value.cause
    assert "version 1 serves as before" in refused.value.next_step
    assert refused.value.restored
    assert not load.calls.failed
    assert served.versions("m") == [1]
    assert served.served("m") == before
    assert Labels.of(served.repository).versions("m") == {}
    assert served.becomes_ready()


def test_a_file_that_is_not_the_published_one_is_named_and_nothing_is_loaded(served: Live) -> None:
    publish_versioned(served.repository, "m", 2)
    file = served.repository.model("m").version_path(2) / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RollOutError, match="'m' was not rolled out") as refused:
        served.roll_out("m")
    assert str(file) in refused.value.cause
    assert served.versions("m") == [1]


def test_a_configuration_that_would_reach_a_shell_is_not_given_to_triton(served: Live) -> None:
    config = served.repository.model("m").config_path
    config.write_text(config.read_text().replace("kind: KIND_CPU", 'name: "m; touch /tmp/owned" kind: KIND_CPU'))
    with pytest.raises(RollOutError, match="was not rolled out") as refused:
        served.roll_out("m")
    assert "into a shell command" in refused.value.cause


@pytest.mark.slow(reason="waits for what hangs")
def test_a_version_that_hangs_is_given_up_and_the_old_one_serves(served: Live) -> None:
    publish_versioned(served.repository, "p", 1, delay_s=0.01)
    served.roll_out("p")
    publish_changed(served.repository, "p", 2, files={"2/model.py": _HANGS})
    with pytest.raises(RollOutError, match="was not rolled out") as refused:
        served.roll_out("p", timeout_s=2, abandon=served.own.abandon)
    assert "has not come to an end with 'p' within 2 s" in refused.value.cause
    assert refused.value.restored
    assert served.versions("p") == [1]
    assert served.added("p") == 1
    assert served.becomes_ready()


@pytest.mark.slow(reason="a server of its own")
def test_a_new_model_that_does_not_load_leaves_nothing_behind(served: Live) -> None:
    publish_versioned(served.repository, "other", 1)
    publish_changed(served.repository, "other", 2, files={"2/model.onnx": b"not a graph"})
    with pytest.raises(RollOutError, match=re.escape("'other' was not rolled out")):
        served.roll_out("other")
    assert served.versions("other") == []
    assert served.becomes_ready()


def test_an_ensemble_and_its_member_change_together(repository: ModelRepository) -> None:
    publish_versioned(repository, "m", 1, delay_s=0.001)  # in Python, which writes bytecode into its folder
    publish_ensemble(repository, "e", 1, member="m")
    with live(repository) as served:
        with served.following():
            pass  # it tells the server by number what it serves
        publish_versioned(repository, "m", 2, delay_s=0.001)
        with pytest.raises(RollOutError, match="was not rolled out") as refused:
            served.roll_out("m")
        assert "version 1 of 'm' would go, and 'e' asks for it" in refused.value.cause
        publish_ensemble(repository, "e", 2, member="m")
        with OpenLoop(f"grpc://{served.server.grpc_url}", "e", rate=50, seed=5) as load:
            done = served.roll_out("e")
            load.wait_for(5)
        assert done.models == ("m", "e")
        assert not load.calls.failed
        assert load.calls.versions == {1, 2}
        assert (served.versions("m"), served.versions("e")) == ([2], [2])


@pytest.mark.slow(reason="a server of its own")
def test_an_ensemble_that_answers_otherwise_never_serves(served: Live) -> None:
    publish_ensemble(served.repository, "e", 1, member="m")
    served.roll_out("e")
    publish_versioned(served.repository, "m", 2)
    publish_ensemble(served.repository, "e", 2, member="m", published=9)
    with OpenLoop(f"grpc://{served.server.grpc_url}", "e", rate=50, seed=6) as load:
        with pytest.raises(RollOutError, match="'e' was not rolled out") as refused:
            served.roll_out("e")
        load.wait_for(5)
    assert "differs from version 2 as published" in refused.value.cause
    assert refused.value.restored
    assert not load.calls.failed
    assert load.calls.versions == {1}
    assert (served.versions("m"), served.versions("e")) == ([1], [1])
    assert served.becomes_ready()


@pytest.mark.slow(reason="a server of its own")
def test_a_model_that_calls_its_member_changes_over_with_it_or_comes_back(served: Live) -> None:
    publish_caller(served.repository, "b", 1, member="m")
    served.roll_out("b")
    publish_versioned(served.repository, "m", 2)
    publish_caller(served.repository, "b", 2, member="m", published=9)
    with OpenLoop(f"grpc://{served.server.grpc_url}", "m", rate=50, seed=7, version=1) as load:
        with pytest.raises(RollOutError, match="'b' was not rolled out") as refused:
            served.roll_out("b")
        load.wait_for(5)
    assert refused.value.restored
    assert not load.calls.failed
    assert (served.added("b"), served.versions("m"), served.versions("b")) == (1, [1], [1])
    publish_caller(served.repository, "b", 3, member="m", published=3)
    publish_versioned(served.repository, "m", 3)
    with OpenLoop(f"grpc://{served.server.grpc_url}", "b", rate=50, seed=8) as load:
        assert served.roll_out("b").models == ("m", "b")
        load.wait_for(5)
    assert not load.calls.failed
    assert load.calls.versions == {1, 3}
    assert (served.added("b"), served.versions("m"), served.versions("b")) == (3, [3], [3])
