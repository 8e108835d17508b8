# SPDX-License-Identifier: Apache-2.0
"""A measurement on disk: a CSV for spreadsheets, a JSON with all that repeats it, and a plot."""

__all__ = ["Report", "result_to_dict", "write_report"]

import csv
import dataclasses
import errno
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.bench.plot import draw
from repo_tool.bench.result import BenchResult, Level
from repo_tool.errors import NoSpaceError, UserMistakeError

_FIGURES = [field.name for field in dataclasses.fields(Level) if field.name != "work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The files that were written; ``plot`` is None where none was asked for."""

    csv: Path
    json: Path
    plot: Path | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that was written."""
        return (self.csv, self.json, *([self.plot] if self.plot else []))


def write_report(result: BenchResult, folder: Path, *, plot: bool = True) -> Report:
    """Write ``<folder>/<model>.csv``, ``.json`` and ``.png``; a former measurement of the model is replaced.

    Raises:
        NoSpaceError: the disk is full.
        UserMistakeError: the folder cannot be written to.
        MissingExtraError: matplotlib is not installed; the other two files are there by then.
    """
    stem = folder / result.model.name
    report = Report(
        csv=stem.with_name(f"{stem.name}.csv"),
        json=stem.with_name(f"{stem.name}.json"),
        plot=stem.with_name(f"{stem.name}.png") if plot else None,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report.csv.write_text(_csv(result), encoding="utf-8")
        report.json.write_text(json.dumps(result_to_dict(result), indent=2) + "\n", encoding="utf-8")
        if report.plot is not None:
            draw(result, report.plot)
    except OSError as error:
        raise _write_error(folder, error) from error
    return report


def _write_error(folder: Path, error: OSError) -> UserMistakeError:
    if error.errno == errno.ENOSPC:
        return NoSpaceError(
            f"no space left for the results in '{folder}'",
            cause=str(error),
            next_step="free some, or choose --output on another disk",
        )
    return UserMistakeError(
        f"the results cannot be written to '{folder}'",
        cause=str(error),
        next_step="choose another folder with --output",
    )


def _csv(result: BenchResult) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIGURES, "average_batch"])
    for level in result.levels:
        writer.writerow([*(_cell(getattr(level, name)) for name in _FIGURES), f"{level.average_batch:.2f}"])
    return text.getvalue()


def _cell(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if value < 1e5 else f"{value:.1f}"


def result_to_dict(result: BenchResult) -> dict[str, Any]:
    """As plain values: the model, how it was measured, on what, and the levels. The server's host is left out."""
    plan = dataclasses.asdict(result.plan)
    del plan["server"], plan["model"], plan["version"]
    return {
        "model": result.model.name,
        "version": result.model.version,
        "backend": result.model.backend,
        "max_batch_size": result.model.max_batch_size,
        "protocol": str(result.plan.server.protocol),
        "server_on_this_machine": result.plan.server.is_loopback,
        "started_at": result.started_at.isoformat(timespec="seconds"),
        "triton_version": result.triton_version,
        "perf_analyzer_version": result.perf_analyzer_version,
        "machine": dataclasses.asdict(result.machine),
        "plan": plan,
        "best_concurrency": result.best.concurrency,
        "knee_concurrency": result.knee.concurrency,
        "levels": [_level(level) for level in result.levels],
    }


def _level(level: Level) -> dict[str, Any]:
    work = [dataclasses.asdict(one) | {"average_batch": round(one.average_batch, 2)} for one in level.work]
    return dataclasses.asdict(level) | {"work": work}
