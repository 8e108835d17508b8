# SPDX-License-Identifier: Apache-2.0
"""The server itself is killed under load: it comes back on its ports with what it served, and leaves nothing behind."""

import time

import psutil
import pytest

from repo_tool.repository.layout import ModelRepository
from support.open_loop import OpenLoop, publish_versioned
from support.supervised_service import serving, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
RATE = 50  # requests per second
LIFE_S = 4.0  # a server that dies sooner again and again is given up


def test_a_killed_server_comes_back_with_what_it_served(tmp_path, scale, seed, figures, is_full):
    kills = scale(3, 20)
    repository = ModelRepository(tmp_path / "repository")
    repository.path.mkdir()
    publish_versioned(repository, "victim", 1, instances=2)
    back = []
    with serving(repository.path) as service:
        before, descriptors = service.shared_bytes, psutil.Process(service.process.pid).num_fds()
        with OpenLoop(service.url, "victim", rate=RATE, seed=seed) as load:
            load.wait_for(RATE)
            for _ in range(kills):
                killed = time.time()
                service.server.kill()
                back.append(service.wait_for_event("server restarted", killed))
                serves_since = killed + back[-1]
                wait_for(lambda since=serves_since: time.time() > since + LIFE_S)
                load.wait_for(RATE)
        wait_for(lambda: service.shared_bytes == before, what=lambda: f"{service.shared_bytes}, not {before} bytes")
        after, descriptors_after = service.shared_bytes, psutil.Process(service.process.pid).num_fds()
        load_s = service.load_s
    calls = load.calls
    measured = {
        "kills": kills,
        "requests": len(calls.ended),
        "failed requests": calls.failures,
        "wrong answers": len(calls.wrong),
        "hung requests": calls.hung,
        "serving again at most [s]": round(max(back), 3),
        "of which loading, when it started [s]": round(load_s, 3),
        "shared memory before and after [bytes]": [before, after],
        "file descriptors of repo-tool before and after": [descriptors, descriptors_after],
    }
    in_time = max(back) <= 3.0 + load_s
    passed = in_time and not calls.wrong and not calls.hung and after == before
    figures.record(row="server_killed", measured=measured, passed=passed, seed=seed)
    assert not calls.wrong
    assert not calls.hung, calls.failed
    assert after == before
    assert descriptors_after <= descriptors + 2
    assert passed or not is_full, measured
