# SPDX-License-Identifier: Apache-2.0
"""The management of a server: health, the repository, loading and statistics, apart from inference."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Self

from repo_client._async.transport import AsyncTransport, open_transport
from repo_client._checking import checked_version
from repo_client._documents import IndexEntry, ServerMetadata, not_ready_words, read_index, read_server_metadata
from repo_client._errors import (
    DeadlineExceededError,
    Facts,
    InputError,
    ModelNotFoundError,
    NetworkError,
    RepoClientError,
    TlsError,
)
from repo_client._model_config import ModelConfig, check_files, config_text, read_config, refused_config
from repo_client._network import client_closed
from repo_client._options import ConnectionOptions, Tls, Token, TransportOptions
from repo_client._statistics import ModelStatistics, read_statistics
from repo_client._timeouts import checked_timeout
from repo_client._urls import parse_url

_POLL_INTERVAL_S = 0.05
_LAST_QUESTION_S = 5.0


class AsyncAdmin:
    """What an operator asks of a server, by a connection of its own or over that of a client (``client.admin``).

    See ``AsyncClient`` for the arguments. A ``transport`` that is passed in is used, and left open by ``close``.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 60.0,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        tls: Tls | None = None,
        connection: ConnectionOptions | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._url = parse_url(url)
        self._timeout_s = checked_timeout(timeout_s, 0.0)
        options = TransportOptions(
            headers=headers or {}, token=token, tls=tls, connection=connection or ConnectionOptions()
        )
        self._owns_transport = transport is None
        self._transport = transport or open_transport(self._url, options)
        self._check_open: Callable[[], None] = self._check_own
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; more than once is fine."""
        self._closed = True
        if self._owns_transport:
            await self._transport.close()

    def _check_own(self) -> None:
        if self._closed:
            raise client_closed(self._url)

    def _opened(self) -> AsyncTransport:
        self._check_open()
        return self._transport

    async def is_live(self, *, timeout_s: float | None = None) -> bool:
        """Whether a server runs at the address; ``False`` too where nothing answers.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        try:
            return await self._opened().is_live(timeout_s=checked_timeout(timeout_s, self._timeout_s))
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
            return await self._opened().is_ready(timeout_s=checked_timeout(timeout_s, self._timeout_s))
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
            return await self._opened().is_model_ready(name, checked_version(version), timeout_s=timeout_s)
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
        if not await self._becomes(self.is_ready, timeout_s):
            raise DeadlineExceededError(
                f"the server at {self._url} was not ready after {timeout_s:g} s", hint="read the server's log"
            )

    async def wait_until_model_ready(self, name: str, timeout_s: float, *, version: str | int | None = None) -> None:
        """Return once the model answers inference requests.

        Raises:
            DeadlineExceededError: it does not after ``timeout_s`` seconds; ``server_words`` says why, where the server
                knows.
            TlsError: something answers that cannot be trusted.
        """

        async def is_ready(*, timeout_s: float) -> bool:
            return await self.is_model_ready(name, version=version, timeout_s=timeout_s)

        if not await self._becomes(is_ready, timeout_s):
            raise await self._never_ready(name, checked_version(version), timeout_s)

    async def _becomes(self, question: Callable[..., Awaitable[bool]], timeout_s: float) -> bool:
        deadline = monotonic() + checked_timeout(timeout_s, self._timeout_s)
        while (left_s := deadline - monotonic()) > 0:
            if await question(timeout_s=left_s):
                return True
            await asyncio.sleep(min(_POLL_INTERVAL_S, left_s))
        return False

    async def _never_ready(self, name: str, version: str, timeout_s: float) -> DeadlineExceededError:
        try:
            entries = await self.repository_index(timeout_s=_LAST_QUESTION_S)
        except RepoClientError:
            entries = ()
        words = not_ready_words(entries, name, version)
        return DeadlineExceededError(
            f"model '{name}' was not ready after {timeout_s:g} s: {words or 'the server does not answer'}",
            hint="load it with admin.load(name), or read the server's log",
            facts=Facts(model=name, version=version, server_words=words or None),
        )

    async def load(
        self,
        name: str,
        *,
        config: Mapping[str, Any] | str | None = None,
        files: Mapping[str, bytes] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Load the model, or load it again with what its folder holds now.

        A server that sees nothing new in the folder keeps what it has loaded, a ``config`` that was passed before
        included, and with an unchanged configuration it keeps running instances, whatever ``files`` hold: unload the
        model first where that matters.

        Args:
            name: the model's.
            config: instead of the configuration in its folder, whole and not merged with it: a document such as
                ``{**config.document, "max_batch_size": 8}``, or JSON.
            files: instead of all that is in its folder, contents by path: ``{"1/model.onnx": content}``; only together
                with ``config``.
            timeout_s: the deadline of this call. The server goes on loading after it.

        Raises:
            InputError: ``config`` is no JSON, ``files`` come without it, or a path leads out of the model's folder.
            ModelNotFoundError: the repository has no such model.
            LoadRefusedError: the server refuses it; ``server_words`` says why. What was loaded before stays.
            ModelControlError: the server does not load on request.
        """
        text = config_text(name, config)
        check_files(name, files or {}, has_config=text is not None)
        limit_s = checked_timeout(timeout_s, self._timeout_s)
        try:
            await self._opened().load(name, config=text, files=files or {}, timeout_s=limit_s)
        except ModelNotFoundError as error:
            if text is None:
                raise
            raise refused_config(name, error) from error

    async def unload(self, name: str, *, dependents: bool = False, timeout_s: float | None = None) -> None:
        """Unload the model; requests under way are finished first. One that is not loaded is no error.

        The server answers before the last request is finished: ``repository_index`` says ``UNLOADING`` until then.

        Args:
            name: the model's.
            dependents: unload the models of an ensemble too.
            timeout_s: the deadline of this call.

        Raises:
            ModelControlError: the server does not unload on request.
        """
        limit_s = checked_timeout(timeout_s, self._timeout_s)
        await self._opened().unload(name, dependents=dependents, timeout_s=limit_s)

    async def repository_index(self, *, timeout_s: float | None = None) -> tuple[IndexEntry, ...]:
        """Every version of every model in the repository, loaded or not."""
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_index(await self._opened().repository_index(timeout_s=timeout_s))

    async def server_metadata(self, *, timeout_s: float | None = None) -> ServerMetadata:
        """The server's name, its version and the extensions of the protocol that it knows."""
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_server_metadata(await self._opened().server_metadata(timeout_s=timeout_s))

    async def config(
        self, name: str, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> ModelConfig:
        """The configuration that the model runs with, completed by the server.

        Raises:
            ModelNotFoundError: the server has no such model, or has not loaded it.
        """
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_config(await self._opened().config(name, checked_version(version), timeout_s=timeout_s))

    async def statistics(
        self, name: str | None = None, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> tuple[ModelStatistics, ...]:
        """What the model has done since it was loaded, one entry for each of its versions; without a name, all models.

        A request is counted behind its answer, so that it may be missing for a moment.

        Raises:
            ModelNotFoundError: the server has no such model, or has not loaded it.
            InputError: a version without a name.
        """
        if name is None and version is not None:
            raise InputError(f"version {version} of no model", hint="pass the name of the model too")
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_statistics(
            await self._opened().statistics(name or "", checked_version(version), timeout_s=timeout_s)
        )


def lent_admin(url: str, *, timeout_s: float, transport: AsyncTransport, check_open: Callable[[], None]) -> AsyncAdmin:
    """The management over a client's connection, for as long as ``check_open`` raises nothing."""
    admin = AsyncAdmin(url, timeout_s=timeout_s, transport=transport)
    admin._check_open = check_open  # its own module
    return admin
