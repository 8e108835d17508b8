# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection of an event loop's tasks. Its twin for threads is ``_thread_connection``."""

import asyncio
import ssl
from asyncio import Semaphore
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from httptools import HttpParserError

from repo_client._http_wire import ReplyReader
from repo_client._network import is_readable
from repo_client._timeouts import time_left

_SCRATCH = 65_536


def home() -> object:
    """What connections belong to."""
    return asyncio.get_running_loop()


class Slots:
    """How many connections may be open at once."""

    def __init__(self, count: int) -> None:
        self._semaphore = Semaphore(count)

    async def take(self, deadline: float) -> Self:
        """Wait for one.

        Raises:
            TimeoutError: none came free in time.
        """
        if not self._semaphore.locked():
            await self._semaphore.acquire()
            return self
        async with _until(deadline):
            await self._semaphore.acquire()
        return self

    def give(self) -> None:
        """Give it back."""
        self._semaphore.release()


class Connection(asyncio.BufferedProtocol):
    """A connection, as asyncio's protocol of it."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.is_proven = False  # it has carried an answer
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._reader: ReplyReader | None = None
        self._answered: asyncio.Future[None] | None = None
        self._is_lost = False

    async def start_tls(self, context: ssl.SSLContext, server_name: str, deadline: float) -> None:
        """Agree on keys; from here on everything is encrypted."""
        loop = asyncio.get_running_loop()
        async with _until(deadline):
            transport = await loop.start_tls(self._transport, self, context, server_hostname=server_name)
        if transport is None or self._is_lost:
            raise ConnectionResetError("closed in the handshake")
        self._transport = transport

    def is_usable(self) -> bool:
        """Whether it still waits for a request: an idle one has nothing to say but that it was closed."""
        return not (self._is_lost or is_readable(self._transport.get_extra_info("socket").fileno()))

    async def exchange(
        self, head: bytes, body: Sequence[bytes | memoryview], *, deadline: float, has_body: bool = True
    ) -> ReplyReader:
        """Send a request and read its answer whole; without ``has_body`` the answer is its headers.

        Raises:
            TimeoutError: it was not here in time.
            EOFError: the connection was closed before.
            OSError: the connection failed.
            HttpParserError: the answer is not HTTP.
        """
        if self._is_lost:
            raise EOFError("closed before the request")
        self._reader = reader = ReplyReader(self._scratch, has_body=has_body)
        async with _until(deadline):
            self._transport.write(b"".join((head, *body)))  # a copy, because others may change the arrays meanwhile
            self._answered = asyncio.get_running_loop().create_future()  # last, so that nobody leaves it unasked
            await self._answered
        self.is_proven = True
        return reader

    def abort(self) -> None:
        """Hang up under the task that waits, which is told so."""
        self.close()

    def close(self) -> None:
        """Hang up; more than once is fine."""
        self._is_lost = True
        with suppress(RuntimeError):  # its loop is closed: the socket goes with the last reference to it
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # as for every stream
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by the loop."""
        return self._scratch if self._reader is None else self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop."""
        if self._reader is None:
            self.close()  # nobody asked
            return
        try:
            self._reader.received(nbytes)
        except (HttpParserError, EOFError) as error:
            self._fail(error)
            return
        if self._reader.is_complete:
            self._reader = None  # whatever comes before the next request is nobody's
            self._succeed()

    def eof_received(self) -> None:
        """Called by the loop, which hangs up then."""
        if self._reader is not None:
            self.buffer_updated(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._is_lost = True
        self._fail(exc or EOFError("closed before the answer was whole"))

    def _succeed(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)


async def open_connection(host: str, port: int, *, deadline: float) -> Connection:
    """A connection to the first address of ``host`` that takes one.

    Raises:
        TimeoutError: none did in time.
        OSError: none did.
    """
    loop = asyncio.get_running_loop()
    async with _until(deadline):
        _, connection = await loop.create_connection(Connection, host, port, happy_eyeballs_delay=0.25)
    return connection


def _until(deadline: float) -> asyncio.Timeout:
    return asyncio.timeout(time_left(deadline))
