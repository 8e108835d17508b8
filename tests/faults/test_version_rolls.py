# SPDX-License-Identifier: Apache-2.0
"""A model rolled from version to version under load: who is answered, by which version, and how fast."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic, time

import numpy as np
import pytest

from repo_tool.repository.labels import labels_path
from repo_tool.repository.layout import ModelRepository
from support.live_roll_outs import Live, live
from support.load_elsewhere import OpenLoopElsewhere
from support.open_loop import Call, publish_versioned

pytestmark = pytest.mark.faults

SETTLED_S = 1.0  # after a roll, in which Triton unloads the old version
VISIBLE_S = 0.2
MOST_SLOWER = 2.0
TICK_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """One roll; times are of the monotonic clock."""

    version: int
    began: float
    moved: float  # when the label did
    ended: float


def test_rolls_under_load_fail_no_request_and_none_is_answered_by_a_wrong_version(
    tmp_path, scale, is_full, seed, figures
):
    rolls_wanted, requests_wanted, rate = scale(4, 50), scale(0, 100_000), scale(60, 95)
    repository = ModelRepository(tmp_path / "models")
    publish_versioned(repository, "m", 1)
    with live(repository) as served:
        served.roll_out("m", label="stable")
        to_the_newest = OpenLoopElsewhere(f"grpc://{served.server.grpc_url}", "m", rate=rate, seed=seed, timeout_s=20)
        by_label = OpenLoopElsewhere(
            f"http://{served.server.http_url}",
            "m",
            rate=rate,
            seed=seed + 1,
            timeout_s=20,
            label="stable",
            labels=repository.path,
        )
        rolls = []
        with to_the_newest, by_label:
            by_label.sent(after=2 * rate)
            for done in range(rolls_wanted):
                rolls.append(rolled(served, done + 2))
                enough = requests_wanted * (done + 1) / rolls_wanted
                while sent(to_the_newest, by_label) < enough or monotonic() < rolls[-1].ended + SETTLED_S:
                    by_label.sent(after=10)
    measured = {
        "rolls": len(rolls),
        "requests": to_the_newest.calls.sent + by_label.calls.sent,
        "failed requests": to_the_newest.calls.failures + by_label.calls.failures,
        "answered by a wrong version": len(list(wrong_versions(to_the_newest, by_label, rolls))),
        **latencies((to_the_newest, by_label), rolls),
        "slowest switch, seen by clients (ms)": round(1e3 * slowest_switch_s(by_label, rolls), 1),
    }
    is_fast = (
        measured["p99 in a roll (ms)"] <= MOST_SLOWER * measured["p99 in between (ms)"]
        and measured["slowest switch, seen by clients (ms)"] <= 1e3 * VISIBLE_S
    )
    is_right = not measured["failed requests"] and not measured["answered by a wrong version"]
    figures.record(row="version_rolls", measured=measured, passed=is_fast and is_right, seed=seed)
    assert not to_the_newest.calls.failed
    assert not by_label.calls.failed
    assert not list(wrong_versions(to_the_newest, by_label, rolls))
    assert by_label.calls.versions == set(range(1, rolls_wanted + 2))
    if is_full:
        assert is_fast, measured


def sent(*loads: OpenLoopElsewhere) -> int:
    return sum(load.sent() for load in loads)


def rolled(served: Live, version: int) -> Roll:
    publish_versioned(served.repository, "m", version)
    began = monotonic()
    served.roll_out("m", label="stable")
    moved_ago_s = time() - labels_path(served.repository).stat().st_ctime  # of the rename
    ended = monotonic()
    return Roll(version=version, began=began, moved=ended - moved_ago_s, ended=ended)


def wrong_versions(to_the_newest: OpenLoopElsewhere, by_label: OpenLoopElsewhere, rolls: list[Roll]) -> Iterator[Call]:
    """Answers of a version that was not to be called at any moment of the call."""
    for load in (to_the_newest, by_label):
        for call in load.calls.ended:
            due, ended = load.started + call.due_s, load.started + call.ended_s
            if load is by_label:  # the label is looked at between the two; a file's time is exact to a tick
                at_first = 1 + sum(roll.moved + TICK_S < due for roll in rolls)
                at_last = 1 + sum(roll.moved - TICK_S < ended for roll in rolls)
            else:  # Triton's newest is the new one from some moment of the roll on
                at_first = 1 + sum(roll.ended < due for roll in rolls)
                at_last = 1 + sum(roll.began < ended for roll in rolls)
            if call.version is not None and not at_first <= call.version <= at_last:
                yield call


def slowest_switch_s(load: OpenLoopElsewhere, rolls: list[Roll]) -> float:
    """The longest time after a label moved that a request left for the old version."""
    late = (
        load.started + call.due_s - roll.moved
        for roll in rolls
        for call in load.calls.ended
        if call.version is not None and call.version < roll.version and load.started + call.due_s > roll.moved
    )
    return max(late, default=0.0)


def latencies(loads: tuple[OpenLoopElsewhere, ...], rolls: list[Roll]) -> dict[str, float]:
    """Of calls in rolls and of those in between."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for load in loads:
        for call in load.calls.within(1, float("inf")):  # connections are opened before
            due = load.started + call.due_s
            in_roll = any(roll.began <= due < roll.ended + SETTLED_S for roll in rolls)
            found[in_roll].append(call.latency_s * 1e3)
    return {
        "p99 in a roll (ms)": round(float(np.quantile(found[True], 0.99)), 1),
        "p99 in between (ms)": round(float(np.quantile(found[False], 0.99)), 1),
        "p50 in a roll (ms)": round(float(np.quantile(found[True], 0.5)), 1),
        "p50 in between (ms)": round(float(np.quantile(found[False], 0.5)), 1),
    }
