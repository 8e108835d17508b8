# SPDX-License-Identifier: Apache-2.0
"""``repo-tool serve`` as a person starts it, what it tells of itself, and its processes, to be killed."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from repo_tool.triton.stub_processes import Stub, stubs_of
from support.command import REPO_TOOL, environment

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the Python backend keeps its regions


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service; times are ``time.time()``."""

    process: subprocess.Popen[str]
    told: dict[str, Any]
    log: Path

    @property
    def url(self) -> str:
        """For HTTP clients."""
        return f"http://{self.told['http']}"

    @property
    def server(self) -> psutil.Process:
        """The tritonserver of this moment."""
        return wait_for(lambda: next((each for each in self._tree() if _name(each) == "tritonserver"), None))

    @property
    def shared_bytes(self) -> int:
        """Of the memory that its servers share with their stubs."""
        regions = SHARED_MEMORY.glob(f"repo-tool-{self.process.pid}-*")
        return sum(region.stat().st_size for region in regions)

    @property
    def load_s(self) -> float:
        """How long the models took to load when it started."""
        return sum(model["seconds"] for model in self.told["models"])

    def stubs(self, count: int) -> list[Stub]:
        """The newest stubs: those before them are on their way out."""
        found = sorted(stubs_of(self.server.pid), key=lambda stub: psutil.Process(stub.pid).create_time())
        return found[-count:]

    def events(self, since: float = 0.0) -> list[dict[str, Any]]:
        """What it told that happened, errors of the server's log left out."""
        lines = self.log.read_text().splitlines()
        told = [json.loads(line) for line in lines if line.startswith('{"time"')]
        return [event for event in told if "event" in event and at(event) >= since]

    def wait_for_event(self, kind: str, since: float, *, timeout_s: float = 60.0) -> float:
        """When it was told, in seconds after ``since``."""

        def told() -> dict[str, Any] | None:
            return next((event for event in self.events(since) if event["event"] == kind), None)

        return at(wait_for(told, timeout_s=timeout_s, what=lambda: f"{kind}: {self.log.read_text()[-3000:]}")) - since

    def _tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def at(event: dict[str, Any]) -> float:
    """The time of an event."""
    return datetime.fromisoformat(event["time"]).timestamp()


def wait_for(look: Callable[[], Any], *, timeout_s: float = 30.0, what: Callable[[], str] = lambda: "") -> Any:
    """What ``look`` finds, once it finds something."""
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what()}"
        time.sleep(0.02)  # between two looks of a poll with a deadline
    return found


@contextmanager
def serving(repository: Path, *options: str) -> Iterator[Service]:
    """The command, from when its models are loaded; it is ended in order after the block."""
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    command = [str(REPO_TOOL), "serve", str(repository), "--json", "--log-format", "json", *ports, *options]
    log = repository.parent / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment())
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        yield Service(process=process, told=json.loads(line), log=log)
    finally:
        process.terminate()
        process.wait(60)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:  # it has just ended
        return ""
