# SPDX-License-Identifier: Apache-2.0
"""Stubs that stand still: no request waits for them beyond its deadline, and others take their place."""

import os
import random
import signal
import time

import pytest

from repo_tool.repository.layout import ModelRepository
from support.open_loop import OpenLoop, publish_versioned
from support.supervised_service import serving, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
RATE = 50  # requests per second
INSTANCES = 2
DEADLINE_S = 2.0


def test_a_stopped_stub_holds_nobody_beyond_his_deadline_and_is_replaced(tmp_path, scale, seed, figures, is_full):
    draw = random.Random(seed)  # noqa: S311 # to be drawn again, no secret
    stops = scale(3, 30)
    repository = ModelRepository(tmp_path / "repository")
    repository.path.mkdir()
    publish_versioned(repository, "victim", 1, instances=INSTANCES)
    replaced = []
    with (
        serving(repository.path) as service,
        OpenLoop(service.url, "victim", rate=RATE, seed=seed, timeout_s=DEADLINE_S) as load,
    ):
        load.wait_for(RATE)
        for turn in range(stops):
            victims = draw.sample(service.stubs(INSTANCES), 1 + turn % 2)  # one of two, then both
            stopped = time.time()
            for victim in victims:
                os.kill(victim.pid, signal.SIGSTOP)
            replaced.append(service.wait_for_event("model repaired", stopped))
            wait_for(lambda gone=victims: not {stub.pid for stub in gone} & _running(service))
            load.wait_for(RATE * 4)
    calls = load.calls
    measured = {
        "stops": stops,
        "requests": len(calls.ended),
        "failed requests": calls.failures,
        "wrong answers": len(calls.wrong),
        "hung requests": calls.hung,
        "longest overrun of a deadline [ms]": round(calls.longest_overrun_s * 1e3, 1),
        "replaced at most [s]": round(max(replaced), 3),
    }
    passed = not calls.wrong and not calls.hung and calls.longest_overrun_s <= 0.1 and max(replaced) <= 10.0
    figures.record(row="stub_stopped", measured=measured, passed=passed, seed=seed)
    assert not calls.wrong
    assert not calls.hung, calls.failed
    assert passed or not is_full, measured


def _running(service):
    return {stub.pid for stub in service.stubs(100)}
