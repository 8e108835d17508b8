# SPDX-License-Identifier: Apache-2.0
"""The last request of an HTTP connection whose server has let go of it: answered by another one, and then closed."""

__all__ = ["answer_last"]

import re
import select
import socket
import time
from contextlib import suppress

from repo_tool.triton.sockets import tcp_state, unread

_POLL_MS = 2
_CHUNK = 1 << 20
_LONGEST_HEAD = 1 << 18
_CONNECTION_HEADER = re.compile(rb"\r\n(?:connection|keep-alive):[^\r\n]*", re.IGNORECASE)
_REQUEST = re.compile(rb"[A-Z]+ [^\r\n]+ HTTP/1\.[01]\r\n")
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


class _LateClient:
    """A client's connection whose reading side is shut: the kernel tells its end at once, so data are asked for."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        connection.settimeout(max(0.01, deadline - time.monotonic()))

    def received(self) -> bytes:
        """What has arrived."""
        return self._connection.recv(_CHUNK) if unread(self._connection) else b""

    def head(self) -> tuple[bytes, bytes]:
        """The head of a request up to its empty line, and what came after it; empty when the client went away."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.received()
            data += more
            if not more and (not self.is_there() or time.monotonic() >= self._deadline or len(data) > _LONGEST_HEAD):
                return b"", b""
            if not more:
                time.sleep(_POLL_MS / 1e3)
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def is_there(self) -> bool:
        """Whether it may still send."""
        return tcp_state(self._connection).is_established

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)


def answer_last(connection: socket.socket, server: socket.socket | None, *, deadline: float) -> None:
    """Pass one request on to ``server`` and its answer back, tell the client that it was the last one.

    Without a ``server`` the client is told to try again elsewhere. ``deadline`` is a ``time.monotonic()``. The server's
    connection is closed, the client's is not.
    """
    client = _LateClient(connection, deadline)
    with suppress(OSError):
        head, rest = client.head()
        if server is None:
            client.send(_UNAVAILABLE if head else b"")
        elif _REQUEST.match(head + b"\r\n"):
            with server:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                server.sendall(_CONNECTION_HEADER.sub(b"", head) + b"\r\nConnection: close\r\n\r\n" + rest)
                _relay(client, server)


def _relay(client: _LateClient, server: socket.socket) -> None:
    """Until the server closes, which it does after its answer."""
    answers = select.poll()  # select.select() knows no more than 1024 files
    answers.register(server, select.POLLIN)
    while True:
        if data := client.received():
            server.sendall(data)
        if answers.poll(0 if data else _POLL_MS):
            answer = server.recv(_CHUNK)
            if not answer:
                return
            client.send(answer)
