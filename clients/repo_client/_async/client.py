# SPDX-License-Identifier: Apache-2.0
"""The client of one server: it opens what a call goes through, and hands out models."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from repo_client._async.admin import AsyncAdmin, lent_admin
from repo_client._async.model import AsyncModel
from repo_client._async.retrying import AsyncRetrying
from repo_client._async.shared_memory import AsyncSharedRegions
from repo_client._async.tracing import traced, traced_stream
from repo_client._async.transport import AsyncInfer, AsyncTransport, open_transport
from repo_client._checking import checked_version
from repo_client._documents import read_signature
from repo_client._network import client_closed
from repo_client._options import (
    ConnectionOptions,
    Nan,
    Retries,
    SharedMemoryMode,
    Tls,
    Token,
    TransportOptions,
    checked_mode,
    checked_option,
)
from repo_client._timeouts import checked_timeout
from repo_client._urls import parse_url


class AsyncClient:
    """A Triton server at ``grpc://``, ``grpcs://``, ``http://`` or ``https://`` ``host:port``.

    Nothing is sent before the first call. Every call ends within ``timeout_s`` seconds, its own or the client's.

    Args:
        url: the server's address; without a port, Triton's own.
        timeout_s: the deadline of calls that set none.
        headers: sent with every call, over HTTP as headers and over gRPC as metadata.
        token: sent as ``authorization: Bearer``; a function is asked before each call.
        tls: whom to trust and who to be.
        connection: compression, number of connections, keep-alive, limits.
        retries: which failed calls are tried again; ``Retries(attempts=1)`` for none.
        shared_memory: ``"auto"`` sends large tensors through memory shared with a server on this machine, where the
            server can open it; ``"system"`` insists on it, ``"cuda"`` shares the memory of a GPU, ``"off"`` neither.
        tracing: make an OpenTelemetry span of each call and send ``traceparent`` along.
        transport: instead of the one that ``url`` names, e.g. one of ``repo_client.testing``.

    Raises:
        UrlError: ``url`` is no address of a server.
        InputError: an option makes no sense.
    """

    def __init__(  # noqa: PLR0913  # the options of a client, each by its name
        self,
        url: str,
        *,
        timeout_s: float = 60.0,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        tls: Tls | None = None,
        connection: ConnectionOptions | None = None,
        retries: Retries | None = None,
        shared_memory: SharedMemoryMode = "auto",
        tracing: bool = False,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._url = parse_url(url)
        self._timeout_s = checked_timeout(timeout_s, 0.0)
        options = TransportOptions(
            headers=headers or {},
            token=token,
            tls=tls,
            connection=checked_option("connection", connection, ConnectionOptions, ConnectionOptions),
        )
        policy = checked_option("retries", retries, Retries, Retries)
        self._transport = transport or open_transport(self._url, options)
        self._retrying = AsyncRetrying(policy)
        # A transport that was passed in may be no server at all, or write down what it is given.
        sharing = "off" if transport is not None and shared_memory == "auto" else checked_mode(shared_memory)
        self._shared_memory = AsyncSharedRegions(self._transport, self._url, sharing, foretells=policy.attempts > 1)
        self._infer = self._chain(tracing=tracing)
        self._stream = traced_stream(self._transport.stream, self._url) if tracing else self._transport.stream
        self._closed = False

    def _chain(self, *, tracing: bool) -> AsyncInfer:
        """What an inference request goes through, outermost last."""
        infer = self._retrying.around(self._shared_memory.around(self._transport.infer))
        return traced(infer, self._url) if tracing else infer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """The server's address, with its port."""
        return str(self._url)

    @property
    def admin(self) -> AsyncAdmin:
        """The management of the server, over the same connection."""
        transport = self._open_transport()
        return lent_admin(self.url, timeout_s=self._timeout_s, transport=transport, check_open=self._check_open)

    def _open_transport(self) -> AsyncTransport:
        self._check_open()
        return self._transport

    def _check_open(self) -> None:
        if self._closed:
            raise client_closed(self._url)

    async def close(self) -> None:
        """Close all connections and give back what was shared; more than once is fine."""
        if not self._closed:
            self._closed = True
            await self._shared_memory.close()
            await self._transport.close()

    async def model(
        self,
        name: str,
        *,
        version: str | int | None = None,
        timeout_s: float | None = None,
        nan: Nan = "allow",
    ) -> AsyncModel:
        """A served model, its signature read once; ``version`` ``None`` leaves the choice to the server at each call.

        With ``nan="refuse"`` every call refuses inputs that hold a NaN, which most models answer with nonsense.

        Raises:
            ModelNotFoundError: the server has no such model, or has not loaded it.
            NetworkError: the server cannot be reached.
            DeadlineExceededError: it did not answer in time.
        """
        transport, chosen = self._open_transport(), checked_version(version)
        limit_s = checked_timeout(timeout_s, self._timeout_s)
        metadata = await self._retrying.read(transport.metadata, name, chosen, timeout_s=limit_s)
        config = await self._retrying.read(transport.config, name, chosen, timeout_s=limit_s)
        return AsyncModel(
            read_signature(metadata, config, version=chosen),
            infer=self._infer,
            stream=self._stream,
            timeout_s=self._timeout_s,
            check_open=self._check_open,
            nan=nan,
        )

    async def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server answers inference requests; ``False`` too where nothing answers.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        return await self.admin.is_ready(timeout_s=timeout_s)

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Return once the server answers inference requests.

        Raises:
            DeadlineExceededError: it does not after ``timeout_s`` seconds.
            TlsError: something answers that cannot be trusted.
        """
        await self.admin.wait_until_ready(timeout_s)
