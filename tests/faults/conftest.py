# SPDX-License-Identifier: Apache-2.0
"""How large a fault test is, what it draws at random, and where its figures go."""

import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

IS_FULL = os.environ.get("REPO_TOOL_FAULTS") == "full"
RESULTS = Path(__file__).parents[2] / "perf" / "results" / "reliability"


@pytest.fixture(scope="session")
def is_full() -> bool:
    """Whether the figures are to be those of the page; time limits are asserted only then."""
    return IS_FULL


@pytest.fixture(scope="session")
def scale() -> Callable[[float, float], Any]:
    """Chooses between the size of a sample and that of the page."""
    return lambda sample, full: full if IS_FULL else sample


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Printed with a failure; ``REPO_TOOL_SEED`` replays it."""
    drawn = int(os.environ.get("REPO_TOOL_SEED") or random.SystemRandom().randrange(1 << 31))
    request.node.user_properties.append(("seed", drawn))
    print(f"REPO_TOOL_SEED={drawn}")  # noqa: T201 - shown by pytest when the test fails
    return drawn


@dataclass
class Figures:
    """What one test measured: a row of the page about reliability."""

    test: str
    started: float = field(default_factory=time.monotonic)

    def record(self, *, row: str, measured: Mapping[str, object], passed: bool, seed: int | None = None) -> None:
        """Keep them, at full size for good.

        Args:
            row: short name of the row, e.g. ``stub_killed``.
            measured: what the row is about, by words that a reader understands, e.g. ``failed requests``.
            passed: whether all of the row's limits hold.
            seed: what was drawn at random can be drawn again with it.
        """
        facts = {
            "row": row,
            "test": self.test,
            "passed": passed,
            "measured": dict(measured),
            "seed": seed,
            "seconds": round(time.monotonic() - self.started, 1),
            "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": f"{_processor()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
        }
        print(json.dumps(facts, indent=2))  # noqa: T201 - shown by pytest with -s, and when the test fails
        if IS_FULL:
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / f"{row}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where a test leaves what it measured."""
    return Figures(test=request.node.nodeid)
