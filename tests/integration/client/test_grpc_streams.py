# SPDX-License-Identifier: Apache-2.0
"""Streams over gRPC: the answers of a decoupled model, and every way in which they can end."""

import asyncio
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from repo_client import (
    ClosedClientError,
    ConnectionLostError,
    DeadlineExceededError,
    ExecutionError,
    InferRequest,
    ModelNotFoundError,
    RepoClientError,
    ServerUnreachableError,
)
from repo_client._async.grpc_transport import AsyncGrpcTransport
from repo_client._messages import WireTensor
from repo_client._options import TransportOptions
from repo_client._sync.grpc_transport import GrpcTransport
from repo_client._urls import parse_url
from repo_tool.triton.server import EmbeddedServer, ServerOptions


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("streams") / "repository"
    shutil.copytree(Path(__file__).parent / "stream_repository", path)
    return path


@pytest.fixture(scope="module")
def server(repository):
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as server:
        server.load("counter")
        yield server


def count(upto, *, pause_s=0.0, model="counter", request_id=""):
    return InferRequest(
        model=model,
        version="",
        request_id=request_id,
        inputs=(
            WireTensor(name="upto", datatype="INT32", shape=(1,), data=np.array([upto], "<i4").tobytes()),
            WireTensor(name="pause_s", datatype="FP32", shape=(1,), data=np.array([pause_s], "<f4").tobytes()),
        ),
    )


class Streams:
    """Streams of either side, as blocking generators of the numbers in the answers."""

    def __init__(self, side, url):
        self._runner = asyncio.Runner() if side == "async" else None
        kind = AsyncGrpcTransport if side == "async" else GrpcTransport
        self.transport = kind(parse_url(f"grpc://{url}"), TransportOptions())

    def numbers(self, request, *, timeout_s=20.0):
        answers = self.transport.stream(request, timeout_s=timeout_s)
        try:
            yield from (int(np.frombuffer(answer.outputs[0].data, "<i4")[0]) for answer in self._blocking(answers))
        finally:
            self.run(answers.aclose() if self._runner else answers.close())

    def run(self, value):
        return self._runner.run(value) if self._runner and value is not None else value

    def _blocking(self, answers):
        if self._runner is None:
            yield from answers
            return
        while True:
            try:
                yield self._runner.run(anext(answers))
            except StopAsyncIteration:
                return

    def close(self):
        self.run(self.transport.close())
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def open_streams(request):
    opened = []

    def open_one(url):
        opened.append(Streams(request.param, url))
        return opened[-1]

    yield open_one
    for streams in opened:
        streams.close()


@pytest.fixture
def streams(server, open_streams):
    return open_streams(server.grpc_url)


@pytest.mark.parametrize("upto", [0, 1, 500])
def test_a_stream_gives_every_answer_in_order_and_ends(streams, upto):
    assert list(streams.numbers(count(upto))) == list(range(upto))


def test_the_answers_say_what_they_answer(streams):
    answers = streams.transport.stream(count(1, request_id="me"), timeout_s=20)
    (answer,) = list(streams._blocking(answers))
    assert (answer.model, answer.version, answer.request_id) == ("counter", "1", "me")
    assert answer.parameters == {"triton_final_response": False}


def test_answers_arrive_while_the_model_still_runs(streams):
    numbers = streams.numbers(count(1000, pause_s=0.05))
    begun = time.monotonic()
    assert [next(numbers), next(numbers)] == [0, 1]
    assert time.monotonic() - begun < 25, "the whole stream takes 50 s"
    numbers.close()


def test_a_model_that_fails_on_the_way_says_so_after_its_answers(streams):
    numbers, seen = streams.numbers(count(-2, request_id="down")), []
    with pytest.raises(ExecutionError, match="there is nothing below zero") as caught:
        seen.extend(numbers)
    assert caught.value.request_id == "down"
    assert caught.value.server_words == "there is nothing below zero"


def test_an_unknown_model_is_said_to_be_unknown(streams):
    with pytest.raises(ModelNotFoundError, match="nope"):
        list(streams.numbers(count(1, model="nope")))


def test_all_answers_together_have_the_deadline(streams):
    seen = []
    with pytest.raises(DeadlineExceededError):
        seen.extend(streams.numbers(count(1000, pause_s=0.05), timeout_s=1.0))
    assert seen == list(range(len(seen)))
    assert 0 < len(seen) < 100


def test_closing_a_stream_cancels_the_model(streams, repository, request):
    name = f"closed-{request.node.callspec.id}"
    numbers = streams.numbers(count(1000, pause_s=0.02, request_id=name))
    assert next(numbers) == 0
    numbers.close()
    _until((repository / "counter" / "1" / f"{name}.cancelled").exists)


def test_a_server_that_dies_in_mid_stream_is_a_lost_connection(repository, open_streams):
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as server:
        server.load("counter")
        streams = open_streams(server.grpc_url)
        numbers = streams.numbers(count(1000, pause_s=0.05))
        assert next(numbers) == 0
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLostError, match="lost"):
            list(numbers)
    with pytest.raises(ServerUnreachableError):
        list(streams.numbers(count(1)))


def test_a_decoupled_model_takes_no_single_call(streams):
    with pytest.raises(RepoClientError, match="decoupled") as caught:
        streams.run(streams.transport.infer(count(1), timeout_s=20))
    assert caught.value.model == "counter"
    assert not isinstance(caught.value, (ConnectionLostError, DeadlineExceededError))


def test_a_client_closed_in_mid_stream_says_that_it_was_closed(server):
    streams = Streams("sync", server.grpc_url)
    numbers = streams.numbers(count(1000, pause_s=0.05))
    assert next(numbers) == 0
    threading.Thread(target=streams.close).start()
    with pytest.raises(ClosedClientError):
        list(numbers)


def test_an_async_client_closed_in_mid_stream_is_no_cancelled_task(server):
    async def close_below_it():
        transport = AsyncGrpcTransport(parse_url(f"grpc://{server.grpc_url}"), TransportOptions())
        answers = transport.stream(count(1000, pause_s=0.05), timeout_s=20)
        await anext(answers)
        rest = asyncio.ensure_future(_all(answers))
        call = asyncio.ensure_future(transport.server_metadata(timeout_s=20))
        await call
        await transport.close()
        with pytest.raises(ClosedClientError):
            await rest

    asyncio.run(close_below_it())


def test_a_cancelled_task_is_cancelled(server, repository):
    async def cancel():
        transport = AsyncGrpcTransport(parse_url(f"grpc://{server.grpc_url}"), TransportOptions())
        answers = transport.stream(count(1000, pause_s=0.02, request_id="task"), timeout_s=20)
        await anext(answers)
        rest = asyncio.ensure_future(_all(answers))
        await asyncio.sleep(0)
        rest.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rest
        await asyncio.to_thread(_until, (repository / "counter" / "1" / "task.cancelled").exists)
        await transport.close()

    asyncio.run(cancel())


async def _all(answers):
    return [answer async for answer in answers]


def _until(condition, *, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)  # between two looks of a poll with a deadline
