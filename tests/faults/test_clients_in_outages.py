# SPDX-License-Identifier: Apache-2.0
"""What callers see of a server that stands still, of a model whose process died, and of a server that comes back."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from repo_client import AsyncClient, Client, DeadlineExceededError, RepoClientError
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.triton.ports import free_ports
from repo_tool.triton.stub_processes import stubs_of
from support.open_loop import OpenLoop, publish_versioned

pytestmark = pytest.mark.faults

X = {"x": np.ones((1, 4), np.float32)}
DEADLINE_S = 0.5
MOST_OVERRUN_S = 0.1
CALLS = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[EmbeddedServer]:
    repository = ModelRepository(tmp_path_factory.mktemp("outages") / "models")
    publish_versioned(repository, "m", 1, instances=2)
    http, grpc = free_ports(2)
    with EmbeddedServer(repository.path, ServerOptions(http_port=http, grpc_port=grpc, graceful_stop_s=0)) as server:
        server.load("m")
        yield server


def url_of(server: EmbeddedServer, protocol: str) -> str:
    return f"{protocol}://{server.grpc_url if protocol == 'grpc' else server.http_url}"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("calls_of", ["threads", "tasks"])
def test_no_call_outlives_its_deadline_by_much_while_the_server_stands_still(server, protocol, calls_of, is_full):
    url = url_of(server, protocol)
    overruns = in_threads(url, server) if calls_of == "threads" else asyncio.run(in_tasks(url, server))
    assert len(overruns) == CALLS
    assert max(overruns) < (MOST_OVERRUN_S if is_full else 10), overruns


def in_threads(url: str, server: EmbeddedServer) -> list[float]:
    with Client(url, timeout_s=DEADLINE_S) as client, ThreadPoolExecutor(CALLS) as pool:
        model = client.model("m", timeout_s=20)

        def call(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(DeadlineExceededError):
                model.infer(X)
            return time.monotonic() - began - DEADLINE_S

        with stopped(server):
            return list(pool.map(call, range(CALLS)))


async def in_tasks(url: str, server: EmbeddedServer) -> list[float]:
    async with AsyncClient(url, timeout_s=DEADLINE_S) as client:
        model = await client.model("m", timeout_s=20)

        async def call() -> float:
            began = time.monotonic()
            with pytest.raises(DeadlineExceededError):
                await model.infer(X)
            return time.monotonic() - began - DEADLINE_S

        with stopped(server):
            return await asyncio.gather(*(call() for _ in range(CALLS)))


@contextmanager
def stopped(server: EmbeddedServer) -> Iterator[None]:
    """The server stands still in the block."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_call_that_meets_a_dead_process_is_answered_by_another_and_during_a_reload_waits(server, protocol, seed):
    with OpenLoop(url_of(server, protocol), "m", rate=30, seed=seed, timeout_s=20) as load:
        load.wait_for(10)
        os.kill(stubs_of(server.pid)[0].pid, signal.SIGKILL)
        load.wait_for(60)
        server.unload("m")
        server.load("m")
        load.wait_for(30)
    # Nobody repairs the model here, so that now and then all tries of a call meet the dead process.
    assert load.calls.failed.keys() <= {"ModelUnhealthyError"}
    assert load.calls.failures <= 0.1 * load.calls.sent


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_was_killed_and_comes_back_is_waited_for(server, protocol, seed):
    with OpenLoop(url_of(server, protocol), "m", rate=30, seed=seed, timeout_s=20) as load:
        load.wait_for(10)
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        server.start()
        server.load("m")
        load.wait_for(60)
    assert not load.calls.failed
    assert load.calls.latency_ms(1.0) > 100  # some met the gap


def test_a_client_that_never_had_an_answer_is_not_kept_waiting(server):
    port = free_ports(1)[0]
    began = time.monotonic()
    with Client(f"grpc://127.0.0.1:{port}") as client, pytest.raises(RepoClientError, match="no server answers"):
        client.model("m")
    assert time.monotonic() - began < 10  # of 60 that it might take
