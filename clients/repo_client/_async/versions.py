# SPDX-License-Identifier: Apache-2.0
"""Calls of the version that a label names, while the label moves."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from repo_client._errors import ModelNotFoundError
from repo_client._labels import VersionChoice

T = TypeVar("T")

_LOADED_WITHIN_S = 5.0  # a server that follows its repository loads what a label names soon after it was moved
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.25


async def at_version(choose: VersionChoice, call: Callable[[str], Awaitable[T]], *, deadline: float) -> T:
    """``call`` with the version to ask for; again where its label has moved on, or names what is not loaded yet."""
    version, wait_s = choose(), _FIRST_WAIT_S
    until = min(deadline, monotonic() + _LOADED_WITHIN_S)
    while True:
        try:
            return await call(version)
        except ModelNotFoundError:
            before, version = version, choose()
            if not choose.is_by_label or monotonic() + wait_s >= until:
                raise
            if version == before:
                await asyncio.sleep(wait_s)
                wait_s, version = min(2 * wait_s, _LONGEST_WAIT_S), choose()
