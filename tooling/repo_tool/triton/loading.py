# SPDX-License-Identifier: Apache-2.0
"""Loading many models, a few at a time, so that one that hangs keeps no other waiting."""

__all__ = ["MOST_LOADS_AT_ONCE", "Loader"]

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from repo_tool.errors import LoadRefusedError
from repo_tool.triton.options import LoadOutcome

_AT_ONCE = 3  # one stub's start is half waiting; more at once only share the same cores
_SLOW_AFTER_S = 5.0  # then it is no longer counted: it waits for something else than the cores
MOST_LOADS_AT_ONCE = 6  # each occupies one of Triton's eight HTTP threads until it ends

OnOutcome = Callable[[LoadOutcome], None]


class Loader:
    """Calls ``load`` for each model in a thread of its own and collects what becomes of them.

    A load that takes longer than ``patience_s`` while nothing else is left to do is reported as still loading; what
    becomes of it is told to ``on_outcome`` later, from its thread. Without ``patience_s`` every load is waited for.
    """

    def __init__(
        self, load: Callable[[str], LoadOutcome], *, patience_s: float | None, on_outcome: OnOutcome | None
    ) -> None:
        self._load, self._patience_s, self._on_outcome = load, patience_s, on_outcome
        self._started: dict[str, float] = {}  # those under way
        self._late: set[str] = set()  # those under way that were reported already
        self._ended: queue.SimpleQueue[LoadOutcome | BaseException] = queue.SimpleQueue()
        self._lock = threading.RLock()  # ``on_outcome`` may ask what is late

    @property
    def late(self) -> frozenset[str]:
        """The models that were reported as still loading, and still are."""
        with self._lock:
            return frozenset(self._late)

    def run(self, models: Sequence[str]) -> list[LoadOutcome]:
        """Load ``models``; raises what a load raises that is no outcome of its own."""
        waiting, outcomes, to_come = deque(models), list[LoadOutcome](), len(models)
        while to_come:
            while waiting and self._has_room():
                self._start(waiting.popleft())
            if ended := self._next():
                outcomes.append(ended)
                to_come -= 1
                self._tell(ended)
            elif not (waiting and self._has_room()) and self._is_hopeless():
                outcomes += [*self._give_up(), *(self._not_tried(model) for model in waiting)]
                break
        return outcomes

    def _ages(self) -> list[float]:
        now = time.monotonic()
        with self._lock:
            return [now - started for started in self._started.values()]

    def _has_room(self) -> bool:
        ages = self._ages()
        return sum(age < _SLOW_AFTER_S for age in ages) < _AT_ONCE and len(ages) < MOST_LOADS_AT_ONCE

    def _start(self, model: str) -> None:
        with self._lock:
            self._started[model] = time.monotonic()
        threading.Thread(target=self._run_one, args=(model,), name=f"load-{model}", daemon=True).start()

    def _run_one(self, model: str) -> None:
        started = time.monotonic()
        ended: LoadOutcome | BaseException
        try:
            ended = self._load(model)
        except BaseException as error:  # noqa: BLE001 # raised again in the thread that waits
            ended = error
        with self._lock:
            self._started.pop(model, None)
            if model not in self._late:
                self._ended.put(ended)
                return
            self._late.remove(model)
        if isinstance(ended, BaseException):  # nobody waits any more who could be told by raising it
            ended = _refused(model, str(ended) or type(ended).__name__, seconds=time.monotonic() - started)
        self._tell(ended)

    def _next(self) -> LoadOutcome | None:
        try:
            ended = self._ended.get(timeout=0.5)
        except queue.Empty:
            return None
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def _is_hopeless(self) -> bool:
        """Whether every load under way was waited for long enough, and no other can be started."""
        if self._patience_s is None:
            return False
        long = max(self._patience_s, _SLOW_AFTER_S)
        return all(age > long for age in self._ages())

    def _give_up(self) -> list[LoadOutcome]:
        """What ended at the last moment, and those that are still loading."""
        with self._lock:  # until all is told: no load may tell how it ended before it was told to be under way
            outcomes = self._drained()
            now = time.monotonic()
            for model in sorted(self._started.keys() - self._late):
                seconds = now - self._started[model]
                outcomes.append(LoadOutcome(model=model, versions=(), seconds=seconds, is_loading=True))
                self._late.add(model)
            for outcome in outcomes:
                self._tell(outcome)
        return outcomes

    def _drained(self) -> list[LoadOutcome]:
        outcomes = []
        while not self._ended.empty():
            ended = self._ended.get_nowait()
            if isinstance(ended, BaseException):
                raise ended
            outcomes.append(ended)
        return outcomes

    def _not_tried(self, model: str) -> LoadOutcome:
        outcome = _refused(model, f"the loads of {', '.join(sorted(self.late))} do not end")
        self._tell(outcome)
        return outcome

    def _tell(self, outcome: LoadOutcome) -> None:
        if self._on_outcome is not None:
            self._on_outcome(outcome)


def _refused(model: str, cause: str, *, seconds: float = 0.0) -> LoadOutcome:
    refusal = LoadRefusedError(f"the model {model!r} was not loaded", cause=cause)
    return LoadOutcome(model=model, versions=(), seconds=seconds, refusal=refusal)
