# SPDX-License-Identifier: Apache-2.0
"""A server that is asked to end while it is used: everything that was asked is answered, and nobody sees a reset."""

import http.client
import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from tritonclient import grpc

import support.forbidden_call
from repo_tool.repository.layout import ModelRepository
from support.kept_connections import (
    Told,
    answer_on,
    connected,
    in_threads,
    keep_asking,
    request_of,
)
from support.open_loop import WIDTH, versioned_model

pytestmark = pytest.mark.faults

GRACE_S = 30.0
SLOW_S = 2.0
QUICK, SLOW = "quick", "slow"
VERSIONS = {QUICK: 3, SLOW: 7}
THINK_TIMES_S = (0.0, 0.0, 0.0, 0.002, 0.02, 0.02, 0.1, 0.1, 0.4, 0.4)
FORBIDDEN_CALL = str(Path(support.forbidden_call.__file__))
PIDFD_GETFD = 438
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the Python backend keeps its regions


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = ModelRepository(tmp_path_factory.mktemp("drain"))
    versioned_model(repository.path, QUICK, VERSIONS[QUICK], instances=2)
    versioned_model(repository.path, SLOW, VERSIONS[SLOW], instances=4, delay_s=SLOW_S)
    return repository


class Serving:
    """The real command, and when it was asked to end."""

    def __init__(self, repository, *, grace_s=GRACE_S, run=("-m",)):
        ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
        options = [str(repository.path), "--json", *ports, "--grace", str(grace_s)]
        command = [sys.executable, *run, "repo_tool.cli.main", "serve", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.urls = json.loads(self.process.stdout.readline())
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self):
        self.asked = time.monotonic()
        self.process.send_signal(signal.SIGTERM)

    def seconds_to_the_end(self):
        self.process.communicate(timeout=GRACE_S + 10)
        return time.monotonic() - self.asked


def ask_once(url, model, told):
    """One request on a connection that was used before, and is kept."""
    connection = http.client.HTTPConnection(url, timeout=60)
    answer_on(connection, model, 1.0, told, version=VERSIONS[model])


def ask_over_grpc(url, told):
    tensor = grpc.InferInput("x", [1, WIDTH], "FP32")
    tensor.set_data_from_numpy(np.full((1, WIDTH), 5, np.float32))
    with grpc.InferenceServerClient(url) as client:
        try:
            answer = client.infer(SLOW, [tensor]).as_numpy("y")
        except grpc.InferenceServerException as error:
            told.fail(f"gRPC: {error}")
        else:
            told.note("answered") if (answer == 5 + VERSIONS[SLOW]).all() else told.fail(f"gRPC: {answer}")


def readiness_until_the_end(url):
    """What ``/v2/health/ready`` says, each word once, until nobody takes a connection."""
    seen = []
    while True:
        connection = http.client.HTTPConnection(url, timeout=60)
        try:
            connection.request("GET", "/v2/health/ready")
            status = connection.getresponse().status
        except OSError:
            return seen
        finally:
            connection.close()
        if status not in seen:
            seen.append(status)
        time.sleep(0.01)  # between two looks of a poll that ends with the server


def finish_upload(connection, rest, told):
    """Send the second half of a request, and read the whole answer."""
    time.sleep(0.5)  # the upload takes its time
    try:
        connection.sendall(rest)
        answer = connection.recv(1 << 16)
    except OSError as error:
        told.fail(f"upload: {error!r}")
    else:
        told.note("answered") if answer.startswith(b"HTTP/1.1 200") else told.fail(f"upload: {answer!r}")


def end_of(connection):
    """What the other side of an idle connection sees: ``b""`` is an end in order."""
    try:
        return connection.recv(1 << 16)
    except OSError as error:
        return repr(error)


def drained_once(repository, *, seed):
    """Every kind of client at once, then SIGTERM; what they saw, and how long it took."""
    told, started = Told(), []
    with Serving(repository) as serving:
        url = serving.urls["http"]
        idle = [connected(url) for _ in range(4)]
        for connection in idle[:2]:
            connection.sendall(request_of(QUICK, 2.0))
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        upload, whole = connected(url), request_of(SLOW, 4.0)
        upload.sendall(whole[:-20])
        started += in_threads(
            [
                partial(keep_asking, url, QUICK, version=VERSIONS[QUICK], think_s=think_s, seed=seed + each, told=told)
                for each, think_s in enumerate(THINK_TIMES_S)
            ]
        )
        time.sleep(1.0)  # the load that the server knows before its end
        started += in_threads([partial(ask_once, url, SLOW, told)] * 2)
        started += in_threads([partial(ask_over_grpc, serving.urls["grpc"], told)])
        time.sleep(0.3)  # requests are in flight then, whose answers take longer
        serving.end()
        started += in_threads([partial(finish_upload, upload, whole[-20:], told)])
        ready = readiness_until_the_end(url)
        seconds = serving.seconds_to_the_end()
        for thread in started:
            thread.join(GRACE_S)
            assert not thread.is_alive(), "a request has no end"
        ends = [end_of(connection) for connection in idle]
        survivors = [process for process in serving.family if process.is_running()]
        regions = list(SHARED_MEMORY.glob(f"repo-tool-{serving.process.pid}-*"))
    return told, ready, ends, seconds, survivors, regions


def test_sigterm_with_requests_in_flight_and_connections_that_are_kept(repository, scale, seed, figures, is_full):
    answered, told_to_leave, failed, slowest = 0, 0, [], 0.0
    for each in range(scale(1, 10)):
        told, ready, ends, seconds, survivors, regions = drained_once(repository, seed=seed + 100 * each)
        assert ready[-1] == 400, "the server did not say that it was ending"
        assert ends == [b""] * 4
        assert not survivors
        assert not regions
        answered, told_to_leave = answered + told.answered, told_to_leave + told.told_to_leave
        failed += told.failed
        slowest = max(slowest, seconds)
    measured = {
        "rounds": scale(1, 10),
        "answered": answered,
        "failed or reset": len(failed),
        "connections ended by an answer": told_to_leave,
        "longest time to the end": f"{slowest:.1f} s of {GRACE_S:g} s",
    }
    figures.record(row="drain", measured=measured, passed=not failed and slowest <= GRACE_S, seed=seed)
    assert not failed
    assert told_to_leave >= len(THINK_TIMES_S)
    assert slowest <= GRACE_S or not is_full


def test_where_nobody_may_look_at_connections_requests_in_flight_finish_all_the_same(repository, is_full):
    told = Told()
    with Serving(repository, grace_s=6, run=(FORBIDDEN_CALL, str(PIDFD_GETFD))) as serving:
        idle = connected(serving.urls["http"])
        idle.sendall(request_of(QUICK, 2.0))
        assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200")
        (asking,) = in_threads([partial(ask_once, serving.urls["http"], SLOW, told)])
        time.sleep(0.3)  # the request is in flight then, and its answer takes longer
        serving.end()
        asking.join(GRACE_S)
        seconds = serving.seconds_to_the_end()
    assert told.answered == 1
    assert not told.failed
    assert seconds > 4, "the connection was closed, so somebody looked at it"
    assert seconds < 9 or not is_full
