# SPDX-License-Identifier: Apache-2.0
"""Models that stand still while requests wait, with nothing answered nor computed; servers that answer nobody."""

__all__ = ["Silence", "Standstill"]

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from repo_tool.triton.control import ControlApi, ControlUnreachableError
from repo_tool.triton.server import EmbeddedServer
from repo_tool.triton.stub_processes import Stub, processor_ticks_of

_LOOKS_APART_S = 5.0
_SILENT_AFTER_S = 30.0  # a machine that swaps, or loads that hold up one of its threads each, make it slow
_PATIENCE_S = 2.0  # for each of its answers
_LEAST_TICKS = 5  # of 10 ms each between two looks: a stub that waits spends less on waiting
_METRIC = re.compile(
    r'^nv_inference_(?P<what>pending_request_count|request_success|request_failure)\{model="(?P<model>[^"]*)"'
    r'.*version="(?P<version>[^"]*)"\} (?P<value>[\d.e+]+)$',
    re.MULTILINE,
)


@dataclass(slots=True)
class _Counts:
    """Of one version of a model."""

    waiting: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    ended: float
    ticks: int
    since: float  # when it first looked so


class Silence:
    """Asks a server every few seconds, over HTTP and its metrics, whether it is there; either answer is enough."""

    def __init__(self, server: EmbeddedServer) -> None:
        addresses = (server.http_url, server.metrics_url.split("/")[2])
        self._asked = [ControlApi(address, headers={}, timeout_s=_PATIENCE_S) for address in addresses]
        self._next_look = 0.0
        self._answered_at = time.monotonic()

    def lasts_s(self) -> float:
        """For how long it has answered nothing; 0 until that is too long."""
        now = time.monotonic()
        if now < self._next_look:
            return 0.0
        self._next_look = now + _LOOKS_APART_S
        if any(_answers(each) for each in self._asked):
            self._answered_at = time.monotonic()
        silent_s = time.monotonic() - self._answered_at
        return silent_s if silent_s > _SILENT_AFTER_S else 0.0


def _answers(api: ControlApi) -> bool:
    try:
        api.get("/v2/health/live")
    except ControlUnreachableError:
        return False
    return True


class Standstill:
    """Asks Triton's metrics for what waits, every few seconds.

    Requests that wait for a place in a sequence are none of this: leave such models out of what is asked for.
    """

    def __init__(self, metrics_address: str, *, after_s: float) -> None:
        self._api = ControlApi(metrics_address, headers={}, timeout_s=2.0)
        self._after_s = after_s
        self._apart_s = min(_LOOKS_APART_S, after_s / 3)
        self._next_look = 0.0
        self._looks: dict[tuple[str, str], _Look] = {}

    def found(self, stubs: Iterable[Stub]) -> list[tuple[str, str]]:
        """The versions that stand still for so long; each is told anew after as long again."""
        now = time.monotonic()
        if now < self._next_look:
            return []
        self._next_look = now + self._apart_s
        ticks: dict[tuple[str, str], int] = {}
        for stub in stubs:
            key = stub.model, stub.version
            ticks[key] = ticks.get(key, 0) + processor_ticks_of(stub.pid)
        counts = self._counts()
        waiting = {key: counts[key] for key in ticks if key in counts and counts[key].waiting}
        self._looks = {key: self._look(key, count.ended, ticks[key], now) for key, count in waiting.items()}
        still = [key for key, look in self._looks.items() if now - look.since >= self._after_s]
        for key in still:
            del self._looks[key]
        return still

    def _look(self, key: tuple[str, str], ended: float, ticks: int, now: float) -> _Look:
        before = self._looks.get(key)
        if before is None or before.ended != ended or not 0 <= ticks - before.ticks < _LEAST_TICKS:
            return _Look(ended=ended, ticks=ticks, since=now)
        return _Look(ended=ended, ticks=ticks, since=before.since)

    def _counts(self) -> Mapping[tuple[str, str], _Counts]:
        try:
            text = self._api.get("/metrics").body.decode(errors="replace")
        except ControlUnreachableError:
            return {}
        counts: dict[tuple[str, str], _Counts] = {}
        for metric in _METRIC.finditer(text):
            count = counts.setdefault((metric["model"], metric["version"]), _Counts())
            if metric["what"] == "pending_request_count":
                count.waiting += float(metric["value"])
            else:
                count.ended += float(metric["value"])
        return counts
