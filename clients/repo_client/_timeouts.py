# SPDX-License-Identifier: Apache-2.0
"""Deadlines, in seconds."""

from math import isfinite

from repo_client._errors import InputError


def checked_timeout(timeout_s: float | None, default_s: float) -> float:
    """``timeout_s``, or the default.

    Raises:
        InputError: not a positive, finite number of seconds.
    """
    if timeout_s is None:
        return default_s
    if not (isfinite(timeout_s) and timeout_s > 0):
        raise InputError(f"timeout_s is {timeout_s}", hint="a deadline is a positive number of seconds")
    return timeout_s
