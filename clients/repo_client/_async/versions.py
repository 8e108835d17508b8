# SPDX-License-Identifier: Apache-2.0
"""Calls of the version that a label names, while the label moves."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from repo_client._errors import ModelNotFoundError

T = TypeVar("T")


async def at_version(choose: Callable[[], str], call: Callable[[str], Awaitable[T]]) -> T:
    """``call`` with the version to ask for; once more where that was taken away because its label has moved on."""
    version = choose()
    try:
        return await call(version)
    except ModelNotFoundError:
        moved = choose()
        if moved == version:
            raise
    return await call(moved)
