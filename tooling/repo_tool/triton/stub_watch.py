# SPDX-License-Identifier: Apache-2.0
"""Waits for the ends of a server's stubs, and for stubs that were stopped."""

__all__ = ["StubWatch"]

import os
import selectors
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from repo_tool.triton.stub_processes import Ending, Stub, dead_stubs_of, ending_of, state_of, stubs_of

_LET_GO_AFTER_S = 0.7  # by then Triton has asked for the exit code of a stub that it ended itself
_STOPPED_AFTER_S = 0.7


class StubWatch:
    """The stubs of one server, each behind a descriptor that wakes ``wait`` when the process ends.

    Where the kernel has no such descriptors, ``wait`` is as slow as its time-out and nothing else differs.
    """

    def __init__(self, server: int, *, wake: int) -> None:
        self.server = server
        self.models: set[str] = set()  # those that were seen to have stubs
        self._stubs: dict[int, Stub] = {}
        self._descriptors: dict[int, int] = {}
        self._ended_since: dict[int, float] = {}
        self._stopped_since: dict[int, float] = {}
        self._retired: set[int] = set()
        self._known: set[int] = set()  # every process that was ever found
        self._changing = threading.Lock()
        self._is_closed = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ)
        self._open(server)

    def close(self) -> None:
        """Close every descriptor but the one to wake by."""
        with self._changing:
            self._is_closed = True
            for descriptor in self._descriptors.values():
                os.close(descriptor)
            self._descriptors.clear()
            self._selector.close()

    def wait(self, timeout_s: float) -> None:
        """Until a process ends, somebody wakes us, or the time is over."""
        self._selector.select(timeout_s)

    def lost_strangers(self) -> list[Ending]:
        """How those stubs ended that died since the last time that was asked, before they were found."""
        dead = dead_stubs_of(self.server)
        strangers = dead - self._known
        self._known |= dead
        return [ending for stub in sorted(strangers) if (ending := ending_of(stub))]

    def look_again(self) -> None:
        """Find the stubs that the server has started meanwhile."""
        found = stubs_of(self.server)
        self._known.update(stub.pid for stub in found)
        with self._changing:
            for stub in found:
                if stub.pid not in self._stubs and not self._is_closed:
                    self._stubs[stub.pid] = stub
                    self.models.add(stub.model)
                    self._open(stub.pid)

    def retire_all_but(self, newest: int, model: str, version: str) -> None:
        """The newest ones of a version serve in the place of the others: those are of no interest any more."""
        self.look_again()
        living = self.living(model, version)
        self._retired.update(stub.pid for stub in living[: max(0, len(living) - newest)])

    def deaths(self) -> list[tuple[Stub, Ending]]:
        """The stubs that ended without having been let go by the server, each told once."""
        with self._changing:
            return list(self._found_dead())

    def stopped(self) -> list[Stub]:
        """The stubs that stand still since a while."""
        now = time.monotonic()
        still = [stub for stub in tuple(self._stubs.values()) if state_of(stub.pid) == "T"]
        self._stopped_since = {stub.pid: self._stopped_since.get(stub.pid, now) for stub in still}
        return [stub for stub in still if now - self._stopped_since[stub.pid] >= _STOPPED_AFTER_S]

    @property
    def stubs(self) -> tuple[Stub, ...]:
        """Those that serve, as far as they were found."""
        return tuple(stub for stub in tuple(self._stubs.values()) if stub.pid not in self._retired)

    def living(self, model: str, version: str) -> list[Stub]:
        """The stubs of a version that run and were not retired, the oldest first."""
        own = [each for each in tuple(self._stubs.values()) if (each.model, each.version) == (model, version)]
        return [stub for stub in own if stub.pid not in self._retired and state_of(stub.pid) not in ("Z", "X", "")]

    def lives(self, model: str) -> bool:
        """Whether any stub of a model is there, in whichever version."""
        self.look_again()
        return any(
            stub.model == model and stub.pid not in self._retired and state_of(stub.pid) not in ("Z", "X", "")
            for stub in tuple(self._stubs.values())
        )

    def _found_dead(self) -> Iterator[tuple[Stub, Ending]]:
        for stub in tuple(self._stubs.values()):
            if (state := state_of(stub.pid)) not in ("Z", "X", ""):
                continue
            self._close(stub.pid)
            ending = ending_of(stub.pid)
            if state and ending and stub.pid not in self._retired and self._is_death(stub, ending):
                yield stub, ending
            if not state or stub.pid not in self._ended_since:
                self._forget(stub)

    def _is_death(self, stub: Stub, ending: Ending) -> bool:
        """Whether nobody asked the process to end: one that left in peace may just not have been looked after yet."""
        if not ending.is_clean:
            self._ended_since.pop(stub.pid, None)
            return True
        since = self._ended_since.setdefault(stub.pid, time.monotonic())
        if time.monotonic() - since < _LET_GO_AFTER_S:
            return False
        del self._ended_since[stub.pid]
        return True

    def _forget(self, stub: Stub) -> None:
        self._retired.discard(stub.pid)
        self._ended_since.pop(stub.pid, None)
        del self._stubs[stub.pid]

    def _open(self, process: int) -> None:
        with suppress(OSError, AttributeError):  # it has just ended, or the kernel cannot
            descriptor = os.pidfd_open(process)
            self._descriptors[process] = descriptor
            self._selector.register(descriptor, selectors.EVENT_READ)

    def _close(self, process: int) -> None:
        if (descriptor := self._descriptors.pop(process, None)) is not None:
            self._selector.unregister(descriptor)
            os.close(descriptor)
