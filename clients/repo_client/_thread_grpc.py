# SPDX-License-Identifier: Apache-2.0
"""Unary gRPC calls that block their threads, each on a connection of its own. Its twin for tasks is ``_task_grpc``."""

import os
import socket
from collections import deque
from contextlib import suppress
from threading import Lock

from repo_client._http2 import Call, Http2, ProtocolError, UnreachableError, reason, time_left
from repo_client._thread_connection import open_socket

_CHUNK = 65_536


class UnaryCalls:
    """Connections to one server; a forked process opens its own."""

    def __init__(self, host: str, port: int, *, kept: int) -> None:
        self._host, self._port = host, port
        self._kept = kept  # at most so many idle ones
        self._owner = os.getpid()
        self._lock = Lock()
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()

    def run(self, headers: bytes, call: Call, *, deadline: float) -> None:
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
        if self._owner != os.getpid():  # after a fork the connections are those of the parent
            self._idle, self._all, self._lock, self._owner = deque(), set(), Lock(), os.getpid()
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
            raise UnreachableError(reason(error)) from error
        with self._lock:
            self._all.add(connection)
        return connection

    def _give(self, connection: "_Connection") -> None:
        if connection.http2.is_leaving or len(self._idle) >= self._kept:
            self._drop(connection)
        else:
            self._idle.append(connection)

    def _drop(self, connection: "_Connection") -> None:
        with self._lock:
            self._all.discard(connection)
        connection.close()

    def close(self) -> None:
        """Hang up; calls under way in other threads end with an ``EOFError``."""
        with self._lock:
            open_ones, self._all = self._all, set()
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
            while True:
                self._receive()
        except BlockingIOError:
            return not self.http2.is_leaving
        except (OSError, EOFError, ProtocolError):
            return False

    def run(self, headers: bytes, call: Call, deadline: float) -> None:
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
        if parts and not hasattr(self._socket, "sendmsg"):  # as on Windows
            self._socket.settimeout(time_left(deadline))
            self._socket.sendall(b"".join(parts))
            return
        while parts:
            self._socket.settimeout(time_left(deadline))
            sent = self._socket.sendmsg(parts)
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if parts:
                parts[0] = memoryview(parts[0])[sent:]

    def close(self) -> None:
        """Hang up, also under a thread that waits."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
