# SPDX-License-Identifier: Apache-2.0
"""The client of one server: it opens what a call goes through, and hands out models."""

from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Self

from repo_client._async.admin import AsyncAdmin, lent_admin
from repo_client._async.model import AsyncModel
from repo_client._async.retrying import AsyncRetrying
from repo_client._async.shared_memory import AsyncSharedRegions
from repo_client._async.tracing import traced, traced_stream
from repo_client._async.transport import AsyncInfer, AsyncTransport, open_transport
from repo_client._async.versions import at_version
from repo_client._documents import read_signature
from repo_client._errors import Facts
from repo_client._labels import LabelSource, label_reader, version_chooser
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
from repo_client._signatures import ModelSignature
from repo_client._timeouts import checked_timeout, seconds_left
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
        labels: what tells which version a label names: the path of the repository (beside which repo-tool keeps them),
            ``{model: {label: version}}``, or a function of the model's name and the label.
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
        labels: LabelSource | None = None,
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
        self._version_of = label_reader(labels)
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
        label: str | None = None,
        timeout_s: float | None = None,
        nan: Nan = "allow",
    ) -> AsyncModel:
        """A served model, its signature read once; ``version`` ``None`` leaves the choice to the server at each call.

        With a ``label`` each call goes to the version that the label names at that moment; batches, streams and
        sequences stay with the one that they began with. With ``nan="refuse"`` every call refuses inputs that hold a
        NaN, which most models answer with nonsense.

        Raises:
            InputError: ``version`` and ``label``, or a label while the client was not told where ``labels`` are.
            LabelNotFoundError: no version has the label.
            ModelNotFoundError: the server has no such model, or has not loaded it.
            NetworkError: the server cannot be reached.
            DeadlineExceededError: it did not answer in time.
        """
        self._check_open()
        choose = version_chooser(name, version=version, label=label, version_of=self._version_of)
        deadline = monotonic() + checked_timeout(timeout_s, self._timeout_s)
        return AsyncModel(
            await at_version(choose, lambda chosen: self._signature(name, chosen, deadline), deadline=deadline),
            choose=choose,
            infer=self._infer,
            stream=self._stream,
            timeout_s=self._timeout_s,
            check_open=self._check_open,
            nan=nan,
        )

    async def _signature(self, name: str, version: str, deadline: float) -> ModelSignature:
        about = Facts(model=name, version=version)
        read, transport = self._retrying.read, self._transport
        metadata = await read(transport.metadata, name, version, timeout_s=seconds_left(deadline, about))
        config = await read(transport.config, name, version, timeout_s=seconds_left(deadline, about))
        return read_signature(metadata, config, version=version)

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
