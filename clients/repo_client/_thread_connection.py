# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection that blocks its thread. Its twin for tasks is ``_task_connection``."""

import os
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from weakref import ref

from httptools import HttpParserError

from repo_client._http_wire import ReplyReader
from repo_client._network import is_readable
from repo_client._timeouts import time_left

_SCRATCH = 65_536
_AddressInfo = tuple[Any, ...]  # family, kind, protocol, canonical name, address


def home() -> object:
    """What connections belong to: a forked process shares none with its parent."""
    return os.getpid()


class Slots:
    """How many connections may be open at once."""

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[Slot] = SimpleQueue()  # a semaphore in C
        for _ in range(count):
            self._free.put(Slot(self._free))

    def take(self, deadline: float) -> "Slot":
        """Wait for one.

        Raises:
            TimeoutError: none came free in time.
        """
        try:
            return self._free.get(timeout=time_left(deadline))
        except Empty as error:
            raise TimeoutError from error


class Slot:
    """A connection that may be open; whoever drops it gives it back, also where Ctrl-C leaves no time to."""

    def __init__(self, free: "SimpleQueue[Slot]") -> None:
        self._free = ref(free)  # which holds this one

    def give(self) -> None:
        """Give it back."""
        free = self._free()
        if free is not None:
            free.put(self)

    def __del__(self) -> None:
        free = self._free()
        if free is not None:
            free.put(Slot(free))  # Python finalizes none twice


class Connection:
    """A connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.is_proven = False  # it has carried an answer
        self._scratch = memoryview(bytearray(_SCRATCH))

    def start_tls(self, context: ssl.SSLContext, server_name: str, deadline: float) -> None:
        """Agree on keys; from here on everything is encrypted."""
        self._socket.settimeout(time_left(deadline))
        self._socket = context.wrap_socket(self._socket, server_hostname=server_name)

    def is_usable(self) -> bool:
        """Whether it still waits for a request: an idle one has nothing to say but that it was closed."""
        return not is_readable(self._socket.fileno())

    def exchange(
        self, head: bytes, body: Sequence[bytes | memoryview], *, deadline: float, has_body: bool = True
    ) -> ReplyReader:
        """Send a request and read its answer whole; without ``has_body`` the answer is its headers.

        Raises:
            TimeoutError: it was not here in time.
            EOFError: the connection was closed before.
            OSError: the connection failed.
            HttpParserError: the answer is not HTTP.
        """
        reader = ReplyReader(self._scratch, has_body=has_body)
        try:
            self._send(head, body, deadline)
        except ConnectionError as error:
            self._receive_last(reader, deadline, error)
        else:
            self._receive(reader, deadline)
        self.is_proven = True
        return reader

    def _receive(self, reader: ReplyReader, deadline: float) -> None:
        connected = self._socket
        while not reader.is_complete:
            connected.settimeout(time_left(deadline))
            reader.received(connected.recv_into(reader.buffer()))

    def _receive_last(self, reader: ReplyReader, deadline: float, error: ConnectionError) -> None:
        """What the server answered before it hung up on the request, as one does that is too large; or ``error``."""
        try:
            self._receive(reader, deadline)
        except (OSError, EOFError, HttpParserError):
            raise error from None
        reader.keep_alive = False

    def _send(self, head: bytes, body: Sequence[bytes | memoryview], deadline: float) -> None:
        if sum(map(len, body)) <= _SCRATCH:
            head, body = b"".join((head, *body)), ()
        for part in (head, *body):
            left = memoryview(part)
            while left:
                self._socket.settimeout(time_left(deadline))
                left = left[self._send_some(left) :]

    def _send_some(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except ssl.SSLEOFError as error:  # the name it has in TLS
            raise BrokenPipeError(str(error)) from error

    def abort(self) -> None:
        """Hang up under the thread that waits; it is told so, and left to close."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # that of TLS is not made for two threads

    def close(self) -> None:
        """Hang up; more than once is fine."""
        self._socket.close()


def open_connection(host: str, port: int, *, deadline: float) -> Connection:
    """A connection to the first address of ``host`` that takes one.

    Raises:
        TimeoutError: none did in time.
        OSError: none did.
    """
    return Connection(open_socket(host, port, deadline=deadline))


def open_socket(host: str, port: int, *, deadline: float) -> socket.socket:
    """A socket connected to the first address of ``host`` that takes one; each has its share of the time.

    Raises:
        TimeoutError: none did in time.
        OSError: none did.
    """
    addresses = _resolve(host, port, deadline)
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connecting = socket.socket(family, kind, protocol)
        left = len(addresses) - number
        try:
            connecting.settimeout(time_left(deadline) / left)
            connecting.connect(address)
        except BaseException as error:
            connecting.close()
            if left == 1 or not isinstance(error, OSError):
                raise
            continue
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connecting
    raise OSError(f"{host} has no address")


def _resolve(host: str, port: int, deadline: float) -> Sequence[_AddressInfo]:
    """What the system knows of ``host``; a thread asks, because a name server may take longer than the deadline."""
    with suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    found: Future[Sequence[_AddressInfo]] = Future()

    def ask() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return found.result(time_left(deadline))
