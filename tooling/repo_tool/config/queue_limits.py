# SPDX-License-Identifier: Apache-2.0
"""Which requests the queues of the dynamic batcher refuse, and how that differs. Pure.

A queue refuses a request when it is full, and one that waited longer than its limit; a request may shorten that limit
for itself where the policy lets it, and has one (scheduler_utils.cc, ``PolicyQueue``).
"""

__all__ = ["queue_changes"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from repo_tool.config.changes import Change, breaking, compatible
from repo_tool.config.scheduling import DynamicBatching, QueuePolicy, TimeoutAction

_NO_QUEUES = DynamicBatching()  # limits nothing, as no dynamic batcher does
_EITHER_WAY = {
    "max_queue_size": ("requests are refused when more than {after} wait", "more requests may wait"),
    "default_timeout_microseconds": (
        "requests that wait longer than {after} µs are refused",
        "requests may wait longer",
    ),
    "allow_timeout_override": (
        "requests that bring a timeout of their own are refused when it is over",
        "timeouts of requests' own are not heeded any more",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """What one queue takes."""

    size: float  # requests
    wait_us: float
    heeds_own: bool  # whether a request may shorten the wait


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priorities:
    """Some priorities in a row that fare alike: those from ``first`` on, ``count`` of them."""

    first: int
    count: float


def queue_changes(old: DynamicBatching | None, new: DynamicBatching | None) -> Iterator[Change]:
    """What is refused that was not, and the other way round; each place once."""
    before, after = old or _NO_QUEUES, new or _NO_QUEUES
    alike = _alike(before, after)
    room = _room_before(before, after, alike)
    tighter, looser = dict[str, Change](), dict[str, Change]()
    for priority in (group.first for group in alike):
        level = _level(after, priority)
        was, now = _limits(before, _level(before, priority)), _limits(after, level)
        sizes, waits = (room[level], now.size), (was.wait_us, now.wait_us)
        for name, pair in (
            ("max_queue_size", sizes),
            ("default_timeout_microseconds", waits),
            ("allow_timeout_override", (float(not was.heeds_own), float(not now.heeds_own))),
        ):
            place = _place(after, level, name)
            if pair[1] < pair[0]:
                tighter.setdefault(place, breaking(place, *_told(name, pair, is_tighter=True)))
            elif pair[1] > pair[0]:
                looser.setdefault(place, compatible(place, *_told(name, pair, is_tighter=False)))
    yield from (looser | tighter).values()


def _alike(old: DynamicBatching, new: DynamicBatching) -> list[_Priorities]:
    """All priorities that a request may have, from 0 on, in groups of which both sides treat all alike."""
    named = {0}
    for side in (old, new):
        named |= {*side.priority_queue_policy, side.priority_levels, side.default_priority_level}
    firsts = sorted(named | {number + 1 for number in named})
    ends = [*firsts[1:], inf]
    return [_Priorities(first=first, count=end - first) for first, end in zip(firsts, ends, strict=True)]


def _level(batching: DynamicBatching, priority: int) -> int:
    """The level that a request of that priority gets; 0 where there are none. Without a valid one it is the default."""
    if batching.priority_levels == 0:
        return 0
    return priority if 1 <= priority <= batching.priority_levels else batching.default_priority_level


def _room_before(old: DynamicBatching, new: DynamicBatching, alike: list[_Priorities]) -> dict[int, float]:
    """For each new queue, how many of its requests could wait before, perhaps in several queues."""
    queues: dict[int, dict[int, float]] = {}
    for group in alike:
        before, after = _level(old, group.first), _level(new, group.first)
        many = before == group.first != after  # each of the group had a queue of its own, and has one together now
        queues.setdefault(after, {})[before] = group.count if many else 1
    return {level: _total(old, parts) for level, parts in queues.items()}


def _total(batching: DynamicBatching, queues: Mapping[int, float]) -> float:
    return sum(count * _limits(batching, level).size for level, count in queues.items())


def _limits(batching: DynamicBatching, level: int) -> _Limits:
    policy = _policy(batching, level)
    refuses = policy.timeout_action is TimeoutAction.REJECT and policy.default_timeout_us > 0
    return _Limits(
        size=policy.max_queue_size or inf,
        wait_us=policy.default_timeout_us if refuses else inf,
        heeds_own=refuses and policy.allow_timeout_override,
    )


def _policy(batching: DynamicBatching, level: int) -> QueuePolicy:
    named = batching.priority_queue_policy if batching.priority_levels else {}
    return named.get(level) or batching.default_queue_policy or QueuePolicy()


def _place(batching: DynamicBatching, level: int, name: str) -> str:
    if batching.priority_levels and level in batching.priority_queue_policy:
        return f"dynamic_batching.priority_queue_policy[{level}].{name}"
    return f"dynamic_batching.default_queue_policy.{name}"


def _told(name: str, pair: tuple[float, float], *, is_tighter: bool) -> tuple[str, str, str]:
    """The words, and the limits before and after; empty where there is none."""
    words = _EITHER_WAY[name][0 if is_tighter else 1]
    if name == "allow_timeout_override":
        return words, str(not pair[0]).lower(), str(not pair[1]).lower()
    before, after = ("" if limit == inf else f"{limit:.0f}" for limit in pair)
    return words.format(after=after), before, after
