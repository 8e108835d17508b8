# SPDX-License-Identifier: Apache-2.0
"""One difference between two configurations, and whom it concerns."""

__all__ = ["Change", "Effect", "breaking", "compatible"]

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Effect(Enum):
    """Whom a change concerns."""

    BREAKING = "breaking"  # a client that worked stops working
    COMPATIBLE = "compatible"  # clients may notice it and none breaks
    SERVER = "server"  # how the same is served


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field that differs; ``path`` is its place in the new configuration, or in the old one if it is gone."""

    effect: Effect
    path: str
    words: str  # what it means
    before: str = ""  # empty where it was absent
    after: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "effect": self.effect.value,
            "path": self.path,
            "words": self.words,
            "before": self.before,
            "after": self.after,
        }


def breaking(path: str, words: str, before: str, after: str = "") -> Change:
    """A change that ends what worked."""
    return Change(effect=Effect.BREAKING, path=path, words=words, before=before, after=after)


def compatible(path: str, words: str, before: str, after: str) -> Change:
    """A change that ends nothing."""
    return Change(effect=Effect.COMPATIBLE, path=path, words=words, before=before, after=after)
