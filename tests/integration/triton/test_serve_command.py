# SPDX-License-Identifier: Apache-2.0
"""The service as a process: what it tells of what it serves, who reads that, and how it ends when it is asked to."""

import http.client
import json
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest

from support.command import REPO_TOOL, environment
from support.kept_connections import request_of
from support.open_loop import versioned_graph, versioned_model
from support.supervised_service import serving, wait_for

WITHIN_S = 20.0  # less than any of the waits that are to be cut short, and enough for a busy machine
ENDLESS_S = 60.0
HANGS_WHEN_LOADED_AGAIN = """
import pathlib
import time


class TritonPythonModel:
    def initialize(self, arguments):
        mark = pathlib.Path(arguments["model_repository"]) / "loaded-before"
        time.sleep(3600 if mark.exists() else 0)
        mark.touch()

    def execute(self, requests):
        raise NotImplementedError
"""
FINALIZES = """
import pathlib


class TritonPythonModel:
    def initialize(self, arguments):
        self.place = pathlib.Path(arguments["model_repository"])

    def execute(self, requests):
        raise NotImplementedError

    def finalize(self):
        (self.place / "finalized").touch()
"""
CONFIG = """
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


def readiness(address):
    """The status of ``/v2/health/ready``; 0 where nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=10)
    with suppress(OSError):
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status
    return 0


def test_altered_weights_are_named_and_a_second_sigterm_waits_for_no_request(repository):
    versioned_model(repository, "m", 1)
    versioned_model(repository, "slow", 1, delay_s=ENDLESS_S)
    (repository / "m" / "1" / "model.onnx").write_bytes(versioned_graph(7).SerializeToString())
    with serving(repository, "--grace", str(ENDLESS_S)) as service:
        service.wait_for_event("not as published", 0.0)
        (started,) = [event for event in service.events() if event["event"] == "started"]
        assert started["repository"] == service.told["repository"] == str(repository)
        assert (started["http"], started["watch"]) == (service.told["http"], False)
        (told,) = [event for event in service.events() if event["event"] == "not as published"]
        assert (told["model"], told["version"]) == ("m", "1")
        assert told["problems"][0]["path"].endswith("model.onnx")
        ask = http.client.HTTPConnection(service.told["http"])
        ask.connect()
        ask.sock.sendall(request_of("slow", 1.0))
        service.process.terminate()
        wait_for(lambda: readiness(service.told["http"]) == 400)
        time.sleep(0.5)  # what comes sooner is taken for the same signal
        service.process.terminate()
        assert service.process.wait(WITHIN_S) == 128 + signal.SIGTERM


@pytest.mark.slow  # the server has to be started twice
def test_weights_are_proven_again_that_a_server_started_anew_has_read_again(repository):
    versioned_model(repository, "m", 1)
    (repository / "m" / "1" / "model.onnx").write_bytes(versioned_graph(7).SerializeToString())
    with serving(repository) as service:
        service.wait_for_event("not as published", 0.0)
        killed = time.time()
        service.server.kill()
        service.wait_for_event("server restarted", killed)
        service.wait_for_event("not as published", killed)


@pytest.mark.slow  # the server has to be started twice
def test_the_end_is_within_the_grace_while_a_model_hangs_that_is_loaded_again(repository):
    (repository / "m" / "1").mkdir(parents=True)
    (repository / "m" / "config.pbtxt").write_text(CONFIG)
    (repository / "m" / "1" / "model.py").write_text(HANGS_WHEN_LOADED_AGAIN)
    with serving(repository, "--grace", "3") as service:
        died = time.time()
        first = service.server
        first.kill()
        service.wait_for_event("server died", died)
        wait_for(lambda: service.server.pid != first.pid and service.stubs(1))
        service.process.terminate()
        assert service.process.wait(WITHIN_S) == 128 + signal.SIGTERM
        assert "server restarted" not in {event["event"] for event in service.events()}


@pytest.mark.slow  # each stub takes its second
def test_a_model_with_code_of_its_own_comes_to_its_own_end(repository):
    (repository / "m" / "1").mkdir(parents=True)
    (repository / "m" / "config.pbtxt").write_text(CONFIG)
    (repository / "m" / "1" / "model.py").write_text(FINALIZES)
    with serving(repository, "--grace", "10"):
        pass
    assert (repository / "m" / "finalized").exists()


@pytest.mark.slow  # the server has to be started twice
def test_a_service_whose_log_nobody_reads_brings_its_server_back(repository):
    versioned_model(repository, "m", 1)
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    command = [str(REPO_TOOL), "serve", str(repository), "--json", *ports, "--grace", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        address = json.loads(process.stdout.readline())["http"]
        process.stderr.close()
        family = psutil.Process(process.pid).children(recursive=True)
        (server,) = [each for each in family if each.name() == "tritonserver"]
        server.kill()
        wait_for(lambda: readiness(address) != 200)
        wait_for(lambda: readiness(address) == 200)
        process.terminate()
        assert process.wait(WITHIN_S) == 128 + signal.SIGTERM
