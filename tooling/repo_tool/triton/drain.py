# SPDX-License-Identifier: Apache-2.0
"""The end of a server whose clients keep their connections: what was asked is answered, then each is closed in order.

Asked to stop, Triton 2.51 waits for the clients to close their connections, and a pool of connections never does. So
each connection is taken from it where nothing can be lost: while Triton computes an answer (it reads no further then)
and while nothing is under way. For that moment the kernel drops what the client sends, which TCP sends again; Triton
sees the end of what it reads, answers what it has, and lets go. What comes on a connection afterwards goes to Triton
over a connection of ours that says ``Connection: close``, so that the client is told to use another one. A connection
on which nothing more comes is closed.
"""

__all__ = ["Drained", "drain"]

import errno
import os
import resource
import signal
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from socket import SHUT_RD, SHUT_RDWR, SHUT_WR, create_connection, socket
from threading import Thread
from typing import Self

from repo_tool.triton.last_answer import answer_last
from repo_tool.triton.options import Ports
from repo_tool.triton.sockets import (
    READS,
    WRITES,
    Connection,
    TcpState,
    backlog,
    epolls_of,
    established,
    hold_back,
    hold_back_data,
    let_through,
    sockets_of,
    tcp_state,
    unread,
    waits_for,
)

_POLL_S = 0.001  # Triton's own part of an answer may take no longer, and then tells most
_QUIET_MS = 20  # and two round trips: so long a client may take for the body, once it is told "100 Continue"
_TIE_MS = 250  # where the kernel's clock (4 ms) does not tell whether the end of an answer or new data came last
_RECENT_MS = 5000  # a connection that was used or opened since then is probably used again
_PATIENCE_S = 1.0  # with such a connection
_LINGER_S = 0.5  # for the client's kernel to take our end
_DOOR_S = 1.0  # the server answers its door within milliseconds
_OPEN_DOOR_SHARE = 0.5  # of the time: who comes later could not be sure of an answer
_SPARE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of the connections."""

    closed: int  # after what was asked on them had been answered
    answered_last: int  # requests that came while the server was ending
    left: int  # still busy when the time was over


@dataclass(slots=True, kw_only=True)
class _Open:
    """A connection that the server has."""

    connection: Connection
    complete: int = -1  # bytes received when the server was last seen at work on what they ask

    def look(self, events: int, *, received: int) -> bool:
        """Whether the server has read no part of a request that it waits for the rest of.

        Args:
            events: what the server waits for on it.
            received: bytes, a moment before that was read.
        """
        if unread(self.connection.copy) or events & WRITES:
            return False
        state = tcp_state(self.connection.copy)
        if not events & READS:  # it computes an answer
            self.complete = received if state.bytes_received == received else -1
            return True
        return state.bytes_received in (0, self.complete) or _was_answered(state)


@dataclass(slots=True, kw_only=True)
class _Taken:
    """A connection that the server was made to let go of."""

    connection: Connection
    patience_s: float  # with its client, once the server has let go
    released_at: float | None = None
    answering: Thread | None = None
    ended_at: float | None = None

    @property
    def copy(self) -> socket:
        """Ours, and by then the only one."""
        return self.connection.copy


def drain(server: int, ports: Ports, *, host: str, notice_s: float, deadline: float) -> Drained:
    """Answer what was asked over HTTP, close the connections, and tell the server to stop.

    The server takes new connections until those are gone that there were, or half of the time is over; where there were
    any, for ``notice_s`` seconds at least.
    ``deadline`` is a ``time.monotonic()``. gRPC needs less: Triton tells its clients (GOAWAY), and each of their
    connections ends with its last call.

    Raises:
        OSError: this kernel, or a rule of this machine, lets nobody copy the sockets of another process; the server
            was not told to stop.
    """
    with _Drain(server, ports, host=host, deadline=deadline) as running:
        return running.run(notice_s)


class _Drain:
    """One drain under way; see ``drain``."""

    def __init__(self, server: int, ports: Ports, *, host: str, deadline: float) -> None:
        self._server = server
        self._ports = ports
        self._address = (host, ports.http)
        self._deadline = deadline
        self._epolls = epolls_of(server)
        self._open: dict[str, _Open] = {}  # by inode
        self._taken: dict[str, _Taken] = {}
        self._ours: set[str] = set()  # the server's side of our own connections
        self._our_ports: set[int] = set()
        self._spares: list[socket] = []  # for requests that come when the server takes no connection any more
        self._is_door_closed = False
        self._closed = self._answered = 0
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)

    def __enter__(self) -> Self:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two for each connection
        return self

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._open_files)
        for each in self._open.values():
            each.connection.copy.close()
        for taken in self._taken.values():
            if taken.answering is None:
                taken.copy.close()
        self._close_spares()

    def run(self, notice_s: float) -> Drained:
        """Notice, connections, door, connections of late comers; the server has been told to stop when this returns."""
        self._look()
        early = self._open.keys() | set()
        began = time.monotonic()
        notice_over = began + (notice_s if early else 0.0)
        door = began + _OPEN_DOOR_SHARE * (self._deadline - began)
        self._go_on(until=lambda: notice_over <= time.monotonic() and (not early & self._clients() or _is_over(door)))
        with ExitStack() as copies:
            self._close_the_door(copies)
            self._go_on(until=lambda: not self._clients())
            self._close_spares()
            self._close_speechless_grpc_connections()
            os.kill(self._server, signal.SIGTERM)
            self._go_on(until=lambda: not established(self._server, self._ports.grpc))
        return Drained(closed=self._closed, answered_last=self._answered, left=len(self._clients()))

    def _clients(self) -> set[str]:
        return {*self._open, *self._taken}

    def _go_on(self, *, until: Callable[[], bool]) -> None:
        """Step by step, once at least."""
        while True:
            self._look()
            self._take_what_may_be_taken()
            for taken in tuple(self._taken.values()):
                self._advance(taken)
            if until() or time.monotonic() >= self._deadline:
                return
            time.sleep(_POLL_S)

    def _look(self) -> None:
        """Forget the connections that the server has closed itself, and copy new ones."""
        for inode, each in tuple(self._open.items()):
            if not each.connection.is_open_in_server():
                self._open.pop(inode).connection.copy.close()
                self._closed += 1
        try:
            self._copy_new_ones()
        except OSError as error:  # the server has ended, or we have as many open files as we may
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EMFILE):
                raise

    def _copy_new_ones(self) -> None:
        for connection in sockets_of(self._server, self._ports.http, known=self._clients() | self._ours):
            if connection.peer_port() in self._our_ports:
                self._ours.add(connection.inode)
                connection.copy.close()
            else:
                self._open[connection.inode] = _Open(connection=connection)

    def _take_what_may_be_taken(self) -> None:
        """Look first, hold back what the client sends, and look again: only what is seen then is sure to stay so."""
        held = self._quiet(self._open.values())
        for each in held:
            hold_back_data(each.connection.copy)
        sure = self._quiet(held)
        for each in held:
            if each in sure:
                self._take(each.connection)
            else:
                let_through(each.connection.copy)

    def _quiet(self, several: Collection[_Open]) -> list[_Open]:
        received = [tcp_state(each.connection.copy).bytes_received for each in several]
        events = waits_for(self._server, self._epolls) if several else {}
        return [
            each
            for each, before in zip(several, received, strict=True)
            if each.look(events.get(each.connection.descriptor, 0), received=before)
        ]

    def _take(self, connection: Connection) -> None:
        state = tcp_state(connection.copy)
        is_used = min(state.received_ms_ago, state.sent_ms_ago) < _RECENT_MS  # since it was opened, at least
        with suppress(OSError):  # the client has closed it meanwhile
            connection.copy.shutdown(SHUT_RD)
        self._taken[connection.inode] = _Taken(connection=connection, patience_s=_PATIENCE_S if is_used else 0.0)
        del self._open[connection.inode]

    def _advance(self, taken: _Taken) -> None:
        """The server lets go; what comes then is answered; our end is sent; the client has it."""
        if taken.released_at is None:
            self._release(taken)
        elif taken.answering is not None and taken.answering.is_alive():
            return
        elif taken.ended_at is None:
            self._end_or_answer(taken, quiet_s=time.monotonic() - taken.released_at)
        elif tcp_state(taken.copy).has_delivered or time.monotonic() > taken.ended_at + _LINGER_S:
            taken.copy.close()
            del self._taken[taken.connection.inode]
            self._closed += 1

    def _release(self, taken: _Taken) -> None:
        if not taken.connection.is_open_in_server():
            let_through(taken.copy)
            taken.released_at = time.monotonic()

    def _end_or_answer(self, taken: _Taken, *, quiet_s: float) -> None:
        if unread(taken.copy) and taken.answering is None:
            self._answered += 1
            spare = self._spare()
            taken.answering = Thread(target=answer_last, args=(taken.copy, spare), kwargs={"deadline": self._deadline})
            taken.answering.daemon = True
            taken.answering.start()
        elif taken.answering is not None or not tcp_state(taken.copy).is_established or quiet_s > taken.patience_s:
            with suppress(OSError):  # the client has gone
                taken.copy.shutdown(SHUT_WR)
            taken.ended_at = time.monotonic()

    def _spare(self) -> socket | None:
        if self._spares:
            return self._spares.pop()
        if not self._is_door_closed:
            with suppress(OSError):  # the server has ended
                return self._connected()
        return None

    def _close_spares(self) -> None:
        while self._spares:
            self._spares.pop().close()

    def _connected(self) -> socket:
        connection = create_connection(self._address, timeout=_DOOR_S)
        self._our_ports.add(connection.getsockname()[1])
        return connection

    def _close_the_door(self, copies: ExitStack) -> None:
        """Let nobody connect any more, and nobody who has connected get lost.

        Who tries is refused once the server has closed its listening socket; told to stop, it would let them in and
        hang up.
        """
        with suppress(OSError):  # we have as many open files as we may
            for _ in range(len(self._clients()) and len(self._clients()) + _SPARE):
                self._spares.append(self._connected())
        for listener in sockets_of(self._server, self._ports.http, listening=True):
            copies.enter_context(listener.copy)
            hold_back(listener.copy)
            self._is_door_closed = True
        over = min(self._deadline, time.monotonic() + _DOOR_S)
        while backlog(self._server, self._ports.http) and time.monotonic() < over:
            time.sleep(_POLL_S)

    def _close_speechless_grpc_connections(self) -> None:
        """Triton waits 20 seconds for the first word on each, and only then ends."""
        for connection in sockets_of(self._server, self._ports.grpc):
            with connection.copy, suppress(OSError):
                if not tcp_state(connection.copy).bytes_received:
                    connection.copy.shutdown(SHUT_RDWR)


def _is_over(moment: float) -> bool:
    return time.monotonic() >= moment


def _was_answered(state: TcpState) -> bool:
    """Whether the last that went over a connection is the end of an answer, and was long enough ago to be sure."""
    is_tie = state.sent_ms_ago == state.received_ms_ago
    quiet_ms = (_TIE_MS if is_tie else _QUIET_MS) + 2 * state.round_trip_ms
    return state.segments_sent > 0 and quiet_ms <= state.sent_ms_ago <= state.received_ms_ago
