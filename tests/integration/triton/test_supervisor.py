# SPDX-License-Identifier: Apache-2.0
"""What a supervisor brings back: dead and stopped stubs, a dead server, in the versions that were served."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from tritonclient import grpc

from repo_tool.errors import LoadRefusedError, ServerStartError
from repo_tool.triton import EmbeddedServer, ServerOptions, Supervisor
from repo_tool.triton.events import EventKind
from repo_tool.triton.stub_processes import stubs_of
from repo_tool.workflows.serve_repository import RepositoryService, ServeRequest
from support.arrays import assert_same
from support.inference import infer
from support.onnx_cases import LINEAR, ROWS, WEIGHTS, Y2, Case, X, config, linear
from support.supervised_service import wait_for

AT_ONCE = ServerOptions(graceful_stop_s=0)
GOOD = Case("good", linear(), LINEAR.replace("count: 1", "count: 2"))
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 4
input { name: "rows" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] }
ensemble_scheduling { step {
  model_name: "good" model_version: -1
  input_map { key: "x" value: "rows" }
  output_map { key: "y" value: "scores" }
} }
"""
MORTAL = """
import os
class TritonPythonModel:
    def execute(self, requests):
        os._exit(3)
"""
TALKATIVE = """
class TritonPythonModel:
    def initialize(self, args):
        for _ in range(40 << 10):
            print("-" * 1023, flush=True)
    def execute(self, requests):
        return []
"""
HANGING = """
import threading
class TritonPythonModel:
    def execute(self, requests):
        threading.Event().wait()  # for what never comes
"""


class Told:
    """What a supervisor has told, and waiting for more."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        self.events.append(event)

    def count(self, kind):
        return sum(event.to_dict()["event"] == kind for event in self.events)

    def wait_for(self, kind, count=1):
        wait_for(lambda: self.count(kind) >= count, timeout_s=60, what=lambda: f"{kind}: {self.events}")
        return next(event for event in self.events if event.to_dict()["event"] == kind)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    GOOD.write(folder)
    Case("chain", None, ENSEMBLE).write(folder)
    return folder


def write_python(repository, name, code):
    Case(name, None, config([X], [Y2]).replace("onnxruntime", "python")).write(repository)
    (repository / name / "1" / "model.py").write_text(code)


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def supervised(repository, told):
    with EmbeddedServer(repository, AT_ONCE) as server, Supervisor(server, on_event=told) as supervisor:
        assert all(outcome.is_ready for outcome in server.load_all())
        wait_for(lambda: supervisor.knows("good"))
        yield server


def ask(server, model="chain"):
    name = "rows" if model == "chain" else "x"
    with grpc.InferenceServerClient(server.grpc_url) as client:
        return infer(client, model, {name: ROWS})


def kill(stubs, how=signal.SIGKILL):
    for stub in stubs:
        os.kill(stub.pid, how)


def test_a_model_and_the_ensemble_over_it_serve_again_after_any_of_its_stubs_died_or_stopped(supervised, told):
    first, second = stubs_of(supervised.pid)
    kill([first])
    event = told.wait_for(EventKind.STUB_DIED)
    assert (event.model, event.version, event.cause) == ("good", "1", "it was ended by SIGKILL")
    told.wait_for(EventKind.MODEL_REPAIRED)
    wait_for(lambda: second.pid not in {stub.pid for stub in stubs_of(supervised.pid)})  # it was replaced as well
    kill(stubs_of(supervised.pid))
    told.wait_for(EventKind.MODEL_REPAIRED, 2)
    assert_same(ask(supervised), {"scores": ROWS @ WEIGHTS})
    wait_for(lambda: len(stubs_of(supervised.pid)) == 2)
    kill(stubs_of(supervised.pid)[:1], signal.SIGSTOP)
    told.wait_for(EventKind.MODEL_REPAIRED, 3)
    assert told.count(EventKind.STUB_STOPPED) == 1
    assert_same(ask(supervised), {"scores": ROWS @ WEIGHTS})
    assert supervised.is_ready()


def test_a_server_that_died_serves_what_it_served_and_no_version_that_came_meanwhile(supervised, told, repository):
    ports = supervised.http_url, supervised.grpc_url
    newer = repository / "good" / "2"
    newer.mkdir()
    (newer / "model.onnx").write_bytes(b"no model")
    os.kill(supervised.pid, signal.SIGKILL)
    assert "SIGKILL" in told.wait_for(EventKind.SERVER_DIED).cause
    told.wait_for(EventKind.SERVER_RESTARTED)
    assert (supervised.http_url, supervised.grpc_url) == ports
    assert supervised.ready_versions("good") == ("1",)
    assert_same(ask(supervised), {"scores": ROWS @ WEIGHTS})


@pytest.mark.slow(reason="the server has to be started twice")
def test_a_version_that_is_damaged_meanwhile_takes_no_other_with_it_when_the_server_dies(repository, told):
    newer = repository / "good" / "2" / "model.onnx"
    newer.parent.mkdir()
    newer.write_bytes((repository / "good" / "1" / "model.onnx").read_bytes())
    with (repository / "good" / "config.pbtxt").open("a") as config:
        config.write("version_policy { all { } }\n")
    request = ServeRequest(repository=repository, options=AT_ONCE, models=("good",))
    with RepositoryService(request, on_event=told) as service:
        (loaded,) = service.load(on_outcome=lambda _: None)
        assert loaded.versions == ("1", "2")
        wait_for(lambda: service.server.wanted.all()["good"])
        newer.unlink()
        newer.write_bytes(b"no model")
        os.kill(service.server.pid, signal.SIGKILL)
        event = told.wait_for(EventKind.REPAIR_FAILED)
        assert (event.model, event.version) == ("good", "2")
        assert told.count(EventKind.SERVER_RESTARTED) == 1
        assert_same(ask(service.server, "good"), {"y": ROWS @ WEIGHTS})
        assert not service.server.is_ready()


@pytest.mark.slow(reason="40 MiB of log")
def test_the_log_keeps_what_was_said_last(repository):
    write_python(repository, "talkative", TALKATIVE)
    request = ServeRequest(repository=repository, options=AT_ONCE, models=("talkative",))
    with RepositoryService(request, on_event=lambda _: None) as service:
        service.load(on_outcome=lambda _: None)
        service.skip_log()
        log = service.server.log
        assert log.end > 40 << 20
        assert log.path.stat().st_blocks * 512 < 17 << 20
        kept = [line.message for line in log.lines()]
        assert kept[0] == "-" * 1023
        assert any("successfully loaded 'talkative'" in message for message in kept)
        service.server.unload("talkative")
        wait_for(lambda: any("unloaded 'talkative'" in line.message for line in service.log_lines()))


def test_a_server_that_stands_still_is_ended_and_comes_back(supervised, told):
    os.kill(supervised.pid, signal.SIGSTOP)
    assert told.wait_for(EventKind.SERVER_STOPPED).cause == "it was stopped"
    told.wait_for(EventKind.SERVER_RESTARTED)
    assert_same(ask(supervised), {"scores": ROWS @ WEIGHTS})


@pytest.mark.parametrize("delay_s", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.1, 0.3, 0.6))])
def test_what_was_just_loaded_comes_back_and_the_server_is_not_ready_before(repository, told, delay_s):
    wrong = []

    def ask_for_readiness(server):
        while not told.count(EventKind.SERVER_RESTARTED):
            ready = server.is_ready()
            with suppress(ServerStartError, LoadRefusedError):  # it is just being started again
                if ready and not server.ready_versions("chain"):
                    wrong.append("ready without its models")

    with EmbeddedServer(repository, AT_ONCE) as server, Supervisor(server, on_event=told):
        server.load_all()
        time.sleep(delay_s)  # what is being tried
        os.kill(server.pid, signal.SIGKILL)
        told.wait_for(EventKind.SERVER_DIED)
        ask_for_readiness(server)
        assert not wrong
        assert_same(ask(server), {"scores": ROWS @ WEIGHTS})
        wait_for(server.is_ready)


def test_a_model_that_was_refused_is_missed_after_the_servers_death_too(repository, told):
    (repository / "bad" / "1").mkdir(parents=True)
    (repository / "bad" / "1" / "model.onnx").write_bytes(b"no model")
    (repository / "bad" / "config.pbtxt").write_text(LINEAR)
    with EmbeddedServer(repository, AT_ONCE) as server, Supervisor(server, on_event=told):
        assert [each.model for each in server.load_all() if not each.is_ready] == ["bad"]
        os.kill(server.pid, signal.SIGKILL)
        told.wait_for(EventKind.SERVER_RESTARTED)
        assert_same(ask(server), {"scores": ROWS @ WEIGHTS})
        assert {entry.model for entry in told.events if entry.kind is EventKind.REPAIR_FAILED} == {"bad"}
        wait_for(
            lambda: any("successfully unloaded" in line.message for line in server.log.lines())
        )  # what held it back
        assert not server.is_ready()


def test_supervision_outlasts_who_cannot_bear_to_hear_of_it_and_a_repository_that_is_away(repository, told):
    def hear(event):
        told(event)
        raise ValueError("not again")

    with EmbeddedServer(repository, AT_ONCE) as server, Supervisor(server, on_event=hear) as supervisor:
        server.load_all()
        wait_for(lambda: supervisor.knows("good"))
        repository.rename(repository.with_name("away"))
        with pytest.raises(LoadRefusedError, match="does not tell"):
            server.served()
        kill(stubs_of(server.pid))
        told.wait_for(EventKind.STUB_DIED)
        repository.with_name("away").rename(repository)
        told.wait_for(EventKind.MODEL_REPAIRED)
        os.kill(server.pid, signal.SIGKILL)
        told.wait_for(EventKind.SERVER_RESTARTED)
        assert_same(ask(server), {"scores": ROWS @ WEIGHTS})


@pytest.mark.slow  # it has to hang for a while
def test_a_model_that_hangs_while_requests_wait_is_loaded_again_and_one_without_requests_is_left_alone(
    repository, told
):
    write_python(repository, "hanging", HANGING)
    with (
        EmbeddedServer(repository, AT_ONCE) as server,
        Supervisor(server, on_event=told, hang_after_s=2.0),
        ThreadPoolExecutor() as clients,
    ):
        server.load_all()
        waiting = [clients.submit(ask, server, "hanging") for _ in range(3)]
        event = told.wait_for(EventKind.STUB_STOPPED)
        assert event.model == "hanging"
        assert "neither answered nor computed" in event.cause
        told.wait_for(EventKind.MODEL_REPAIRED)
        assert isinstance(waiting[0].exception(), grpc.InferenceServerException)
        os.kill(server.pid, signal.SIGKILL)  # ends the other requests
    assert {event.model for event in told.events} <= {"hanging", ""}


@pytest.mark.slow  # it is given its chances, with longer and longer pauses
def test_a_model_that_dies_at_once_again_and_again_is_unloaded_and_named_and_the_others_serve(
    supervised, told, repository
):
    write_python(repository, "mortal", MORTAL)
    supervised.load("mortal")
    ended = threading.Event()

    def insist():
        while not ended.is_set():
            with suppress(grpc.InferenceServerException):
                ask(supervised, "mortal")

    asking = threading.Thread(target=insist)
    asking.start()
    try:
        event = told.wait_for(EventKind.MODEL_GIVEN_UP)
    finally:
        ended.set()
        asking.join()
    assert (event.model, event.version) == ("mortal", "1")
    assert "exit code 3" in event.cause
    assert supervised.ready_versions("mortal") == ()
    assert not supervised.is_ready()
    assert_same(ask(supervised), {"scores": ROWS @ WEIGHTS})


@pytest.mark.slow  # it is given its chances, with longer and longer pauses
def test_a_server_that_dies_at_once_again_and_again_is_given_up(repository, told):
    with EmbeddedServer(repository, AT_ONCE) as server, Supervisor(server, on_event=told) as supervisor:
        while not told.count(EventKind.SERVER_GIVEN_UP):
            with suppress(ServerStartError, OSError, ValueError):  # it is just being started again
                os.kill(server.pid, signal.SIGKILL)
            time.sleep(0.05)  # between two kills
        with pytest.raises(ServerStartError, match="again and again"):
            supervisor.raise_if_given_up()
