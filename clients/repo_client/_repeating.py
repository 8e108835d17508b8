# SPDX-License-Identifier: Apache-2.0
"""Which failed calls may be made again, and how many. No I/O."""

from threading import Lock
from time import monotonic

from repo_client._errors import (
    ConnectionLostError,
    E,
    ModelNotFoundError,
    ModelUnhealthyError,
    RepoClientError,
    ServerBusyError,
    ServerUnreachableError,
    with_addition,
)
from repo_client._messages import InferRequest

_RESERVE = 100.0  # retries that a client has before it has earned any; enough for all that is in flight at a restart


class RetryBudget:
    """A bucket of retries: a call that succeeds adds ``share`` of one, up to the reserve that it starts with."""

    def __init__(self, share: float, reserve: float = _RESERVE) -> None:
        self._share, self._reserve, self._left = share, reserve, reserve
        self._lock = Lock()

    def earn(self) -> None:
        """A call succeeded."""
        if self._left < self._reserve:
            with self._lock:
                self._left = min(self._left + self._share, self._reserve)

    def spend(self) -> bool:
        """Whether one more retry may be made, which is then counted."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


_AWAY = ServerUnreachableError | ConnectionLostError | ModelUnhealthyError
_UNLOADED = "has no available versions"  # Triton's words of a model that was loaded once
_LONGEST_RELOAD_S = 5.0
_RESERVE_OF_LOOKS = 1000.0  # for an unloaded model: enough for a hundred callers and a reload of some seconds


class Outages:
    """A server that has answered is away, or a model is; each is waited for once, until a call to it succeeds again.

    A model that is not found while the server comes back may not have been loaded yet; one that was unloaded may be
    loaded again soon, for that is how models are repaired. Who never had an answer has the wrong address more often
    than a server that is away, so such a client waits for nobody.
    """

    def __init__(self, patience_s: float, share: float) -> None:
        self._patience_s, self._reload_s = patience_s, min(patience_s, _LONGEST_RELOAD_S)
        self._looks = RetryBudget(share, _RESERVE_OF_LOOKS)
        self._was_reached = False
        self._away_until: float | None = None
        self._unloaded_until: dict[str, float] = {}  # by model

    def is_over(self, model: str) -> None:
        """A call to it succeeded."""
        self._was_reached, self._away_until = True, None
        self._looks.earn()
        if self._unloaded_until:
            self._unloaded_until.pop(model, None)

    def notice(self, error: BaseException, model: str) -> None:
        """A failure, with which an outage may begin."""
        if not self._was_reached:
            return
        if self._away_until is None and isinstance(error, _AWAY):
            self._away_until = monotonic() + self._patience_s
        if is_unloaded(error):
            self._unloaded_until.setdefault(model, monotonic() + self._reload_s)

    def excuses(self, error: BaseException, model: str) -> bool:
        """Whether the failure is one of an outage that is not too long yet, and did not cost the server much."""
        if not isinstance(error, ServerUnreachableError | ModelNotFoundError):
            return False
        if is_unloaded(error) and _is_ahead(self._unloaded_until.get(model)):
            return True
        return _is_ahead(self._away_until)

    def may_look(self) -> bool:
        """Whether an excused call may be made again: always while the server is away, else as the budget has it."""
        return _is_ahead(self._away_until) or self._looks.spend()


def is_unloaded(error: BaseException) -> bool:
    """Whether it is of a model that was loaded before."""
    return isinstance(error, ModelNotFoundError) and _UNLOADED in (error.server_words or "")


def _is_ahead(until: float | None) -> bool:
    return until is not None and monotonic() < until


class Limits:
    """How often one call may be made: of its failures all count but those that an outage excuses."""

    def __init__(self, attempts: int, budget: RetryBudget, outages: Outages, *, model: str, deadline: float) -> None:
        self._attempts, self._budget, self._outages = attempts, budget, outages
        self._model, self._deadline = model, deadline
        self._counted = 0

    def end(self, error: BaseException, wait_s: float) -> bool:
        """Whether the call has failed for good, rather than being made again after ``wait_s``."""
        if monotonic() + wait_s >= self._deadline:
            return True
        if self._outages.excuses(error, self._model):
            return not self._outages.may_look()
        self._counted += 1
        return self._counted >= self._attempts or not self._budget.spend()


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed a moment later."""
    return isinstance(error, _AWAY | ServerBusyError)


def is_safe(error: BaseException, request: InferRequest) -> bool:
    """Whether ``request`` can be sent again without doing something twice; in a sequence it could be counted twice."""
    is_unprocessed = isinstance(error, RepoClientError) and error.is_unprocessed
    return is_unprocessed or "sequence_id" not in request.parameters


def told_attempts(error: E, attempts: int) -> E:
    """``error``, which says how often the call was made."""
    told = with_addition(error, f"{attempts} attempts")
    told.attempts = attempts
    return told
