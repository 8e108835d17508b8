# SPDX-License-Identifier: Apache-2.0
"""What it costs to watch over a server and its repository while nothing happens."""

import time

import psutil
import pytest

from repo_tool.repository.layout import ModelRepository
from support.open_loop import publish_versioned
from support.supervised_service import serving

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
MODELS = 8


def test_watching_over_a_server_costs_less_than_a_hundredth_of_a_core(tmp_path, scale, figures, is_full):
    seconds = scale(5.0, 60.0)
    repository = ModelRepository(tmp_path / "repository")
    repository.path.mkdir()
    for number in range(MODELS):
        publish_versioned(repository, f"model_{number}", 1)
    with serving(repository.path, "--watch") as service:
        process = psutil.Process(service.process.pid)
        time.sleep(3.0)  # what the start leaves to do is no part of it
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)  # the idle time that is measured
        share = (sum(process.cpu_times()[:2]) - before) / seconds
    measured = {"models": MODELS, "seconds": seconds, "share of a core": round(share, 5)}
    figures.record(row="supervisor_idle", measured=measured, passed=share < 0.01)
    assert share < (0.01 if is_full else 0.05), measured
