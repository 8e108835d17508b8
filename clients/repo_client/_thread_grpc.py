# SPDX-License-Identifier: Apache-2.0
"""Unary gRPC calls that block their threads, each on a connection of its own. Its twin for tasks is ``_task_grpc``."""

import os
import socket
from collections import deque
from contextlib import suppress
from threading import Lock
from weakref import WeakSet

import grpc

from repo_client._http2 import Http2, ProtocolError, Stream
from repo_client._network import unreachable
from repo_client._thread_connection import open_socket
from repo_client._timeouts import time_left

LIBRARY = grpc  # whose channels block
FAILURES = (grpc.RpcError, ValueError)  # of calls on them: the last one where the channel was closed

_CHUNK = 65_536
_MOST_CHUNKS = 16  # that are read before a call; a server may go on for ever
_HAS_SENDMSG = hasattr(socket.socket, "sendmsg")  # Windows has none
_MOST_PARTS = os.sysconf("SC_IOV_MAX") if _HAS_SENDMSG else 1  # that the system takes at once


def home() -> object:
    """What a channel belongs to: all threads share one."""
    return None


class UnaryCalls:
    """Connections to one server; a forked process opens its own."""

    def __init__(self, host: str, port: int, *, kept: int) -> None:
        self._host, self._port = host, port
        self._kept = kept  # at most so many idle ones
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._lock = Lock()
        self._idle: deque[_Connection] = deque()
        self._all: WeakSet[_Connection] = WeakSet()
        self._owner = os.getpid()

    def _begin_after_fork(self) -> None:
        """The connections there are, and a lock that may be held, are those of the parent."""
        if self._owner != os.getpid():
            self._begin()

    def run(self, headers: bytes, call: Stream, *, deadline: float) -> None:
        """Make a call, and wait until it is finished.

        Raises:
            UnreachableError: there is no connection to be had.
            TimeoutError: it is not finished in time, and was given up.
            ProtocolError: the server does not speak HTTP/2.
            OSError: the connection was lost.
            EOFError: it was closed.
        """
        connection = self._take_idle() or self._connect(deadline)
        try:
            connection.run(headers, call, deadline)
        except BaseException:
            self._drop(connection)  # which cancels what the server may still do
            raise
        self._give(connection)

    def _take_idle(self) -> "_Connection | None":
        self._begin_after_fork()
        while True:
            try:
                connection = self._idle.pop()  # the one used last, which is the least likely to be closed
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            self._drop(connection)

    def _connect(self, deadline: float) -> "_Connection":
        try:
            connection = _Connection(open_socket(self._host, self._port, deadline=deadline))
        except TimeoutError:
            raise
        except OSError as error:
            raise unreachable(error) from error
        with self._lock:
            if not self._is_closed:
                self._all.add(connection)
                return connection
        connection.close()
        raise EOFError("the client was closed")

    def _give(self, connection: "_Connection") -> None:
        if self._is_closed or connection.http2.is_leaving or len(self._idle) >= self._kept:
            self._drop(connection)
        else:
            self._idle.append(connection)

    def _drop(self, connection: "_Connection") -> None:
        with self._lock:
            self._all.discard(connection)
        connection.close()

    def close(self) -> None:
        """Hang up; calls under way in other threads end with an ``EOFError``."""
        self._begin_after_fork()
        with self._lock:
            self._is_closed = True
            open_ones = list(self._all)
        self._idle.clear()
        for connection in open_ones:
            connection.close()


class _Connection:
    """A connected socket that carries one call after the other."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.http2 = Http2()

    def is_usable(self) -> bool:
        """Whether it is still open; what the server has said meanwhile is read."""
        self._socket.settimeout(0)
        try:
            for _ in range(_MOST_CHUNKS):
                self._receive()
        except BlockingIOError:
            pass
        except (OSError, EOFError, ProtocolError):
            return False
        return not self.http2.is_leaving

    def run(self, headers: bytes, call: Stream, deadline: float) -> None:
        """See ``UnaryCalls.run``."""
        self.http2.start(headers, call)
        while True:
            self._send(deadline)
            if call.is_finished:
                return
            self._socket.settimeout(time_left(deadline))
            self._receive()

    def _receive(self) -> None:
        data = self._socket.recv(_CHUNK)
        if not data:
            raise EOFError("the server closed the connection")
        self.http2.receive(data)

    def _send(self, deadline: float) -> None:
        parts = self.http2.take()
        if not _HAS_SENDMSG:
            parts = [b"".join(parts)]
        first = 0
        while first < len(parts):
            self._socket.settimeout(time_left(deadline))
            sent = self._send_some(parts[first : first + _MOST_PARTS])
            while first < len(parts) and sent >= len(parts[first]):
                sent -= len(parts[first])
                first += 1
            if sent:
                parts[first] = memoryview(parts[first])[sent:]

    def _send_some(self, parts: list[bytes | memoryview]) -> int:
        return self._socket.sendmsg(parts) if _HAS_SENDMSG else self._socket.send(parts[0])

    def close(self) -> None:
        """Hang up, also under a thread that waits."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
