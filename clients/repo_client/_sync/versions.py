# SPDX-License-Identifier: Apache-2.0
# Generated from _async/versions.py by clients/generate_sync.py: change that file, then run it.
"""Calls of the version that a label names, while the label moves."""

from collections.abc import Callable
from typing import TypeVar

from repo_client._errors import ModelNotFoundError

T = TypeVar("T")


def at_version(choose: Callable[[], str], call: Callable[[str], T]) -> T:
    """``call`` with the version to ask for; once more where that was taken away because its label has moved on."""
    version = choose()
    try:
        return call(version)
    except ModelNotFoundError:
        moved = choose()
        if moved == version:
            raise
    return call(moved)
