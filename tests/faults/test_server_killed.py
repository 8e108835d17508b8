# SPDX-License-Identifier: Apache-2.0
"""The server itself is killed under load: it comes back on its ports with what it served, and leaves nothing behind."""

import time

import psutil
import pytest

from repo_tool.repository.layout import ModelRepository
from support.open_loop import OpenLoop, publish_versioned
from support.supervised_service import Service, serving, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
RATE = 50  # requests per second
LIFE_S = 4.0  # a server that dies sooner again and again is given up
LOOKS_OF_A_SECOND = 50


def test_a_killed_server_comes_back_with_what_it_served(tmp_path, scale, seed, figures, is_full):
    kills = scale(3, 20)
    repository = ModelRepository(tmp_path / "repository")
    repository.path.mkdir()
    publish_versioned(repository, "victim", 1, instances=2)
    back, descriptors = [], []
    with serving(repository.path) as service:
        before = service.shared_bytes
        with OpenLoop(service.url, "victim", rate=RATE, seed=seed) as load:
            load.wait_for(RATE)
            for done in range(kills):
                if done in (1, (1 + kills) // 2):  # from the first restart on: what that opens once is kept
                    descriptors.append(open_files(service))
                killed = time.time()
                service.server.kill()
                back.append(service.wait_for_event("server restarted", killed))
                serves_since = killed + back[-1]
                wait_for(lambda since=serves_since: time.time() > since + LIFE_S)
                load.wait_for(RATE)
        wait_for(lambda: service.shared_bytes == before, what=lambda: f"{service.shared_bytes}, not {before} bytes")
        after = service.shared_bytes
        descriptors.append(open_files(service))
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
        "file descriptors of repo-tool after one restart, half of them and all": descriptors,
    }
    in_time = max(back) <= 3.0 + load_s
    is_kept = after == before and descriptors[2] <= max(descriptors[:2])
    passed = in_time and not calls.wrong and not calls.hung and is_kept
    figures.record(row="server_killed", measured=measured, passed=passed, seed=seed)
    assert not calls.wrong
    assert not calls.hung, calls.failed
    assert after == before
    assert descriptors[2] <= max(descriptors[:2]), descriptors
    assert passed or not is_full, measured


def open_files(service: Service) -> int:
    """Of repo-tool, once their number has stood still for a second: what ends is closed a moment later."""
    counts: list[int] = []

    def stands_still() -> bool:
        counts.append(psutil.Process(service.process.pid).num_fds())
        return len(counts) > LOOKS_OF_A_SECOND and len(set(counts[-LOOKS_OF_A_SECOND:])) == 1

    wait_for(stands_still, what=lambda: f"{counts[-LOOKS_OF_A_SECOND:]} file descriptors")
    return counts[-1]
