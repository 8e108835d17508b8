# SPDX-License-Identifier: Apache-2.0
"""What was measured: a level's figures as perf_analyzer wrote them, and a whole measurement."""

__all__ = ["BenchResult", "Level", "parse_report"]

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from repo_tool.bench.machine import Machine
from repo_tool.bench.plan import BenchPlan
from repo_tool.bench.served import ModelWork, ServedModel
from repo_tool.errors import BenchmarkError

_KNEE_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level's figures. Latencies are of whole requests as the client sees them; ``server_…`` are averages."""

    concurrency: int
    stable: bool  # False: the windows never agreed; the figures are of three windows as they came
    throughput_per_s: float  # rows, not requests
    average_us: float
    p50_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    server_queue_us: float
    server_compute_input_us: float
    server_compute_infer_us: float
    server_compute_output_us: float
    work: tuple[ModelWork, ...] = ()  # the model itself, then an ensemble's steps

    @property
    def average_batch(self) -> float:
        """Rows per execution of the model; 0 where the server did not count."""
        return self.work[0].average_batch if self.work else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """A measurement with all that is needed to repeat it."""

    plan: BenchPlan
    model: ServedModel
    levels: tuple[Level, ...]
    machine: Machine
    triton_version: str
    perf_analyzer_version: str
    started_at: datetime

    @property
    def best(self) -> Level:
        """The level with the highest throughput."""
        return max(self.levels, key=lambda level: level.throughput_per_s)

    @property
    def knee(self) -> Level:
        """The lowest concurrency within 10 % of the best throughput: beyond it, load mostly adds latency."""
        enough = _KNEE_SHARE * self.best.throughput_per_s
        return min((one for one in self.levels if one.throughput_per_s >= enough), key=lambda level: level.concurrency)


# perf_analyzer's names, as its --verbose-csv writes them; times are in microseconds.
_COLUMNS = {
    "throughput_per_s": "Inferences/Second",
    "p50_us": "p50 latency",
    "p90_us": "p90 latency",
    "p95_us": "p95 latency",
    "p99_us": "p99 latency",
    "server_queue_us": "Server Queue",
    "server_compute_input_us": "Server Compute Input",
    "server_compute_infer_us": "Server Compute Infer",
    "server_compute_output_us": "Server Compute Output",
}
_AVERAGE_PARTS = ("request/response", "response wait")  # told apart instead of their sum when a percentile must settle


def parse_report(lines: Iterable[str]) -> tuple[Level, ...]:
    """The levels in a report that perf_analyzer wrote with ``-f FILE --verbose-csv``, in its order.

    Raises:
        BenchmarkError: a column is missing, or holds no number.
    """
    try:
        return tuple(_level(row) for row in csv.DictReader(lines))
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(
            "the report of perf_analyzer is not as expected",
            cause=f"{type(error).__name__}: {error}",
            next_step="use perf_analyzer 2.51.0",
        ) from error


def _level(row: dict[str, str]) -> Level:
    figures = {name: float(row[column]) for name, column in _COLUMNS.items()}
    average = row.get("Avg latency") or sum(float(row[part]) for part in _AVERAGE_PARTS)
    return Level(concurrency=int(row["Concurrency"]), stable=True, average_us=float(average), work=(), **figures)
