# SPDX-License-Identifier: Apache-2.0
"""Which failed calls may be made again, and how many. No I/O."""

from threading import Lock

from repo_client._errors import (
    ConnectionLostError,
    E,
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


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed a moment later."""
    return isinstance(error, ServerUnreachableError | ServerBusyError | ConnectionLostError)


def may_repeat(error: BaseException, request: InferRequest) -> bool:
    """Whether ``request`` can be sent again without doing something twice; in a sequence it could be counted twice."""
    if not isinstance(error, RepoClientError) or not is_transient(error):
        return False
    return error.is_unprocessed or "sequence_id" not in request.parameters


def told_attempts(error: E, attempts: int) -> E:
    """``error``, which says how often the call was made."""
    told = with_addition(error, f"{attempts} attempts")
    told.attempts = attempts
    return told
