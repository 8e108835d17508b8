# SPDX-License-Identifier: Apache-2.0
"""Deadlines, in seconds."""

from math import isfinite
from time import monotonic

from repo_client._errors import DeadlineExceededError, Facts, InputError
from repo_client._network import DEADLINE_HINT

_LONGEST_S = 365 * 24 * 3600.0  # every library and clock on the way can count as far


def checked_timeout(timeout_s: float | None, default_s: float) -> float:
    """``timeout_s`` or the default, and a year where it is more.

    Raises:
        InputError: not a positive, finite number of seconds.
    """
    if timeout_s is None:
        return default_s
    try:
        if isfinite(timeout_s) and timeout_s > 0:
            return min(timeout_s, _LONGEST_S)
    except (TypeError, OverflowError):
        pass
    raise InputError(f"timeout_s is {timeout_s!r}", hint="a deadline is a positive number of seconds")


def to_microseconds(timeout_s: float) -> int:
    """A deadline as Triton takes it, where 0 would mean none."""
    return int(timeout_s * 1e6) or 1


def seconds_left(deadline: float, facts: Facts) -> float:
    """What is left until ``deadline``, a time of ``monotonic``.

    Raises:
        DeadlineExceededError: nothing.
    """
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise DeadlineExceededError("the deadline passed before the whole was sent", hint=DEADLINE_HINT, facts=facts)
    return left_s
