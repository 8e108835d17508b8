# SPDX-License-Identifier: Apache-2.0
"""Malicious sources of every framework, the way that ``add-model`` takes them: registry, worker, guards, importer."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.malicious_pickles import malicious_pickles
from support.malicious_sources import malicious_sources

TESTS = Path(__file__).parents[1]


def test_none_of_them_is_brought_in_runs_or_reads_elsewhere(tmp_path, canary):
    for extra in ("torch", "transformers", "onnx", "skops", "tensorflow", "xgboost", "lightgbm", "catboost"):
        pytest.importorskip(extra)
    (tmp_path / "out").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"s" * 64)
    jobs = {}
    for name, data in malicious_pickles(canary.command).items():
        (tmp_path / f"{name}.joblib").write_bytes(data)
        jobs[f"pickle: {name}"] = {"source": str(tmp_path / f"{name}.joblib"), "framework": "sklearn"}
    jobs |= malicious_sources(tmp_path / "files", canary.command)
    answers = answered(jobs, tmp_path)
    assert [name for name in jobs if not answers[name]["error"]] == []
    assert len(answers) > 250


def answered(jobs, folder):
    """What became of each job; after a crash of native code the next worker goes on behind it."""
    answers, path = {}, os.pathsep.join([str(TESTS), str(folder / "files/weights"), *sys.path])
    while len(answers) < len(jobs):
        waiting = {name: job for name, job in jobs.items() if name not in answers}
        (folder / "jobs.json").write_text(json.dumps(waiting))
        done = subprocess.run(
            [sys.executable, "-P", "-X", "faulthandler", "-m", "support.worker_batch", str(folder)],
            env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TMPDIR": str(folder / "out")},
            cwd=folder / "files/weights", capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        answers |= dict(json.loads(line) for line in (folder / "out/answers").read_text().splitlines())
        if done.returncode:
            crashed = next(name for name in jobs if name not in answers)
            assert -done.returncode in (signal.SIGSEGV, signal.SIGABRT), (crashed, done.stderr[-3000:])
            answers[crashed] = {"error": str(done.returncode), "fact": "the worker died", "cause": done.stderr[:300]}
    return answers
