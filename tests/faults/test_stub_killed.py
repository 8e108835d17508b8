# SPDX-License-Identifier: Apache-2.0
"""A stub of two is killed again and again under load: it is noticed, replaced, and hardly anybody sees it."""

import os
import random
import signal
import time
from contextlib import ExitStack

import pytest

from repo_client import Client, RepoClientError, Retries
from repo_tool.repository.layout import ModelRepository
from support.little_memory import little_memory
from support.onnx_cases import ROWS, Y2, Case, X, config
from support.open_loop import OpenLoop, publish_versioned
from support.supervised_service import serving

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
RATE = 50  # requests per second
INSTANCES = 2


def test_a_stub_killed_every_ten_seconds_is_replaced_and_requests_are_answered(tmp_path, scale, seed, figures, is_full):
    draw = random.Random(seed)  # noqa: S311 # to be drawn again, no secret
    kills, apart_s = scale(3, 60), scale(4.0, 10.0)
    repository = ModelRepository(tmp_path / "repository")
    repository.path.mkdir()
    publish_versioned(repository, "victim", 1, instances=INSTANCES)
    noticed, back = [], []
    with serving(repository.path) as service:
        with OpenLoop(service.url, "victim", rate=RATE, seed=seed) as load:
            load.wait_for(RATE)
            for _ in range(kills):
                killed = time.time()
                os.kill(draw.choice(service.stubs(INSTANCES)).pid, signal.SIGKILL)
                noticed.append(service.wait_for_event("stub died", killed))
                back.append(service.wait_for_event("model repaired", killed))
                load.wait_for(int(RATE * max(0.1, apart_s - (time.time() - killed))))
        left = len(service.stubs(INSTANCES + 1))
        load_s = service.load_s
    calls = load.calls
    share = calls.failures / max(1, len(calls.ended))
    in_time = max(noticed) <= 1.0 and max(back) <= 5.0 + load_s and share <= 0.001
    measured = {
        "kills": kills,
        "requests": len(calls.ended),
        "failed requests": calls.failures,
        "failed share": round(share, 6),
        "wrong answers": len(calls.wrong),
        "noticed at most [s]": round(max(noticed), 3),
        "back at most [s]": round(max(back), 3),
        "p99 [ms]": round(calls.latency_ms(0.99), 1),
        "stubs at the end": left,
    }
    passed = in_time and not calls.wrong and not calls.hung
    figures.record(row="stub_killed", measured=measured, passed=passed, seed=seed)
    assert not calls.wrong
    assert not calls.hung, calls.failed
    assert share <= (0.001 if is_full else 0.02), calls.failed
    assert passed or not is_full, measured


HUNGRY = """
class TritonPythonModel:
    def execute(self, requests):
        self.all_there_is = bytearray(1 << 30)
"""


@pytest.fixture
def memory_limit():
    """A control group of little memory for one process, where this machine lets us have one."""
    with ExitStack() as stack:
        try:
            processes = stack.enter_context(little_memory())
        except OSError as error:
            pytest.skip(f"no control group of our own: {error}")
        yield lambda process: processes.write_text(str(process))


def test_a_stub_that_runs_out_of_memory_is_said_to_have_done_so(tmp_path, memory_limit):
    Case("hungry", None, config([X], [Y2]).replace("onnxruntime", "python")).write(tmp_path / "repository")
    (tmp_path / "repository" / "hungry" / "1" / "model.py").write_text(HUNGRY)
    with serving(tmp_path / "repository") as service:
        began = time.time()
        memory_limit(service.stubs(1)[0].pid)
        with Client(service.url, retries=Retries(attempts=1)) as client, pytest.raises(RepoClientError):
            client.model("hungry").infer({"x": ROWS})
        service.wait_for_event("model repaired", began)
        service.wait_for_event("stub died", began)
        death = next(event for event in service.events(began) if event["event"] == "stub died")
    assert death["cause"].endswith("as the machine or its container has run out of memory")
