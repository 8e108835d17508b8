# SPDX-License-Identifier: Apache-2.0
"""A server that is asked to stop says so first, answers what it was asked, and then closes what its clients keep."""

import http.client
import threading
import time

import pytest

from repo_tool.triton import EmbeddedServer, ServerOptions
from support.kept_connections import Told, answer_on, connected, request_of
from support.open_loop import versioned_model

SLOW_S = 1.5
IN_ORDER = ServerOptions(graceful_stop_s=20, notice_s=0.3)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    versioned_model(folder, "slow", 3, delay_s=SLOW_S)
    versioned_model(folder, "quick", 5)
    return folder


@pytest.fixture
def server(repository):
    with EmbeddedServer(repository, IN_ORDER) as server:
        assert all(outcome.is_ready for outcome in server.load_all())
        yield server


def in_thread(work, *arguments, **named):
    thread = threading.Thread(target=work, args=arguments, kwargs=named, daemon=True)
    thread.start()
    return thread


def readiness(url):
    connection = http.client.HTTPConnection(url, timeout=30)
    connection.request("GET", "/v2/health/ready")
    return connection.getresponse().status


def wait_until_it_is_not_ready(url):
    deadline = time.monotonic() + 10
    while readiness(url) == 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between two looks of a poll with a deadline


def test_what_was_asked_is_answered_and_what_is_kept_is_closed(server):
    told = Told()
    idle, unused, busy = connected(server.http_url), connected(server.http_url), connected(server.http_url)
    idle.sendall(request_of("quick", 2.0))
    assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200")
    asking = http.client.HTTPConnection(server.http_url, timeout=30)
    asked = in_thread(answer_on, asking, "slow", 4.0, told, version=3)
    busy.sendall(request_of("slow", 1.0)[:-5])
    wait_until_the_server_has_read(busy)
    stopping = in_thread(server.stop)
    wait_until_it_is_not_ready(server.http_url)
    busy.sendall(request_of("slow", 1.0)[-5:])
    assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200")
    for thread in (asked, stopping):
        thread.join(30)
        assert not thread.is_alive()
    assert (told.answered, told.failed) == (1, [])
    assert [connection.recv(1) for connection in (idle, unused, busy)] == [b"", b"", b""]  # an end, not a reset


def wait_until_the_server_has_read(connection):
    """Ask over another one meanwhile: the server takes connections in turn."""
    host, port = connection.getpeername()
    assert readiness(f"{host}:{port}") == 200


@pytest.mark.slow(reason="a server of its own, and five seconds of answers")
def test_a_client_that_asks_on_is_told_with_an_answer_to_leave(server):
    told, asking = Told(), http.client.HTTPConnection(server.http_url, timeout=30)
    assert answer_on(asking, "quick", 1.0, told, version=5)
    in_flight = in_thread(answer_on, http.client.HTTPConnection(server.http_url), "slow", 4.0, told, version=3)
    stopping = in_thread(server.stop)
    wait_until_it_is_not_ready(server.http_url)
    while answer_on(asking, "quick", 2.0, told, version=5):
        assert stopping.is_alive()
    for thread in (in_flight, stopping):
        thread.join(30)
        assert not thread.is_alive()
    assert told.failed == []
    assert told.told_to_leave >= 1
