# SPDX-License-Identifier: Apache-2.0
"""Many processes publish into one repository at once; some are killed: no version is lost, doubled or half there."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from repo_tool.repository.integrity import problems
from repo_tool.repository.journal import Journal
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.fsck_repository import FsckRequest, fsck_repository
from repo_tool.workflows.progress import RecordedProgress

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

PROGRAM = Path(__file__).parents[1] / "support" / "storm_publisher.py"
MODELS = ("churn", "fraud", "wine", "iris")
PUBLISHERS = 16


@pytest.fixture
def repository(tmp_path):
    return ModelRepository(tmp_path / "models")


def storm(repository, times, *, publishers=PUBLISHERS):
    """The publishers, all of them ready, then let go at once."""
    started = []
    for number in range(publishers):
        models = MODELS[number % len(MODELS) :] + MODELS[: number % len(MODELS)]
        command = [sys.executable, str(PROGRAM), str(repository.path), f"p{number}", str(times), *models]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    return started


def told_by(processes):
    """``(model, version, words)`` of each publication that a publisher has told of, and the exit codes."""
    said = [process.communicate()[0] for process in processes]
    lines = [line.split(" ") for words in said for line in words.splitlines() if line.count(" ") == 2]
    return [(model, int(version), words) for model, version, words in lines], [each.returncode for each in processes]


def there(repository):
    """``(model, version, words)`` of each version."""
    return {
        (model.name, version, (model.version_path(version) / "model.onnx").read_text())
        for model in repository.models()
        for version in model.versions()
    }


def complaints(repository, told):
    found, entries = there(repository), Journal(repository).entries()
    journaled = [(entry.model, entry.version) for entry in entries if entry.action == "publish"]
    lost = [f"lost: {each}" for each in told if each not in found]
    doubled = [f"told twice: {each}" for each in set(told) if told.count(each) > 1]
    noted_twice = [f"noted twice: {each}" for each in set(journaled) if journaled.count(each) > 1]
    unlike = [f"not in both: {each}" for each in {(model, version) for model, version, _ in found} ^ set(journaled)]
    torn = [
        f"torn: {problem.path} {problem.words}"
        for model in repository.models()
        for version in model.versions()
        for problem in problems(model, version)
    ]
    gaps = [
        f"'{model.name}' has versions {model.versions()}"
        for model in repository.models()
        if model.versions() != tuple(range(1, len(model.versions()) + 1))
    ]
    return [*lost, *doubled, *noted_twice, *unlike, *torn, *gaps]


def test_publishers_at_once_lose_and_double_nothing(repository, scale, figures):
    times = scale(4, 50)
    started = time.monotonic()
    told, codes = told_by(storm(repository, times))
    seconds = time.monotonic() - started
    checked = fsck_repository(FsckRequest(repository=repository.path), RecordedProgress())
    wrong = complaints(repository, told)
    figures.record(
        row="publisher_storm",
        measured={
            "publishers": PUBLISHERS,
            "publications": len(told),
            "wanted": PUBLISHERS * times,
            "publications a second": round(len(told) / seconds, 1),
            "lost, doubled or torn": wrong[:20],
            "fsck": [f"{finding.kind} {finding.path}" for finding in checked.findings][:20],
        },
        passed=not wrong and checked.clean and len(told) == PUBLISHERS * times,
    )
    assert codes == [0] * PUBLISHERS
    assert len(told) == len(there(repository)) == PUBLISHERS * times
    assert wrong == []
    assert checked.clean


def test_publishers_that_are_killed_leave_whole_versions_only(repository, scale, seed, figures):
    times, drawn = scale(8, 50), random.Random(seed)  # noqa: S311 - to be drawn again
    processes = storm(repository, times)
    victims = drawn.sample(processes, PUBLISHERS // 2)
    deaths = [threading.Timer(drawn.uniform(0.0, scale(3, 40)), process.kill) for process in victims]
    for death in deaths:
        death.start()
    told, codes = told_by(processes)
    for death in deaths:
        death.cancel()
    mended = fsck_repository(FsckRequest(repository=repository.path, repair=True), RecordedProgress())
    wrong = complaints(repository, told)
    figures.record(
        row="publisher_storm_with_kills",
        measured={
            "publishers": PUBLISHERS,
            "killed": sum(code == -9 for code in codes),
            "publications told": len(told),
            "versions there": len(there(repository)),
            "put in order by fsck --repair": len(mended.repaired),
            "lost, doubled or torn": wrong[:20],
        },
        passed=not wrong and mended.clean,
        seed=seed,
    )
    assert set(codes) <= {0, -9}
    assert wrong == []
    assert mended.clean
