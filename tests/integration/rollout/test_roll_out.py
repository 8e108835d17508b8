# SPDX-License-Identifier: Apache-2.0
"""New versions on a live server: beside the old one, proven, then instead; or the server as it was."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from repo_tool.errors import RollOutError, RollOutUnderWayError
from repo_tool.repository.labels import Labels, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import StagedModel, publish, staging
from repo_tool.repository.stamps import provenance_digest
from repo_tool.workflows.model_on_server import ModelOnServer
from repo_tool.workflows.progress import Progress, RecordedProgress, Step
from repo_tool.workflows.roll_out import RollOutRequest, roll_out
from support.live_roll_outs import Live, live, publish_caller, publish_changed, publish_ensemble
from support.open_loop import OpenLoop, publish_versioned, versioned_graph, versioned_model, with_provenance

_HANGS = b"""import time
import triton_python_backend_utils
class TritonPythonModel:
    def initialize(self, args):
        if args["model_version"] != "1":
            time.sleep(600)  # longer than anybody waits
    def execute(self, requests):
        return []
"""
_ENDS_THE_SERVER = b"""import os
class TritonPythonModel:
    def execute(self, requests):
        os.kill(os.getppid(), 9)
"""


class _Interrupting(RecordedProgress):
    """Does something in the middle of a step."""

    def __init__(self, step: str, act: Callable[[], None]) -> None:
        super().__init__()
        self._step, self._act = step, act

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        with super().step(title) as step:
            if title.startswith(self._step):
                self._act()
            yield step


def _rolled_out(served: Live, progress: Progress, **options: float) -> None:
    request = RollOutRequest(model="m", repository=served.repository.path, label="stable", **options)
    with served.own.connect() as client:
        roll_out(request, client, progress)


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
@pytest.mark.parametrize("from_where", ["own", pytest.param("afar", marks=pytest.mark.slow)])
def test_a_bad_version_leaves_the_server_as_it_was(
    served: Live, files: dict[str, bytes], cause: str, from_where: str
) -> None:
    room = {"trials": None} if from_where == "afar" else {}  # the files are sent
    before = served.served("m")
    publish_changed(served.repository, "m", 2, files=files)
    with OpenLoop(f"grpc://{served.server.grpc_url}", "m", rate=50, seed=4) as load:
        with pytest.raises(RollOutError) as refused:
            served.roll_out("m", label="stable", **room)
        load.wait_for(5)
    assert load.calls.versions == {1}, "it answered somebody who left the version to Triton"
    assert not [*served.server.room.iterdir()]
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
    assert refused.value.restored, refused.value.next_step
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


def test_a_roll_out_that_is_interrupted_leaves_nothing_unproven_and_keeps_others_out(served: Live) -> None:
    publish_versioned(served.repository, "m", 2)
    refused: list[Exception] = []

    def second() -> None:
        try:
            _rolled_out(served, RecordedProgress(), wait_s=0.2)
        except RollOutUnderWayError as error:
            refused.append(error)
        raise KeyboardInterrupt

    progress = _Interrupting("prove", second)
    with pytest.raises(KeyboardInterrupt):
        _rolled_out(served, progress)
    assert "another roll-out of 'm' has not ended" in str(refused[0])
    assert [(step.title, step.detail) for step in progress.steps][-1] == ("restore 'm'", "as it was")
    assert served.versions("m") == [1]
    assert Labels.of(served.repository).versions("m") == {}


@pytest.mark.slow(reason="a server of its own")
def test_what_somebody_else_has_loaded_or_labelled_is_not_unloaded(served: Live) -> None:
    publish_versioned(served.repository, "m", 2)

    def labelled() -> None:
        move(served.repository, "m", "canary", 2)
        raise ValueError("odd")  # what no part of a roll-out should raise

    with pytest.raises(ValueError, match="odd"):
        _rolled_out(served, _Interrupting("prove", labelled))
    assert served.versions("m") == [1, 2]
    publish_versioned(served.repository, "m", 3)
    publish_versioned(served.repository, "m", 4)

    def changed() -> None:
        with served.own.connect() as client:
            server = ModelOnServer(client=client, name="m", timeout_s=20)
            server.load(server.document(), (3,))
        raise RollOutError("it differs")

    with pytest.raises(RollOutError) as refused:
        _rolled_out(served, _Interrupting("prove version 4", changed))
    assert "somebody else has changed it meanwhile: it serves version 3" in refused.value.next_step
    assert not refused.value.restored
    assert served.versions("m") == [3]


@pytest.mark.slow(reason="a server of its own")
def test_a_version_that_ends_the_server_is_told_to_have_done_so(served: Live) -> None:
    publish_versioned(served.repository, "p", 1, delay_s=0.01)
    served.roll_out("p")
    publish_changed(served.repository, "p", 2, files={"2/model.py": _ENDS_THE_SERVER})
    with pytest.raises(RollOutError, match="was not rolled out") as refused:
        served.roll_out("p")
    assert "the server ended meanwhile" in refused.value.cause
    assert refused.value.has_lost_server


@pytest.mark.slow(reason="a server of its own")
def test_a_version_without_rows_is_told_as_unproven(served: Live) -> None:
    with staging(served.repository) as stage:
        directory = versioned_model(stage.repository.path, "m", 2)
        directory.sample_path(2).unlink()
        with_provenance(directory, 2)
        publish([StagedModel(directory=directory, version=2)], served.repository)
    done = served.roll_out("m")
    assert (done.served, done.proven) == ((2,), ())
    assert done.to_dict()["unproven"] == {"2": "it was published without rows to ask for"}
