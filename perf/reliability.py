# SPDX-License-Identifier: Apache-2.0
"""Writes perf/results/reliability.md from what the tests of tests/faults measured at full size.

Example: make reliability && make soak
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "perf" / "results"
FIGURES = RESULTS / "reliability"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: what is done, and what must come of it."""

    name: str  # of its file
    done: str
    limit: str


ROWS = (
    Row(
        name="version_rolls",
        done="50 version rolls under at least 100,000 requests",
        limit="0 failed, 0 answered by the wrong version, p99 in the roll at most twice the steady one",
    ),
    Row(
        name="bad_versions",
        done="12 kinds of bad version while the old one serves, to callers with and without a label",
        limit="0 failed on the old one, cause named within 5 s, repository as before",
    ),
    Row(
        name="crash_consistency",
        done="kill -9, EIO and ENOSPC at every write, fsync and rename of add-model, at least 500 runs",
        limit="always exactly the old or the new repository, `fsck` clean or self-repaired",
    ),
    Row(
        name="crash_states",
        done="every state of the disk that a kill -9 of add-model can leave, from one watched run each",
        limit="each is the old or the new repository, and `fsck --repair` puts it in order",
    ),
    Row(
        name="changes_states",
        done="the same of labels, removals, configurations and models that change together",
        limit="the same",
    ),
    Row(
        name="changes_cut_off",
        done="EIO, ENOSPC and torn writes in those changes",
        limit="the same",
    ),
    Row(
        name="publisher_storm",
        done="16 publishers, 50 publishes each, at once",
        limit="0 versions lost or doubled, `fsck` clean",
    ),
    Row(
        name="publisher_storm_with_kills",
        done="the same, and some of them killed",
        limit="the same",
    ),
    Row(
        name="push_killed",
        done="`push` to an object store killed 25 times at any moment",
        limit="whoever pulls gets the old or the new, and Triton never half a version",
    ),
    Row(
        name="served_is_published",
        done="1,000 publishes and rollbacks, with old modification times and restarts",
        limit="what is served has the published digest, always",
    ),
    Row(
        name="stub_killed",
        done="a stub killed every 10 s for 10 minutes, 2 instances, 50 requests/s",
        limit="noticed within 1 s, back within 5 s and the load, at most 0.1 % of the requests fail",
    ),
    Row(
        name="stub_stopped",
        done="a stub stopped (SIGSTOP)",
        limit="no request overruns its deadline by more than 100 ms, replaced within 10 s",
    ),
    Row(
        name="server_killed",
        done="tritonserver killed 20 times under load",
        limit="no request hangs, serving within 3 s and the load, /dev/shm as large as before",
    ),
    Row(
        name="supervisor_idle",
        done="nothing: 8 models are watched and nobody asks them",
        limit="less than 1 % of a core",
    ),
    Row(
        name="drain",
        done="SIGTERM with requests in flight and idle connections",
        limit="all requests finish, no reset, exit within the grace",
    ),
    Row(
        name="soak",
        done="an hour of load, rolls, bad versions, kills and crashing clients",
        limit="99.99 % answered, memory grows at most 1 MiB/h, descriptors and /dev/shm flat",
    ),
)


def main() -> None:
    """Write the page."""
    lines = [
        "# What breaks, and what comes of it",
        "",
        "Each row is a test in `tests/faults`, run at full size by `make reliability` and `make soak`, as a sample by",
        "`make test-faults`. Written by `perf/reliability.py` from `perf/results/reliability/*.json`.",
        "",
        "| what is done | what must come of it | |",
        "|---|---|---|",
        *(f"| {row.done} | {row.limit} | {_verdict(_figures(row))} |" for row in ROWS),
    ]
    for row in ROWS:
        lines += ["", f"## {row.done[0].upper()}{row.done[1:]}", "", *_details(_figures(row))]
    (RESULTS / "reliability.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _figures(row: Row) -> Mapping[str, Any] | None:
    path = FIGURES / f"{row.name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _verdict(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "not measured"
    return "kept" if figures["passed"] else "**MISSED**"


def _details(figures: Mapping[str, Any] | None) -> Iterator[str]:
    if figures is None:
        yield "Not measured yet."
        return
    seed = "" if figures["seed"] is None else f", seed {figures['seed']}"
    yield f"`{figures['test']}`, {figures['at']}, {figures['seconds']:,.0f} s{seed}, {figures['machine']}"
    yield ""
    yield "| measured | |"
    yield "|---|---:|"
    for what, value in figures["measured"].items():
        yield f"| {what} | {_shown(value)} |"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "<br>".join(f"{name}: {_shown(each)}" for name, each in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if type(value) is int else " ".join(str(value).replace("|", "/").split())


if __name__ == "__main__":
    main()
