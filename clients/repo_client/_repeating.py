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

    def __init__(self, share: float) -> None:
        self._share, self._left = share, _RESERVE
        self._lock = Lock()

    def earn(self) -> None:
        """A call succeeded."""
        if self._left < _RESERVE:
            with self._lock:
                self._left = min(self._left + self._share, _RESERVE)

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


class Outage:
    """A server that has answered is away, or the process of a model is; it is waited for ``patience_s``.

    A model that is not found meanwhile may not have been loaded yet; one that was unloaded may be loaded again soon,
    for that is how models are repaired. Who never had an answer has the wrong address more often than a server that is
    away, so such a client waits for nobody.
    """

    def __init__(self, patience_s: float) -> None:
        self._away_s, self._unloaded_s = patience_s, min(patience_s, _LONGEST_RELOAD_S)
        self._was_reached = False
        self._away_since: float | None = None
        self._unloaded_since: float | None = None

    def is_over(self) -> None:
        """A call succeeded."""
        self._was_reached, self._away_since, self._unloaded_since = True, None, None

    def notice(self, error: BaseException) -> None:
        """A failure, with which an outage may begin."""
        if not self._was_reached:
            return
        if self._away_since is None and isinstance(error, _AWAY):
            self._away_since = monotonic()
        if self._unloaded_since is None and _is_unloaded(error):
            self._unloaded_since = monotonic()

    def excuses(self, error: BaseException) -> bool:
        """Whether the failure is one of an outage that is not too long yet, and did not cost the server anything."""
        if not isinstance(error, ServerUnreachableError | ModelNotFoundError):
            return False
        is_reloading = _is_unloaded(error) and _is_within(self._unloaded_since, self._unloaded_s)
        return is_reloading or _is_within(self._away_since, self._away_s)


def _is_unloaded(error: BaseException) -> bool:
    return isinstance(error, ModelNotFoundError) and _UNLOADED in (error.server_words or "")


def _is_within(since: float | None, limit_s: float) -> bool:
    return since is not None and monotonic() < since + limit_s


class Limits:
    """How often one call may be made: of its failures all count but those that an outage excuses."""

    def __init__(self, attempts: int, budget: RetryBudget, outage: Outage, *, deadline: float) -> None:
        self._attempts, self._budget, self._outage, self._deadline = attempts, budget, outage, deadline
        self._counted = 0

    def end(self, error: BaseException, wait_s: float) -> bool:
        """Whether the call has failed for good, rather than being made again after ``wait_s``."""
        if monotonic() + wait_s >= self._deadline:
            return True
        if self._outage.excuses(error):
            return False
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
