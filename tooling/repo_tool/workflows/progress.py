# SPDX-License-Identifier: Apache-2.0
"""How a workflow tells what it is doing: steps with a title, a time and a detail."""

__all__ = ["Progress", "RecordedProgress", "Step"]

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol


@dataclass(slots=True)
class Step:
    """One step under way; ``detail`` is what it found out, ``seconds`` its time once it is over."""

    title: str
    detail: str = ""
    seconds: float = 0.0


class Progress(Protocol):
    """Where steps are shown."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Show ``title`` while the block runs, and its time and detail after it."""
        ...


class RecordedProgress:
    """Keeps the steps and shows nothing; what terminals and tests build upon."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Record the step and time it, also when it fails."""
        step = Step(title)
        self.steps.append(step)
        started = perf_counter()
        try:
            yield step
        finally:
            step.seconds = perf_counter() - started
