# SPDX-License-Identifier: Apache-2.0
"""What happens to a supervised server, as values that whoever runs it may show."""

__all__ = ["EventKind", "OnEvent", "ServerEvent"]

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """One word for each thing that happens."""

    STUB_DIED = "stub died"
    STUB_STOPPED = "stub stopped"
    MODEL_REPAIRED = "model repaired"
    REPAIR_FAILED = "repair failed"
    MODEL_GIVEN_UP = "model given up"
    SERVER_STOPPED = "server stopped"
    SERVER_DIED = "server died"
    SERVER_RESTARTED = "server restarted"
    RESTART_FAILED = "restart failed"
    SERVER_GIVEN_UP = "server given up"

    @property
    def is_bad(self) -> bool:
        """Whether something serves no more."""
        return self not in (EventKind.MODEL_REPAIRED, EventKind.SERVER_RESTARTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """One thing that happened; ``last_words`` are the end of the server's log where it tells why."""

    kind: EventKind
    model: str = ""
    version: str = ""
    cause: str = ""
    seconds: float = 0.0  # from when it was noticed
    last_words: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def words(self) -> str:
        """One line for people."""
        subject = " ".join(part for part in (self.model, f"version {self.version}" if self.version else "") if part)
        time = f" after {self.seconds:.1f} s" if not self.kind.is_bad else ""
        return ": ".join(part for part in (subject, f"{self.kind}{time}", self.cause) if part)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for logs that machines read."""
        return {
            "time": self.at.isoformat(timespec="milliseconds"),
            "event": str(self.kind),
            "is_bad": self.kind.is_bad,
            "model": self.model,
            "version": self.version,
            "cause": self.cause,
            "seconds": round(self.seconds, 3),
            "last_words": self.last_words,
        }


OnEvent = Callable[[ServerEvent], None]
