# SPDX-License-Identifier: Apache-2.0
"""The client of one server, and a model of it whose calls are checked before the wire."""

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

from numpy.typing import ArrayLike

from repo_client._answers import Answer
from repo_client._async.transport import AsyncTransport, open_transport
from repo_client._checking import checked_version, prepare_inputs, prepare_outputs
from repo_client._conversion import Cast
from repo_client._documents import IndexEntry, ModelStatistics, read_index, read_signature, read_statistics
from repo_client._errors import (
    ClosedClientError,
    DeadlineExceededError,
    ModelNotFoundError,
    NetworkError,
    TlsError,
)
from repo_client._messages import InferRequest
from repo_client._signatures import ModelSignature
from repo_client._tensors import decode
from repo_client._timeouts import checked_timeout
from repo_client._urls import parse_url

_POLL_INTERVAL_S = 0.05


class AsyncClient:
    """A Triton server at ``grpc://``, ``grpcs://``, ``http://`` or ``https://`` ``host:port``.

    Nothing is sent before the first call. Every call ends within ``timeout_s`` seconds, its own or the client's.

    Args:
        url: the server's address; without a port, Triton's own.
        timeout_s: the deadline of calls that set none.
        transport: instead of the one that ``url`` names, e.g. one that a test looks into.

    Raises:
        UrlError: ``url`` is no address of a server.
    """

    def __init__(self, url: str, *, timeout_s: float = 60.0, transport: AsyncTransport | None = None) -> None:
        self._url = parse_url(url)
        self._timeout_s = checked_timeout(timeout_s, 0.0)
        self._opened = transport or open_transport(self._url)
        self._closed = False

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
    def _transport(self) -> AsyncTransport:
        if self._closed:
            raise ClosedClientError(f"the client of {self._url} is closed", hint="open a new one")
        return self._opened

    async def close(self) -> None:
        """Close all connections; more than once is fine."""
        self._closed = True
        await self._opened.close()

    async def model(
        self, name: str, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> "AsyncModel":
        """A served model, its signature read once; ``version`` ``None`` leaves the choice to the server at each call.

        Raises:
            ModelNotFoundError: the server has no such model, or has not loaded it.
            NetworkError: the server cannot be reached.
            DeadlineExceededError: it did not answer in time.
        """
        chosen, timeout_s = checked_version(version), checked_timeout(timeout_s, self._timeout_s)
        metadata = await self._transport.metadata(name, chosen, timeout_s=timeout_s)
        config = await self._transport.config(name, chosen, timeout_s=timeout_s)
        return AsyncModel(self, read_signature(metadata, config, version=chosen))

    async def is_live(self, *, timeout_s: float | None = None) -> bool:
        """Whether a server runs at the address; ``False`` too where nothing answers.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        try:
            return await self._transport.is_live(timeout_s=checked_timeout(timeout_s, self._timeout_s))
        except TlsError:
            raise
        except (NetworkError, DeadlineExceededError):
            return False

    async def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server answers inference requests; ``False`` too where nothing answers.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        try:
            return await self._transport.is_ready(timeout_s=checked_timeout(timeout_s, self._timeout_s))
        except TlsError:
            raise
        except (NetworkError, DeadlineExceededError):
            return False

    async def is_model_ready(
        self, name: str, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> bool:
        """Whether the model answers inference requests; ``False`` too for one that the server does not have.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        try:
            return await self._transport.is_model_ready(name, checked_version(version), timeout_s=timeout_s)
        except TlsError:
            raise
        except (ModelNotFoundError, NetworkError, DeadlineExceededError):
            return False

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Return once the server answers inference requests.

        Raises:
            DeadlineExceededError: it does not after ``timeout_s`` seconds.
            TlsError: something answers that cannot be trusted.
        """
        deadline = monotonic() + checked_timeout(timeout_s, self._timeout_s)
        while (left_s := deadline - monotonic()) > 0:
            if await self.is_ready(timeout_s=left_s):
                return
            await asyncio.sleep(_POLL_INTERVAL_S)
        raise DeadlineExceededError(
            f"the server at {self._url} was not ready after {timeout_s:g} s", hint="read the server's log"
        )

    async def load(self, name: str, *, timeout_s: float | None = None) -> None:
        """Load the model, or load it again with what its folder holds now.

        Raises:
            ModelNotFoundError: the repository has no such model.
            LoadRefusedError: the server refuses it; ``server_words`` says why.
            ModelControlError: the server does not load on request.
        """
        await self._transport.load(name, timeout_s=checked_timeout(timeout_s, self._timeout_s))

    async def unload(self, name: str, *, timeout_s: float | None = None) -> None:
        """Unload the model; requests under way are finished first. One that is not loaded is no error.

        Raises:
            ModelControlError: the server does not unload on request.
        """
        await self._transport.unload(name, timeout_s=checked_timeout(timeout_s, self._timeout_s))

    async def repository_index(self, *, timeout_s: float | None = None) -> tuple[IndexEntry, ...]:
        """Every version of every model in the repository, loaded or not."""
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_index(await self._transport.repository_index(timeout_s=timeout_s))

    async def statistics(
        self, name: str, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> tuple[ModelStatistics, ...]:
        """What the model has done since it was loaded, one entry for each of its versions.

        Raises:
            ModelNotFoundError: the server has no such model, or has not loaded it.
        """
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_statistics(await self._transport.statistics(name, checked_version(version), timeout_s=timeout_s))

    async def _infer(self, request: InferRequest, timeout_s: float) -> Answer:
        response = await self._transport.infer(request, timeout_s=timeout_s)
        return Answer(
            model_name=response.model,
            model_version=response.version,
            request_id=response.request_id,
            outputs={tensor.name: decode(tensor, model=response.model) for tensor in response.outputs},
        )


class AsyncModel:
    """A served model; its calls are checked against ``signature`` before anything is sent."""

    def __init__(self, client: AsyncClient, signature: ModelSignature) -> None:
        self._client = client
        self._signature = signature

    @property
    def signature(self) -> ModelSignature:
        """What the model takes and gives, as the server told it when this object was made."""
        return self._signature

    async def infer(
        self,
        inputs: Mapping[str, ArrayLike],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        cast: Cast = "no",
    ) -> Answer:
        """Run the model once.

        Args:
            inputs: for each input an array of exactly its type, or lists and scalars of Python that fit it; str are
                sent as UTF-8.
            outputs: the names of the outputs wanted; all of them without.
            timeout_s: the deadline of this call. The server hears of it too, and drops a request that has queued for
                longer if the model's queue policy has ``allow_timeout_override``.
            request_id: given back in the answer, and found in the server's log.
            cast: ``"same_kind"`` converts arrays within a kind, e.g. float64 for FP32.

        Raises:
            InputError: the call does not fit the signature, or the server says so.
            ModelError: the model is gone, or failed while it ran.
            NetworkError: the server cannot be reached.
            DeadlineExceededError: the answer took longer than ``timeout_s``.
        """
        limit_s = checked_timeout(timeout_s, self._client._timeout_s)
        request = InferRequest(
            model=self._signature.name,
            version=self._signature.version,
            request_id=request_id or "",
            inputs=prepare_inputs(self._signature, inputs, cast=cast),
            outputs=prepare_outputs(self._signature, outputs),
            timeout_us=int(limit_s * 1e6),
        )
        return await self._client._infer(request, limit_s)
