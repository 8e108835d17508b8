# SPDX-License-Identifier: Apache-2.0
"""HTTP requests over connections that are kept: one deadline each, every failure in our own words."""

import ssl
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic

from httptools import HttpParserError

from repo_client._errors import (
    ConnectionLostError,
    DeadlineExceededError,
    Facts,
    RepoClientError,
    ServerUnreachableError,
    TlsError,
    UnexpectedAnswerError,
)
from repo_client._http_messages import HEADER_LENGTH, Reply
from repo_client._http_routes import route_to
from repo_client._http_wire import ReplyReader, compress, decompress, encode_headers
from repo_client._network import client_closed, network_failure
from repo_client._options import Tls, TransportOptions
from repo_client._task_connection import Connection, Slots, home, open_connection
from repo_client._timeouts import LONGEST_S
from repo_client._urls import Url

_HEADER_LENGTH = HEADER_LENGTH.lower().encode()

# First match wins: the classes overlap.
_CONNECTING: tuple[tuple[type[Exception], type[RepoClientError]], ...] = (
    (ssl.SSLError, TlsError),
    (TimeoutError, DeadlineExceededError),
    (Exception, ServerUnreachableError),
)
_UNDER_WAY: tuple[tuple[type[Exception], type[RepoClientError]], ...] = (
    (ssl.SSLEOFError, ConnectionLostError),
    (ssl.SSLError, TlsError),
    (TimeoutError, DeadlineExceededError),
    (HttpParserError, UnexpectedAnswerError),
    (zlib.error, UnexpectedAnswerError),
    (OSError, ConnectionLostError),
    (EOFError, ConnectionLostError),
)


_Request = tuple[bytes, Sequence[bytes | memoryview]]  # head and body


class _Pool:
    """The connections of one process or event loop."""

    def __init__(self, owner: object, count: int) -> None:
        self.owner = owner
        self.slots = Slots(count)
        self.idle: deque[Connection] = deque()
        self.used: set[Connection] = set()


class AsyncHttpExchange:
    """Sends requests and reads their answers whole, each over a connection of its own while it lasts."""

    def __init__(self, url: Url, options: TransportOptions) -> None:
        self._url, self._options = url, options
        self._route = route_to(url)
        self._tls = (options.tls or Tls()).context() if url.is_secure else None
        self._server_name = (options.tls and options.tls.server_name) or url.host
        self._compression = options.connection.compression
        self._accepting = f"Accept-Encoding: {self._compression}\r\n" if self._compression else ""
        self._pool: _Pool | None = None
        self._closed = False
        self._host_line = f"Host: {url.address}\r\n"
        encode_headers(options.headers)  # a wrong one is told now, not by each call

    async def send(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        facts: Facts,
        body: Sequence[bytes | memoryview] = (),
        header_length: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send; the whole answer has to be here within ``timeout_s``, whatever the time goes into.

        Args:
            method: of HTTP.
            path: below the address of the server.
            timeout_s: the deadline.
            facts: what a failure is about.
            body: its parts, in order.
            header_length: of the JSON in front of binary tensors; only such a body is compressed.
            headers: of this call, over those of the client.

        Raises:
            RepoClientError: the network failed, the deadline passed, or the client was closed.
        """
        deadline = monotonic() + min(timeout_s, LONGEST_S)
        request = self._request(method, path, body, header_length, headers)
        pool = self._open_pool()
        try:
            slot = await pool.slots.take(deadline)
        except TimeoutError as error:
            raise network_failure(DeadlineExceededError, self._url, "", facts) from error
        try:
            self._check_open()  # again: it may have waited for long
            connection = _take_idle(pool) or await self._connect(deadline, facts)
            return await self._exchange(pool, connection, request, deadline, facts)
        finally:
            slot.give()

    def _request(
        self,
        method: str,
        path: str,
        body: Sequence[bytes | memoryview],
        header_length: int | None,
        headers: Mapping[str, str] | None,
    ) -> _Request:
        chosen = self._options.call_headers(headers)
        lines = self._route.lines + encode_headers(chosen)
        if "host" not in chosen:
            lines = self._host_line + lines
        if header_length is not None:
            lines += f"Content-Type: application/octet-stream\r\n{HEADER_LENGTH}: {header_length}\r\n{self._accepting}"
            if self._compression:
                body = [compress(b"".join(body), self._compression)]
                lines += f"Content-Encoding: {self._compression}\r\n"
        size = sum(map(len, body))
        head = f"{method} {self._route.target}{path} HTTP/1.1\r\n{lines}Content-Length: {size}\r\n\r\n"
        return head.encode("ascii"), body

    def _check_open(self) -> None:
        if self._closed:
            raise client_closed(self._url)

    def _open_pool(self) -> _Pool:
        self._check_open()
        pool, owner = self._pool, home()
        if pool is None or pool.owner != owner:  # connections of another loop, or of the process before a fork
            self._pool = pool = _Pool(owner, self._options.connection.connections)
        return pool

    async def _connect(self, deadline: float, facts: Facts) -> Connection:
        route = self._route
        try:
            connection = await open_connection(route.host, route.port, deadline=deadline)
            try:
                await self._secure(connection, deadline)
            except BaseException:
                connection.close()
                raise
        except (OSError, EOFError, HttpParserError) as error:
            raise self._unreachable(error, facts) from error
        return connection

    async def _secure(self, connection: Connection, deadline: float) -> None:
        if self._tls is None:
            return
        if self._route.tunnel is not None:
            reader = await connection.exchange(self._route.tunnel, (), deadline=deadline, has_body=False)
            if not 200 <= reader.status < 300:
                raise OSError(f"it answered {reader.status}")
        await connection.start_tls(self._tls, self._server_name, deadline)

    def _unreachable(self, error: Exception, facts: Facts) -> RepoClientError:
        kind = next(ours for theirs, ours in _CONNECTING if isinstance(error, theirs))
        if self._tls is not None and isinstance(error, ConnectionResetError):
            kind = TlsError  # hung up on the handshake
        proxy = f" (through the proxy {self._route.through})" if self._route.through else ""
        return network_failure(kind, self._url, f"{error}{proxy}", facts)

    async def _exchange(
        self, pool: _Pool, connection: Connection, request: _Request, deadline: float, facts: Facts
    ) -> Reply:
        reader = None
        try:
            pool.used.add(connection)
            self._check_open()  # after that, so that close() finds the connection or we find it closed
            reader = await connection.exchange(*request, deadline=deadline)
            return _to_reply(reader)
        except (OSError, EOFError, HttpParserError, zlib.error) as error:
            self._check_open()
            kind = next(ours for theirs, ours in _UNDER_WAY if isinstance(error, theirs))
            raise self._lost(kind, error, facts, is_new=not connection.is_proven) from error
        finally:
            pool.used.discard(connection)
            if reader is not None and reader.keep_alive:
                pool.idle.append(connection)
            else:
                connection.close()
            if pool is not self._pool:  # closed meanwhile
                _drop_idle(pool)

    def _lost(self, kind: type[RepoClientError], error: Exception, facts: Facts, *, is_new: bool) -> RepoClientError:
        if self._tls is not None and is_new and isinstance(error, ConnectionError):
            # In TLS 1.3 the client's certificate is looked at behind the handshake.
            words = f"{error} at the first request, as by a server that asks for another certificate of the client"
            return network_failure(TlsError, self._url, words, facts)
        return network_failure(kind, self._url, str(error), facts)

    async def close(self) -> None:
        """Close all connections; calls under way end with a ``ClosedClientError``."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is None:
            return
        while pool.used and pool.owner == home():  # those of the process before a fork are not ours to end
            with suppress(KeyError):  # a thread has just ended its call
                pool.used.pop().abort()
        _drop_idle(pool)


def _drop_idle(pool: _Pool) -> None:
    while pool.idle:
        with suppress(IndexError):  # another thread was faster
            pool.idle.pop().close()


def _take_idle(pool: _Pool) -> Connection | None:
    """The connection used last, which is the least likely to have been closed meanwhile."""
    while pool.idle:
        try:
            connection = pool.idle.pop()
        except IndexError:  # another thread was faster
            break
        if connection.is_usable():
            return connection
        connection.close()
    return None


def _to_reply(reader: ReplyReader) -> Reply:
    header_length = reader.headers.get(_HEADER_LENGTH)
    is_plain = reader.headers.get(b"content-encoding", b"identity").strip().lower() == b"identity"
    return Reply(
        status=reader.status,
        header_length=None if header_length is None else header_length.decode("latin-1"),
        body=reader.body if is_plain else decompress(reader.body),
    )
