# SPDX-License-Identifier: Apache-2.0
"""What an examination of a machine finds, one thing at a time."""

__all__ = ["Finding", "Gravity", "bad", "doubtful", "good"]

from dataclasses import asdict, dataclass
from typing import Any, Literal

from repo_tool.errors import RepoToolError

Gravity = Literal["ok", "warning", "error"]  # error: something that repo-tool is for cannot work


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    state: Gravity
    words: str
    next_step: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return asdict(self)


def good(topic: str, words: str) -> Finding:
    """Nothing needs to be done."""
    return Finding(topic=topic, state="ok", words=words)


def doubtful(topic: str, words: str, next_step: str) -> Finding:
    """It works, but not as well or as safely as it could."""
    return Finding(topic=topic, state="warning", words=words, next_step=next_step)


def bad(topic: str, error: RepoToolError) -> Finding:
    """Something cannot work."""
    words = error.fact + (f": {error.cause}" if error.cause else "")
    return Finding(topic=topic, state="error", words=words, next_step=error.next_step)
