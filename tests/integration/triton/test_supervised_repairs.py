# SPDX-License-Identifier: Apache-2.0
"""What repairs leave in a server that lives on: nothing."""

import os
import signal
import time
from pathlib import Path

import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from repo_tool.triton import EmbeddedServer, ServerOptions, Supervisor
from repo_tool.triton.events import EventKind
from repo_tool.triton.stub_processes import Stub, stubs_of
from support.inference import infer
from support.onnx_cases import LINEAR, ROWS, Case, linear
from support.supervised_service import SHARED_MEMORY, wait_for

INSTANCES = 2


@pytest.fixture
def told():
    return []


@pytest.fixture
def supervised(tmp_path, told):
    Case("good", linear(), LINEAR.replace("count: 1", f"count: {INSTANCES}")).write(tmp_path)
    server = EmbeddedServer(tmp_path, ServerOptions(graceful_stop_s=0))
    with server, Supervisor(server, on_event=told.append) as supervisor:
        assert all(outcome.is_ready for outcome in server.load_all(["good"]))
        wait_for(lambda: supervisor.knows("good"))
        yield server


def meet(server: EmbeddedServer, stub: Stub) -> None:
    """Kill a stub, and ask until it was that one's turn."""
    os.kill(stub.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    with grpc.InferenceServerClient(server.grpc_url) as client:
        while time.monotonic() < deadline:
            try:
                infer(client, "good", {"x": ROWS})
            except InferenceServerException:
                return
    pytest.fail("no request met the dead stub")


def wait_for_repairs(told, count: int) -> None:
    wait_for(lambda: sum(event.kind is EventKind.MODEL_REPAIRED for event in told) >= count, what=lambda: str(told))


def mapped(server: EmbeddedServer) -> int:
    """How many regions of shared memory the server has with its stubs."""
    maps = Path("/proc", str(server.pid), "maps").read_text()
    return sum(f"{SHARED_MEMORY}/repo-tool-" in line for line in maps.splitlines())


def wait_for_memory(server: EmbeddedServer) -> None:
    wait_for(lambda: mapped(server) == INSTANCES, what=lambda: f"{mapped(server)} regions")
    assert len(stubs_of(server.pid)) == INSTANCES


def test_the_memory_of_a_stub_that_requests_met_dead_comes_back_with_the_repair(supervised, told):
    meet(supervised, stubs_of(supervised.pid)[0])
    wait_for_repairs(told, 1)
    wait_for_memory(supervised)


@pytest.mark.slow  # three repairs, with a second each for Triton to let go of an instance
def test_later_only_the_stub_that_died_or_stopped_is_replaced(supervised, told):
    meet(supervised, stubs_of(supervised.pid)[0])
    wait_for_repairs(told, 1)
    for count, end in enumerate((signal.SIGKILL, signal.SIGSTOP), start=2):
        wait_for_memory(supervised)
        kept, lost = stubs_of(supervised.pid)
        os.kill(lost.pid, end)
        wait_for_repairs(told, count)
        wait_for_memory(supervised)
        assert kept in stubs_of(supervised.pid)


@pytest.mark.slow  # two repairs, with a second each for Triton to let go of an instance
def test_a_repair_loads_no_version_that_came_meanwhile(supervised, told):
    newer = supervised.repository / "good" / "2"
    newer.mkdir()
    (newer / "model.onnx").write_bytes(b"no model")
    for count in (1, 2):
        os.kill(stubs_of(supervised.pid)[0].pid, signal.SIGKILL)
        wait_for_repairs(told, count)
        wait_for_memory(supervised)
    assert supervised.ready_versions("good") == ("1",)
    assert supervised.is_ready()
