# SPDX-License-Identifier: Apache-2.0
"""Servers whose guards were all killed at once: nothing of them is left once the next one has started."""

import os
import signal
import time
from pathlib import Path

import psutil

from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.triton.leftovers import owned_regions, remove_leftovers
from repo_tool.triton.stub_processes import stubs_of
from support.onnx_cases import LINEAR, Case, linear
from support.supervised_service import SHARED_MEMORY, serving, wait_for

AT_ONCE = ServerOptions(graceful_stop_s=0)
GOOD = Case("good", linear(), LINEAR)


def is_gone(process):
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def folder_of(process):
    """The private folder that a server's keeper works in."""
    return Path(psutil.Process(process).cwd()).parent


def test_what_a_server_left_whose_guards_were_killed_goes_and_what_serves_stays(tmp_path):
    GOOD.write(tmp_path / "served")
    GOOD.write(tmp_path / "left")
    with EmbeddedServer(tmp_path / "served", AT_ONCE) as neighbour, serving(tmp_path / "left") as service:
        neighbour.load("good")
        server = service.server
        keeper = server.parent().pid
        stub = stubs_of(server.pid)[0].pid
        folder = folder_of(keeper)
        prefix = (folder / "owner").read_text()
        service.process.send_signal(signal.SIGSTOP)  # so that it cannot replace the stub
        os.kill(stub, signal.SIGSTOP)  # so that it cannot notice
        os.kill(keeper, signal.SIGKILL)
        service.process.kill()
        service.process.wait()
        wait_for(lambda: is_gone(server.pid))
        remove_leftovers()  # unless a server that another test has started just now was first
        wait_for(lambda: is_gone(stub))
        assert not owned_regions(prefix)
        assert not folder.exists()
        assert neighbour.is_ready()
        assert folder_of(psutil.Process(neighbour.pid).ppid()).exists()
        assert neighbour.ready_versions("good") == ("1",)


def test_nothing_of_a_server_that_runs_is_taken_for_left(tmp_path):
    GOOD.write(tmp_path / "served")
    with EmbeddedServer(tmp_path / "served", AT_ONCE) as server:
        server.load("good")
        folder = folder_of(psutil.Process(server.pid).ppid())
        regions = owned_regions((folder / "owner").read_text())
        assert regions
        assert not {folder, *regions} & set(remove_leftovers())
        assert all(region.exists() for region in regions)


def test_memory_goes_whose_owners_number_belongs_to_a_process_that_began_later():
    began = psutil.Process(1).create_time()
    before, since = (SHARED_MEMORY / f"repo-tool-1-{each}-x" for each in ("0123abcd", "4567cdef"))
    try:
        for region, written in ((before, began - 3600), (since, time.time() - 120)):
            region.touch(0o600)
            os.utime(region, (written, written))
        remove_leftovers()  # or a server that somebody else starts meanwhile
        assert (before.exists(), since.exists()) == (False, True)
    finally:
        before.unlink(missing_ok=True)
        since.unlink(missing_ok=True)
