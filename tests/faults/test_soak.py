# SPDX-License-Identifier: Apache-2.0
"""One served repository for a long time: load, rolls, bad versions, killed stubs, cancelled calls, killed clients."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression

import psutil
import pytest

from repo_tool.repository.labels import Labels, move
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.publish import StagedModel, publish, staging
from support.command import REPO_TOOL, environment, repo_tool
from support.open_loop import Calls, OpenLoop, publish_versioned, versioned_model, with_provenance

pytestmark = [pytest.mark.faults, pytest.mark.soak]

SOAK_S = float(os.environ.get("REPO_TOOL_SOAK_S", "60"))
EVENT_EVERY_S = 10.0
SAMPLE_EVERY_S = 2.0
WARM_UP = 0.25  # of the time: arenas and caches grow until then
MIB = 1 << 20
HURRIED_CLIENT = """
import sys, threading
import numpy as np
from repo_client import Client, RepoClientError
with Client(sys.argv[1]) as client:
    model = client.model("steady")
    def hurry():
        while True:
            try:
                model.infer({"x": np.zeros((1, 4), np.float32)}, timeout_s=0.001)
            except RepoClientError:
                pass
    for _ in range(4):
        threading.Thread(target=hurry, daemon=True).start()
    print("hurrying", flush=True)
    threading.Event().wait()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of what lives as long as the service does: tritonserver and repo-tool, without the stubs, which come and go."""

    at_s: float
    server: int  # its process number
    server_bytes: int
    tool_bytes: int
    descriptors: int
    shared_bytes: int


@dataclass(kw_only=True)
class Service:
    """``repo-tool serve --watch`` as a person starts it."""

    process: subprocess.Popen[str]
    http: str
    grpc: str
    sizes: list[Size] = field(default_factory=list)

    @property
    def shared_bytes(self) -> int:
        """Of the memory that the server shares with its stubs."""
        regions = Path("/dev/shm").glob(f"repo-tool-{self.process.pid}-*")  # noqa: S108 - POSIX shared memory lies there
        return sum(region.stat().st_size for region in regions if region.exists())

    def stubs(self, model: str) -> list[psutil.Process]:
        """The processes that compute a model."""
        everybody = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in everybody if any(f"/{model}/" in word for word in _words(each))]

    def measure(self, at_s: float) -> None:
        """Note how large it is, unless tritonserver is just being started again."""
        tool = psutil.Process(self.process.pid)
        server = next((each for each in tool.children(recursive=True) if each.name() == "tritonserver"), None)
        if server is None:
            return
        self.sizes.append(
            Size(
                at_s=at_s,
                server=server.pid,
                server_bytes=server.memory_info().rss,
                tool_bytes=tool.memory_info().rss,
                descriptors=tool.num_fds() + server.num_fds(),
                shared_bytes=self.shared_bytes,
            )
        )

    def warm(self) -> list[Size]:
        """What was measured of the tritonserver that lived longest, after its warm-up."""
        longest, count = Counter(size.server for size in self.sizes).most_common(1)[0]
        return [size for size in self.sizes if size.server == longest][int(count * WARM_UP) :]

    def growth_mib_an_hour(self, what: str) -> float:
        """The slope of a line through what was measured."""
        warm = self.warm()
        return (
            linear_regression([size.at_s for size in warm], [getattr(size, what) for size in warm]).slope * 3600 / MIB
        )

    def drift(self, what: str) -> int:
        """How much larger the largest of the last third is than the largest of the first one."""
        sizes = [getattr(size, what) for size in self.warm()]
        return max(sizes[-len(sizes) // 3 :]) - max(sizes[: len(sizes) // 3])


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


@contextmanager
def served(repository: ModelRepository) -> Iterator[Service]:
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    command = [REPO_TOOL, "serve", repository.path, "--watch", "--promote", "stable", "--json", *ports]
    log = repository.path.parent / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=errors, text=True, env=environment()
        )
    try:
        urls = json.loads(process.stdout.readline())
        yield Service(process=process, http=f"http://{urls['http']}", grpc=f"grpc://{urls['grpc']}")
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@dataclass(kw_only=True)
class Trouble:
    """What happens to the service, each kind by its name; counts how often it did."""

    service: Service
    repository: ModelRepository
    random: random.Random
    happened: dict[str, int] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)  # what did not come about in time

    def kinds(self) -> list[Callable[[], None]]:
        return [self.roll, self.roll, self.bad_version, self.kill_stub, self.stop_stub, self.kill_client, self.prune]

    def once(self) -> None:
        kind = self.random.choice(self.kinds())
        self.happened[kind.__name__] = self.happened.get(kind.__name__, 0) + 1
        kind()

    def _next(self) -> int:
        return max(self.repository.model("rolled").versions()) + 1

    def roll(self) -> None:
        """A good version, which the label must come to."""
        version = publish_versioned(self.repository, "rolled", self._next())
        self._wait(lambda: Labels.of(self.repository).versions("rolled")["stable"] == version, f"version {version}")

    def bad_version(self) -> None:
        """One that no server loads; the label stays."""
        stable = Labels.of(self.repository).versions("rolled")["stable"]
        with staging(self.repository) as stage:
            directory = versioned_model(stage.repository.path, "rolled", self._next())
            version = directory.latest_version()
            model = directory.version_path(version) / "model.onnx"
            model.write_bytes(model.read_bytes()[:-20])
            with_provenance(directory, version)
            publish([StagedModel(directory=directory, version=version)], self.repository)
        time.sleep(1)  # for the service to do the wrong thing in
        assert Labels.of(self.repository).versions("rolled")["stable"] == stable

    def kill_stub(self) -> None:
        self._replace(signal.SIGKILL)

    def stop_stub(self) -> None:
        self._replace(signal.SIGSTOP)

    def _replace(self, how: signal.Signals) -> None:
        victims = self.service.stubs("victim")
        if not victims:
            return
        victim = self.random.choice(victims)
        victim.send_signal(how)
        self._wait(
            lambda: (stubs := self.service.stubs("victim")) and victim not in stubs and len(stubs) >= 2,
            f"another stub than {victim.pid}",
        )

    def kill_client(self) -> None:
        """One that gives up at once, again and again, and is killed in the middle of it.

        Over HTTP: Triton 2.51 may end with SIGSEGV where gRPC calls are cancelled as their answers come.
        """
        client = subprocess.Popen(
            [sys.executable, "-c", HURRIED_CLIENT, self.service.http], stdout=subprocess.PIPE, text=True
        )
        client.stdout.readline()
        time.sleep(self.random.uniform(0.1, 1.0))  # how long it lives is part of the draw
        client.kill()
        client.wait()

    def prune(self) -> None:
        done = repo_tool("prune", "rolled", "--keep", "3", "--repository", self.repository.path)
        assert done.returncode == 0, done.stderr

    def _wait(self, has_come: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not has_come():
            if time.monotonic() > deadline:
                self.late.append(f"{what} had not come after {timeout_s:g} s")
                return
            time.sleep(0.05)  # between two looks of a poll with a deadline


@contextmanager
def loaded(service: Service, repository: ModelRepository, seed: int) -> Iterator[list[Calls]]:
    loads = [
        OpenLoop(service.http, "steady", rate=20, seed=seed),
        OpenLoop(service.grpc, "rolled", rate=20, seed=seed + 1, label="stable", labels=repository.path),
        OpenLoop(service.http, "victim", rate=10, seed=seed + 2),
    ]
    with ExitStack() as stack:
        yield [stack.enter_context(load).calls for load in loads]


@pytest.mark.timeout(SOAK_S + 300)
def test_everything_at_once_for_a_long_time(tmp_path, seed, figures, is_full):
    repository = ModelRepository(tmp_path / "models")
    repository.path.mkdir()
    for name, instances in (("steady", 1), ("rolled", 1), ("victim", 2)):
        publish_versioned(repository, name, 1, instances=instances)
    move(repository, "rolled", "stable", 1)
    with served(repository) as service:
        trouble = Trouble(service=service, repository=repository, random=random.Random(seed))  # noqa: S311 - it is to be drawn again
        with loaded(service, repository, seed) as calls:
            _let_happen(service, trouble)
    everything = [call for each in calls for call in each.ended]
    failed = {kind: words for each in calls for kind, words in each.failed.items()}
    answered = sum(each.answered for each in calls)
    growth = {what: service.growth_mib_an_hour(what) for what in ("server_bytes", "tool_bytes")}
    measured = {
        "hours": SOAK_S / 3600,
        "requests": len(everything),
        "answered": f"{100 * answered / len(everything):.4f} %",
        "answered by another version than claimed": sum(len(each.wrong) for each in calls),
        "failed": json.dumps({kind: words[0] for kind, words in failed.items()}) if failed else "none",
        "p50, p99 (ms) of the model left in peace": f"{calls[0].latency_ms(0.5):.1f}, {calls[0].latency_ms(0.99):.1f}",
        "what happened": ", ".join(f"{name} {count}" for name, count in sorted(trouble.happened.items())),
        "tritonserver ended by itself": sum(before.server != size.server for before, size in pairwise(service.sizes)),
        "what came late": "; ".join(trouble.late) or "nothing",
        "tritonserver grew, MiB/h": growth["server_bytes"],
        "repo-tool grew, MiB/h": growth["tool_bytes"],
        "descriptors grew by": service.drift("descriptors"),
        "shared memory grew by, bytes": service.drift("shared_bytes"),
        "shared memory left at the end, bytes": service.shared_bytes,
    }
    is_flat = service.drift("descriptors") <= 2 and service.drift("shared_bytes") <= 0
    passed = answered >= 0.9999 * len(everything) and max(growth.values()) <= 1 and is_flat and not trouble.late
    figures.record(row="soak", measured=measured, passed=passed, seed=seed)
    assert not sum(len(each.wrong) + each.hung for each in calls), failed
    assert answered >= 0.99 * len(everything), failed
    if is_full:
        assert passed, measured


def _let_happen(service: Service, trouble: Trouble) -> None:
    started = time.monotonic()
    next_event, next_sample = EVENT_EVERY_S, 0.0
    while (now := time.monotonic() - started) < SOAK_S:
        if now >= next_sample:
            service.measure(now)
            next_sample += SAMPLE_EVERY_S
        elif now >= next_event:
            trouble.once()
            next_event += EVENT_EVERY_S
        else:
            time.sleep(0.1)  # the pace of the whole
