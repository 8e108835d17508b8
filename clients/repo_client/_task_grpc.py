# SPDX-License-Identifier: Apache-2.0
"""Unary gRPC calls of an event loop's tasks, all on one connection. Its twin for threads is ``_thread_grpc``."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from socket import SHUT_RDWR
from typing import cast

import grpc
import grpc.aio

from repo_client._http2 import Http2, LeavingError, ProtocolError, Stream
from repo_client._network import is_readable, unreachable
from repo_client._timeouts import time_left

LIBRARY = grpc.aio  # whose channels belong to an event loop
# Of calls on them: the last three where the channel was closed.
FAILURES = (grpc.RpcError, ValueError, grpc.aio.UsageError, asyncio.CancelledError)


def home() -> object:
    """What a channel belongs to."""
    return asyncio.get_running_loop()


class UnaryCalls:
    """A connection to one server; another event loop opens its own."""

    def __init__(self, host: str, port: int, *, kept: int) -> None:
        self._host, self._port = host, port
        del kept  # one is enough
        self._all: set[_Connection] = set()  # some end what they have begun after the server left
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None
        self._waiting = 0  # for it

    async def run(self, headers: bytes, call: Stream, *, deadline: float) -> None:
        """Make a call, and wait until it is finished.

        Raises:
            UnreachableError: there is no connection to be had.
            TimeoutError: it is not finished in time, and was given up.
        """
        connection = self._connection
        if connection is not None and connection.is_usable() and connection.has_news():
            await asyncio.sleep(0)  # the loop hears of them ...
            await asyncio.sleep(0)  # ... and tells the connection
        if connection is None or not connection.is_usable():
            connection = await self._connect(deadline)
        await connection.run(headers, call, deadline)

    async def _connect(self, deadline: float) -> "_Connection":
        """A new connection, the same for all that ask for one meanwhile."""
        connecting, loop = self._connecting, asyncio.get_running_loop()
        if connecting is None or connecting.done() or connecting.get_loop() is not loop:
            connecting = self._connecting = loop.create_task(self._open())
            connecting.add_done_callback(_look_at)  # even if all who wait for it have given up
            self._waiting = 0
        self._waiting += 1
        try:
            await asyncio.wait((connecting,), timeout=time_left(deadline))
        finally:
            if connecting is self._connecting:
                self._waiting -= 1
                if not self._waiting:  # the next one starts afresh: attempts of an old one are far apart
                    connecting.cancel()
                    self._connecting = None
        if not connecting.done():
            raise TimeoutError
        if connecting.cancelled():
            raise EOFError("the client was closed")
        return connecting.result()

    async def _open(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(_Connection, self._host, self._port, happy_eyeballs_delay=0.25)
        except OSError as error:
            raise unreachable(error) from error
        self._all = {other for other in self._all if other.is_kept()} | {connection}
        self._connection = connection
        return connection

    async def close(self) -> None:
        """Hang up; calls under way end with an ``EOFError``."""
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in self._all:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection, as asyncio's protocol of it."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._http2 = Http2()
        self._waiting: dict[Stream, asyncio.Future[None]] = {}  # for the end of each call
        self._is_flushing = False

    def is_kept(self) -> bool:
        """Whether somebody is still there; one of an event loop that ended is hung up."""
        if self._loop.is_closed():
            self.close()
            return False
        return not self._transport.is_closing()

    def has_news(self) -> bool:
        """Whether the server said something while nobody listened; most often that it hung up."""
        return not self._waiting and is_readable(self._transport.get_extra_info("socket").fileno())

    def is_usable(self) -> bool:
        """Whether it takes another call of the running loop."""
        return not self._http2.is_leaving and self._loop is asyncio.get_running_loop()

    async def run(self, headers: bytes, call: Stream, deadline: float) -> None:
        """See ``UnaryCalls.run``."""
        if not self.is_usable():  # since it was chosen
            call.failure = LeavingError("the server is going away")
            return
        waiting = self._loop.create_future()
        timer = self._loop.call_later(time_left(deadline), _expire, waiting)
        self._waiting[call] = waiting
        self._http2.start(headers, call)
        self._flush_soon()
        try:
            await waiting
        finally:
            timer.cancel()
            if not call.is_finished:
                del self._waiting[call]
                self._http2.cancel(call)
                self._flush_soon()

    def _flush_soon(self) -> None:
        """Send once for all tasks that are about to run."""
        if not (self._is_flushing or self._loop.is_closed()):
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        parts = self._http2.take()
        if parts:
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Hang up."""
        self._end(self._http2.lose(EOFError("the client was closed")))
        if not self._loop.is_closed():
            self._transport.abort()
            return
        with suppress(OSError):  # nobody is left to tell the server, and the socket is closed when it is forgotten
            self._transport.get_extra_info("socket").shutdown(SHUT_RDWR)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._end(self._http2.receive(data))
        except ProtocolError as error:
            self._end(self._http2.lose(error))
            self._transport.abort()
        self._flush()

    def eof_received(self) -> None:
        """Called by the loop, which hangs up then."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._end(self._http2.lose(exc or EOFError("the server closed the connection")))

    def _end(self, calls: Sequence[Stream]) -> None:
        for call in calls:
            waiting = self._waiting.pop(call, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)


def _look_at(connecting: asyncio.Task[_Connection]) -> None:
    if not connecting.cancelled():
        connecting.exception()


def _expire(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
