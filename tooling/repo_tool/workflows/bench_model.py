# SPDX-License-Identifier: Apache-2.0
"""Measuring a model end to end: perf_analyzer found or fetched, a server found or started, the files written."""

__all__ = ["BenchRequest", "BenchedModel", "bench_model", "choose_address"]

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repo_tool.bench.install import find_or_install
from repo_tool.bench.plan import BenchPlan
from repo_tool.bench.plot import require_matplotlib
from repo_tool.bench.report import Report, result_to_dict, write_report
from repo_tool.bench.result import BenchResult, Level
from repo_tool.bench.rows import file_rows, published_rows
from repo_tool.bench.run import measure
from repo_tool.bench.served import ServerAddress, WireProtocol
from repo_tool.errors import UserMistakeError
from repo_tool.workflows.progress import Progress, Step

_DEFAULT_LOCATIONS = {WireProtocol.GRPC: "127.0.0.1:8001", WireProtocol.HTTP: "127.0.0.1:8000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What to measure, where, and where the files go."""

    plan: BenchPlan
    serve: bool = False  # on an embedded Triton of our own; the plan's address then gives the protocol alone
    repository: Path = Path("model_repository")
    sample: Path | None = None  # None for the sample published with the model
    output: Path = Path("perf/results")
    plot: bool = True
    perf_analyzer: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchedModel:
    """The figures, and the files that hold them."""

    result: BenchResult
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return result_to_dict(self.result) | {"files": [str(path) for path in self.report.paths]}


def choose_address(server: str | None, protocol: str | None, *, serve: bool = False) -> ServerAddress:
    """The address that these options mean together; alone, each has a default for the other.

    Raises:
        UserMistakeError: one of them means nothing, or they contradict each other.
    """
    if serve and server is not None:
        raise UserMistakeError(
            "--serve contradicts --server",
            cause="an embedded Triton chooses its own ports",
            next_step="leave one of them out",
        )
    if server is None:
        known = WireProtocol.GRPC if protocol is None else _protocol(protocol)
        return ServerAddress(protocol=known, location=_DEFAULT_LOCATIONS[known])
    address = ServerAddress.parse(server)
    if protocol is not None and _protocol(protocol) is not address.protocol:
        raise UserMistakeError(
            f"--protocol {protocol} contradicts --server {server}",
            cause="the address begins with its protocol",
            next_step="leave --protocol out, or give the address of the other port",
        )
    return address


def _protocol(name: str) -> WireProtocol:
    try:
        return WireProtocol(name)
    except ValueError as error:
        raise UserMistakeError(
            f"'{name}' is no protocol of Triton's", next_step="write --protocol grpc or --protocol http"
        ) from error


def bench_model(request: BenchRequest, progress: Progress) -> BenchedModel:
    """Measure a model and write the report.

    Raises:
        RepoToolError: anything that ``find_or_install``, ``EmbeddedServer``, ``measure`` and ``write_report`` raise.
    """
    if request.plot:
        require_matplotlib()
    with progress.step("perf_analyzer") as step:
        perf_analyzer = find_or_install(request.perf_analyzer)
        step.detail = f"version {perf_analyzer.version}"
    rows = file_rows(request.sample) if request.sample else published_rows(request.repository)
    with _plan_with_server(request, progress) as plan, _LevelSteps(progress) as steps:
        result = measure(plan, rows, perf_analyzer=perf_analyzer, on_start=steps.begin, on_level=steps.end)
    return BenchedModel(result=result, report=write_report(result, request.output, plot=request.plot))


@contextmanager
def _plan_with_server(request: BenchRequest, progress: Progress) -> Iterator[BenchPlan]:
    if not request.serve:
        yield request.plan
        return
    from repo_tool.triton.server import EmbeddedServer

    protocol, name = request.plan.server.protocol, request.plan.model
    with ExitStack() as stack:
        with progress.step("embedded Triton") as step:
            server = stack.enter_context(EmbeddedServer(request.repository))
            server.load(name)
            step.detail = f"serves '{name}'"
        location = server.grpc_url if protocol is WireProtocol.GRPC else server.http_url
        yield replace(request.plan, server=ServerAddress(protocol=protocol, location=location))


class _LevelSteps(ExitStack):
    """One step of the progress per level, though ``measure`` tells of its start and end apart."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._step: Step | None = None

    def begin(self, concurrency: int) -> None:
        self._step = self.enter_context(self._progress.step(f"concurrency {concurrency}"))

    def end(self, level: Level) -> None:
        if self._step is not None:
            settled = "" if level.stable else ", unsettled"
            self._step.detail = f"{level.throughput_per_s:,.0f} rows/s, p95 {level.p95_us / 1000:.2f} ms{settled}"
        self.close()
