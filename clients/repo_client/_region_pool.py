# SPDX-License-Identifier: Apache-2.0
"""The regions of one client: which are free, how much they hold together, which the server should close. No I/O."""

import os
import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar

from repo_client._regions import SignOfLife

_STEP = 256 * 1024  # sizes are rounded up to it, so that requests of nearly one size share regions
_LONGEST_IDLE_S = 60.0
_TIDY_EVERY_S = 1.0


class Shared(Protocol):
    """A region, of this machine's memory or of a GPU's."""

    name: str
    byte_size: int
    idle_since: float  # on the monotonic clock

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Copy ``data`` to ``offset``."""
        ...

    def read(self, offset: int, byte_size: int) -> bytes:
        """A copy of what lies at ``offset``."""
        ...


R = TypeVar("R", bound=Shared)


class RegionPool(Generic[R]):
    """Regions to take and give back, by any thread of the process that made the pool.

    A region serves one request at a time. One whose request may still be under way in the server is left: nobody
    takes it again, and it counts among ``most_bytes`` until the server has closed it.
    """

    def __init__(self, region: Callable[[str, int], R], *, most_bytes: int) -> None:
        self._region, self._most_bytes = region, most_bytes
        self._sign = SignOfLife()
        self._lock, self._made = Lock(), 0
        self._alive: set[R] = set()  # all that are shared with the server, or about to be
        self._idle: list[R] = []  # the latest last: its memory is in the caches
        self._left: list[R] = []
        self._tidied = time.monotonic()
        self.pid = os.getpid()

    def take(self, byte_size: int) -> R | None:
        """An idle region with that much room, and not much more."""
        with self._lock:
            for place in range(len(self._idle) - 1, -1, -1):
                if byte_size <= self._idle[place].byte_size <= max(2 * byte_size, _STEP):
                    return self._idle.pop(place)
        return None

    def make(self, byte_size: int) -> R | None:
        """A new region that no server has opened yet; ``None`` where there would be too many bytes.

        Raises:
            OSError: the machine has no memory to share.
        """
        byte_size = -(-byte_size // _STEP) * _STEP
        with self._lock:
            if sum(region.byte_size for region in self._alive) + byte_size > self._most_bytes:
                return None
            self._made += 1
            region = self._region(f"{self._sign.name}-{self._made}", byte_size)
            self._alive.add(region)
        return region

    def give_back(self, region: R) -> None:
        """The server is done with it."""
        region.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(region)

    def leave(self, region: R) -> None:
        """The server may still use it."""
        with self._lock:
            self._left.append(region)

    def drop(self, region: R) -> None:
        """The server does not have it, or no longer; twice is once."""
        with self._lock:
            if region in self._alive:
                self._alive.remove(region)

    def drop_idle(self) -> None:
        """The server has none of them any more: it was started anew."""
        with self._lock:
            self._alive.difference_update(self._idle)
            self._idle.clear()

    def leave_idle(self) -> None:
        """Have all idle regions closed: there must be room for others, or nobody will need them."""
        with self._lock:
            self._left += self._idle
            self._idle.clear()
            self._tidied = 0.0

    def due(self) -> list[R]:
        """Now and then, the regions that the server should close, for the caller to ``drop`` where it did."""
        now = time.monotonic()
        if now - self._tidied < _TIDY_EVERY_S:
            return []
        with self._lock:
            self._tidied = now
            self._left += [region for region in self._idle if now - region.idle_since > _LONGEST_IDLE_S]
            self._idle = [region for region in self._idle if now - region.idle_since <= _LONGEST_IDLE_S]
            self._left = [region for region in self._left if region in self._alive]
            return list(self._left)

    def end(self) -> None:
        """What the server still has is nobody's any more."""
        self._sign.end()
