# SPDX-License-Identifier: Apache-2.0
"""What to measure, and when a figure counts as settled."""

__all__ = ["BenchPlan", "parse_levels"]

from dataclasses import dataclass

from repo_tool.bench.served import ServerAddress
from repo_tool.errors import UserMistakeError

DEFAULT_CONCURRENCY = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What to measure, and when a figure counts as settled.

    A window lasts ``window_ms``, or until ``window_requests`` requests were answered where that is given. Three windows
    in a row, of ``max_windows`` at most, must agree within ``stability_percent`` in throughput and in latency: the
    average one, or the percentile ``settle_on``.
    """

    model: str
    server: ServerAddress
    version: str = ""  # "" for the highest that is served
    concurrency: tuple[int, ...] = DEFAULT_CONCURRENCY
    batch_size: int = 1
    window_ms: int = 1000
    window_requests: int | None = None
    stability_percent: float = 10.0
    max_windows: int = 10
    settle_on: int | None = None

    def __post_init__(self) -> None:
        levels = self.concurrency
        _require(bool(levels) and min(levels) > 0, "a concurrency level is 1 or more requests in flight")
        _require(
            len(set(levels)) == len(levels),
            "each concurrency level is measured once",
            found=", ".join(map(str, levels)),
        )
        _require(self.batch_size > 0, "a request has 1 or more rows")
        _require(self.window_ms > 0, "a window lasts 1 ms or more")
        _require(self.window_requests is None or self.window_requests > 0, "a window counts 1 or more requests")
        _require(self.stability_percent > 0, "the windows may differ by more than 0 percent")
        _require(self.max_windows >= 3, "there are 3 windows or more, as three in a row must agree")
        _require(self.settle_on is None or 0 < self.settle_on < 100, "the percentile to settle is between 1 and 99")


def _require(fits: bool, sentence: str, *, found: str = "") -> None:
    if not fits:
        cause = f"given: {found}" if found else ""
        raise UserMistakeError(sentence, cause=cause, next_step="repo-tool bench --help shows what can be given")


def parse_levels(text: str) -> tuple[int, ...]:
    """The levels in ``1,2,4``, in the order given.

    Raises:
        UserMistakeError: that is no list of whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserMistakeError(
            f"'{text}' is no list of concurrency levels",
            cause="it takes whole numbers with commas between them",
            next_step="write e.g. --concurrency 1,2,4,8",
        ) from error
