# SPDX-License-Identifier: Apache-2.0
"""Throughput and latency of a served model over concurrency, measured by perf_analyzer, one run of it per level."""

__all__ = ["measure"]

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from repo_tool.bench.input_data import input_document
from repo_tool.bench.install import PerfAnalyzer
from repo_tool.bench.machine import describe_machine
from repo_tool.bench.plan import BenchPlan
from repo_tool.bench.result import BenchResult, Level, parse_report
from repo_tool.bench.rows import RowSource
from repo_tool.bench.served import ServedModel, Triton
from repo_tool.errors import BatchingError, BenchmarkError

_UNSTABLE = "Failed to obtain stable measurement"
_ANY_STABILITY = 1_000_000.0  # percent: the first three windows are taken, whatever they show
_LONGEST_S = 600.0  # for a window that ends by a count
_GRACE_S = 60.0


def measure(
    plan: BenchPlan,
    rows: RowSource,
    *,
    perf_analyzer: PerfAnalyzer,
    on_start: Callable[[int], None] = lambda _concurrency: None,
    on_level: Callable[[Level], None] = lambda _level: None,
) -> BenchResult:
    """Measure every level of ``plan`` with requests made of ``rows``.

    Raises:
        ServerUnreachableError: no server answers.
        RepositoryError: it does not serve the model.
        BatchingError: the model takes no such batch.
        SampleError: the rows do not fit it.
        BenchmarkError: perf_analyzer failed.
    """
    started_at, machine = datetime.now(UTC), describe_machine()
    with Triton(plan.server) as triton, tempfile.TemporaryDirectory(prefix="repo-tool-bench-") as folder:
        triton_version = triton.version()
        model = triton.model(plan.model, plan.version)
        _check_batch(plan, model)
        data = Path(folder, "input.json")
        document = input_document(model.inputs, rows(model), batched=model.max_batch_size > 0)
        data.write_text(json.dumps(document), encoding="utf-8")
        bench = _Bench(plan=plan, model=model, perf_analyzer=perf_analyzer, data=data)
        levels = []
        for concurrency in plan.concurrency:
            on_start(concurrency)
            with triton.counting(model) as work:
                level = bench.level(concurrency)
            levels.append(replace(level, work=tuple(work)))
            on_level(levels[-1])
    return BenchResult(
        plan=plan,
        model=model,
        levels=tuple(levels),
        machine=machine,
        triton_version=triton_version,
        perf_analyzer_version=perf_analyzer.version,
        started_at=started_at,
    )


def _check_batch(plan: BenchPlan, model: ServedModel) -> None:
    if plan.batch_size > max(model.max_batch_size, 1):
        raise BatchingError(
            f"'{model.name}' takes no batch of {plan.batch_size} rows",
            cause=f"its max_batch_size is {model.max_batch_size}",
            next_step=f"choose --batch-size {max(model.max_batch_size, 1)} or less",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """perf_analyzer with all but the level chosen."""

    plan: BenchPlan
    model: ServedModel
    perf_analyzer: PerfAnalyzer
    data: Path

    def level(self, concurrency: int) -> Level:
        """Measure one level. perf_analyzer drops figures that never settle; we take them once more, and say so."""
        settled = self._run(concurrency, stability=self.plan.stability_percent, windows=self.plan.max_windows)
        if settled is not None:
            return settled
        as_it_came = self._run(concurrency, stability=_ANY_STABILITY, windows=3)
        if as_it_came is None:
            raise BenchmarkError(f"perf_analyzer has no figures for concurrency {concurrency}")
        return replace(as_it_came, stable=False)

    def _run(self, concurrency: int, *, stability: float, windows: int) -> Level | None:
        """One run; None where it took all its windows and they did not agree."""
        report = self.data.with_name("report.csv")
        report.unlink(missing_ok=True)
        command = self._command(concurrency, stability=stability, windows=windows, report=report)
        answer = self._finished(command, concurrency)
        words = f"{answer.stdout}\n{answer.stderr}"
        if answer.returncode != 0 and _UNSTABLE in words:
            return None
        if answer.returncode != 0 or not report.is_file():
            raise _failure(concurrency, words)
        with report.open(encoding="utf-8", newline="") as lines:
            levels = parse_report(lines)
        if len(levels) != 1:
            raise _failure(concurrency, words)
        return levels[0]

    def _command(self, concurrency: int, *, stability: float, windows: int, report: Path) -> list[str]:
        plan, server = self.plan, self.plan.server
        command = [str(self.perf_analyzer.path), "-m", self.model.name, "-x", self.model.version]
        command += ["-u", server.location, "-i", server.protocol, "-b", str(plan.batch_size)]
        command += ["--input-data", str(self.data), "--concurrency-range", str(concurrency)]
        command += ["-s", f"{stability:g}", "-r", str(windows), "-f", str(report), "--verbose-csv"]
        if plan.window_requests is None:
            command += ["-p", str(plan.window_ms)]
        else:
            command += ["--measurement-mode", "count_windows", "--measurement-request-count", str(plan.window_requests)]
        if plan.settle_on is not None:
            command += ["--percentile", str(plan.settle_on)]
        return command

    def _finished(self, command: list[str], concurrency: int) -> subprocess.CompletedProcess[str]:
        windows_s = self.plan.max_windows * self.plan.window_ms / 1000
        limit_s = _GRACE_S + (2 * windows_s if self.plan.window_requests is None else _LONGEST_S)
        environment = self.perf_analyzer.environment()
        try:
            return subprocess.run(  # noqa: S603 - the program was chosen by the user, and no shell reads the arguments
                command, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(
                f"perf_analyzer did not finish concurrency {concurrency} within {limit_s:.0f} s",
                cause="the model answers slowly or not at all",
                next_step="try a lower --concurrency, and look at the server's log",
            ) from error


_STEPS = {
    "No valid requests recorded": "give a longer --window-ms: no request was answered within one",
    "Failed to maintain requested inference load": "try the model with 'repo-tool call', which shows its answer",
}


def _failure(concurrency: int, words: str) -> BenchmarkError:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    step = next((step for sign, step in _STEPS.items() if sign in words), "look at the server's log")
    return BenchmarkError(
        f"perf_analyzer failed at concurrency {concurrency}",
        cause=" | ".join(dict.fromkeys(lines[-3:])) or "it said nothing",
        next_step=step,
    )
