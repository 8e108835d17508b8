# SPDX-License-Identifier: Apache-2.0
"""What is tried again and what is not, by all four clients of a real server, through a connection that fails."""

import shutil
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from repo_client import (
    Client,
    ConnectionLostError,
    DeadlineExceededError,
    ExecutionError,
    ModelNotFoundError,
    NetworkError,
    Retries,
    ServerBusyError,
    ServerUnreachableError,
)
from repo_client._errors import Facts
from repo_client.testing import InMemoryTransport, model_signature
from repo_tool.triton.ports import free_ports
from repo_tool.triton.server import EmbeddedServer, ServerOptions
from support.http_relay import Relay

MODELS = ["adder", "busy", "facts", "scale"]
PATIENT = Retries(attempts=200, first_wait_s=0.01, longest_wait_s=0.1)
X = {"x": np.ones((1, 3), np.float32)}


def until(condition, *, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.005)  # between two looks of a poll with a deadline


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("retries") / "repository"
    shutil.copytree(Path(__file__).parent / "surface_repository", path)
    return path


@pytest.fixture(scope="module")
def server(repository):
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as server:
        assert [outcome.refusal for outcome in server.load_all(MODELS)] == [None] * len(MODELS)
        yield server


class FailingRelay(Relay):
    """A relay that hangs up on as many connections that come next as ``refusals`` says, with ``swallow`` behind it."""

    refusals = 0
    swallow = b""  # the client has to have sent this before
    late_s = 0.0  # for a connection to be passed on

    def _serve(self, client):
        if self.refusals > 0:
            self.refusals -= 1
            sent = bytearray()
            while self.swallow not in sent and (data := client.recv(65_536)):
                sent += data
                if sent.startswith(b"PRI "):  # HTTP/2, which sends no request before it has the server's settings
                    client.sendall(b"\0\0\0\4\0\0\0\0\0")
            client.close()
            return
        time.sleep(self.late_s)  # stands for a server that is far away, or busy
        super()._serve(client)


@pytest.fixture
def relay(server, variant):
    with FailingRelay(server.grpc_url if variant.endswith("grpc") else server.http_url) as relay:
        yield relay


@pytest.fixture
def through(relay, opener, variant):
    """A client through the relay."""
    return lambda **options: opener.open(variant, grpc_url=relay.address, http_url=relay.address, **options)


@pytest.fixture
def nowhere():
    """An address where nobody listens, as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def gate(tmp_path):
    gate = tmp_path / "open"
    yield gate
    gate.touch()


def test_a_connection_may_take_its_time(through, relay):
    relay.late_s = 0.7
    model = through(retries=Retries(attempts=1)).model("scale")
    np.testing.assert_array_equal(model.infer(X, outputs=["y"])["y"], X["x"] * 2)


def test_a_connection_that_fails_at_first_is_tried_again(through, relay):
    relay.refusals = 3
    model = through(retries=PATIENT).model("scale")
    assert relay.refusals == 0
    relay.refusals = 3
    relay.hang_up()
    np.testing.assert_array_equal(model.infer(X, outputs=["y"])["y"], X["x"] * 2)


def test_without_retries_the_first_failure_is_told(through, relay):
    relay.refusals = 1
    with pytest.raises(NetworkError) as caught:
        through(retries=Retries(attempts=1)).model("scale")
    assert (caught.value.attempts, "attempts" in str(caught.value)) == (1, False)


def test_the_error_says_how_often_the_call_was_made(opener, variant, nowhere):
    client = opener.open(variant, grpc_url=nowhere, http_url=nowhere, retries=Retries(attempts=4, first_wait_s=0.001))
    with pytest.raises(ServerUnreachableError, match=r"\(4 attempts\)\nhint: ") as caught:
        client.model("scale")
    assert caught.value.attempts == 4
    assert caught.value.__cause__.attempts == 1


def test_no_attempt_is_made_past_the_deadline(opener, variant, nowhere):
    waits = Retries(attempts=1000, first_wait_s=60, longest_wait_s=60)
    client = opener.open(variant, grpc_url=nowhere, http_url=nowhere, retries=waits)
    with pytest.raises(ServerUnreachableError) as caught:
        client.model("scale", timeout_s=0.5)
    assert caught.value.attempts < 3


def test_the_budget_ends_the_retries_of_a_server_that_stays_away(opener, variant, nowhere):
    retries = Retries(attempts=60, first_wait_s=0, budget=0)
    client = opener.open(variant, grpc_url=nowhere, http_url=nowhere, retries=retries)
    attempts = []
    for _ in range(3):
        with pytest.raises(ServerUnreachableError) as caught:
            client.model("scale")
        attempts.append(caught.value.attempts)
    assert attempts == [60, 42, 1]  # a hundred retries are there to begin with


def begun(gate):
    return gate.with_suffix(".begun").exists()


def test_a_call_whose_connection_is_lost_is_made_again(through, relay, gate):
    model = through(retries=PATIENT).model("busy")

    def cut_once():
        until(lambda: begun(gate))
        relay.hang_up()
        gate.touch()

    cutting = threading.Thread(target=cut_once)
    cutting.start()
    answer = model.infer({"gate": [[str(gate)]]})
    cutting.join()
    before = int(answer["turn"][0, 0])
    assert int(model.infer({"gate": [[str(gate)]]})["turn"][0, 0]) == before + 1


def test_a_call_whose_connection_is_lost_is_not_made_again_unasked(through, relay, gate):
    model = through(retries=Retries(attempts=1)).model("busy")
    cutting = threading.Thread(target=lambda: (until(lambda: begun(gate)), relay.hang_up()))
    cutting.start()
    with pytest.raises(ConnectionLostError):
        model.infer({"gate": [[str(gate)]]})
    cutting.join()


def test_a_sequence_is_never_tried_again(through, relay):
    model = through(retries=PATIENT).model("adder")
    with model.sequence() as sequence:
        assert sequence.infer({"x": [[1]]})["sum"] == 1
        relay.refusals, relay.swallow = 1, b"sequence_id"  # what may have been looked at
        relay.hang_up()
        with pytest.raises(NetworkError) as caught:
            sequence.infer({"x": [[1]]})
        assert caught.value.attempts == 1
        until(lambda: reaches(sequence))


def test_a_call_that_the_server_never_looked_at_is_made_again_even_in_a_sequence():
    """And once it may have been looked at, no more."""
    signature = model_signature("adder", inputs={"x": ("INT32", [1])}, outputs={"sum": ("INT32", [1])})
    transport = InMemoryTransport(signature, answer=lambda inputs: {"sum": inputs["x"]})
    unseen = ConnectionLostError("going away", facts=Facts(is_unprocessed=True))
    with Client("grpc://127.0.0.1", transport=transport, retries=PATIENT) as client:
        with client.model("adder").sequence() as sequence:
            transport.fail(unseen, unseen)
            assert sequence.infer({"x": [1]})["sum"] == 1
            transport.fail(unseen, ConnectionLostError("lost"))
            with pytest.raises(ConnectionLostError, match="lost") as caught:
                sequence.infer({"x": [1]})
        assert caught.value.attempts == 2


def reaches(sequence):
    with suppress(NetworkError):
        return sequence.infer({"x": [[1]]}, last=True)["sum"] >= 2
    return False


def test_a_failure_of_the_model_is_no_reason_to_call_it_again(through, gate):
    model, inputs = through(retries=PATIENT).model("busy"), {"gate": [[str(gate)]]}
    gate.touch()
    before = int(model.infer(inputs)["turn"][0, 0])
    with pytest.raises(ExecutionError, match="time runs forward") as caught:
        model.infer(inputs, parameters={"limit_s": -1.0})
    assert caught.value.attempts == 1
    assert int(model.infer(inputs)["turn"][0, 0]) == before + 2


def test_a_deadline_that_passed_is_no_reason_to_begin_again(through, gate):
    model = through(retries=PATIENT).model("busy")
    with pytest.raises(DeadlineExceededError) as caught:
        model.infer({"gate": [[str(gate)]]}, timeout_s=0.2)
    assert caught.value.attempts == 1


def test_a_full_queue_is_tried_again_until_there_is_room(through, server, opener, variant, gate):
    others = opener.open("sync-grpc", grpc_url=server.grpc_url, http_url=server.http_url, retries=Retries(attempts=1))
    crowd, refused = others.model("busy"), []
    idle = gate.with_name("idle")
    idle.touch()
    crowd.infer({"gate": [[str(idle)]]})  # behind all that earlier tests left there

    def fill():
        try:
            crowd.infer({"gate": [[str(gate)]]})
        except ServerBusyError as error:
            refused.append(error)

    threads = [threading.Thread(target=fill) for _ in range(8)]
    threads[0].start()
    until(lambda: begun(gate))  # from here on nothing leaves the queue
    for thread in threads[1:]:
        thread.start()
    until(lambda: refused)
    calls = []

    def token():  # is asked before each call: metadata, configuration, the refused request, the first retry
        calls.append(time.monotonic())
        if len(calls) == 4:
            gate.touch()
        return "any"

    model = through(retries=PATIENT, token=token).model("busy")
    assert model.infer({"gate": [[str(gate)]]})["turn"].shape == (1, 1)
    assert len(calls) >= 4
    for thread in threads:
        thread.join()


def test_a_server_that_restarts_is_found_again_by_the_same_clients(repository, opener):
    grpc_port, http_port = free_ports(2)
    options = ServerOptions(grpc_port=grpc_port, http_port=http_port, graceful_stop_s=0)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(repository, options))
        server.load("scale")
        clients = [
            opener.open(variant, grpc_url=server.grpc_url, http_url=server.http_url, retries=PATIENT)
            for variant in ("sync-grpc", "async-grpc", "sync-http", "async-http")
        ]
        models = [client.model("scale") for client in clients]
        for model in models:
            model.infer(X)
        server.stop()
        for model in models:
            with pytest.raises((NetworkError, DeadlineExceededError)):
                model.infer(X, timeout_s=0.05)
        starting = threading.Thread(target=lambda: (server.start(), server.load("scale")))
        starting.start()
        for model in models:
            until(lambda model=model: answers(model))
        starting.join()


def answers(model):
    """Whether it does; a server that has just come back does not know its models yet."""
    with suppress(ModelNotFoundError):
        return model.infer(X, outputs=["y"])["y"].size > 0
    return False
