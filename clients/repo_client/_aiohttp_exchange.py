# SPDX-License-Identifier: Apache-2.0
"""HTTP requests on the running event loop, over aiohttp."""

from collections.abc import Mapping

import aiohttp

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
from repo_client._network import network_failure
from repo_client._urls import Url

# First match wins: aiohttp's classes overlap.
_TRANSLATIONS: tuple[tuple[type[Exception], type[RepoClientError]], ...] = (
    (aiohttp.ClientSSLError, TlsError),
    (TimeoutError, DeadlineExceededError),
    (aiohttp.ClientConnectorError, ServerUnreachableError),
    (aiohttp.ServerConnectionError, ConnectionLostError),
    (aiohttp.ClientPayloadError, ConnectionLostError),
    (OSError, ConnectionLostError),
    (aiohttp.ClientError, UnexpectedAnswerError),
)


class AiohttpExchange:
    """Sends one request and reads its answer whole; the session is opened by the first one."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # aiohttp wants the running loop, which a constructor may not have yet
            self._session = aiohttp.ClientSession(f"{self._url.scheme}://{self._url.address}")
        return self._session

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | list[bytes | memoryview],
        headers: Mapping[str, str],
        timeout_s: float,
        facts: Facts,
    ) -> Reply:
        """Send; the whole answer has to be here within ``timeout_s``.

        Raises:
            RepoClientError: the network failed or the deadline passed.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._open().request(
                method,
                self._url.path + path,
                data=body if isinstance(body, bytes) else b"".join(body),
                headers=headers,
                timeout=timeout,
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise network_failure(_meaning(error, self._url), self._url, str(error), facts) from error
        return Reply(status=response.status, header_length=response.headers.get(HEADER_LENGTH), body=content)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


def _meaning(error: Exception, url: Url) -> type[RepoClientError]:
    if url.is_secure and isinstance(error.__cause__, ConnectionResetError):
        return TlsError  # hung up on the handshake, which aiohttp tells as a failure to connect
    return next(ours for theirs, ours in _TRANSLATIONS if isinstance(error, theirs))
