# SPDX-License-Identifier: Apache-2.0
"""Deadlines: times of the monotonic clock, in seconds."""

from math import isfinite
from time import monotonic

from repo_client._errors import DeadlineExceededError, Facts, InputError
from repo_client._network import DEADLINE_HINT

LONGEST_S = 1e6  # eleven days: operating systems count the milliseconds of a wait in 32 bits


def checked_timeout(timeout_s: float | None, default_s: float) -> float:
    """``timeout_s`` or the default, and eleven days where it is more.

    Raises:
        InputError: not a positive, finite number of seconds.
    """
    if timeout_s is None:
        return default_s
    try:
        if isfinite(timeout_s) and timeout_s > 0:
            return min(timeout_s, LONGEST_S)
    except (TypeError, OverflowError):
        pass
    raise InputError(f"timeout_s is {timeout_s!r}", hint="a deadline is a positive number of seconds")


def to_microseconds(timeout_s: float) -> int:
    """A deadline as Triton takes it, where 0 would mean none."""
    return int(timeout_s * 1e6) or 1


def time_left(deadline: float) -> float:
    """The seconds until ``deadline``.

    Raises:
        TimeoutError: there are none.
    """
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def seconds_left(deadline: float, facts: Facts) -> float:
    """The seconds until ``deadline``, for a call that is about ``facts``.

    Raises:
        DeadlineExceededError: there are none.
    """
    try:
        return time_left(deadline)
    except TimeoutError as error:
        message = "the deadline passed before the whole was sent"
        raise DeadlineExceededError(message, hint=DEADLINE_HINT, facts=facts) from error
