# SPDX-License-Identifier: Apache-2.0
"""HTTP requests that block, over urllib3: connections are kept and may be shared by threads."""

from collections.abc import Mapping

import urllib3
from urllib3 import exceptions

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

_CONNECTIONS_KEPT = 32

# First match wins: urllib3's classes overlap.
_TRANSLATIONS: tuple[tuple[type[Exception], type[RepoClientError]], ...] = (
    (exceptions.SSLError, TlsError),
    (exceptions.NewConnectionError, ServerUnreachableError),
    (exceptions.TimeoutError, DeadlineExceededError),
    (exceptions.ProtocolError, ConnectionLostError),
    (exceptions.HTTPError, UnexpectedAnswerError),
    (OSError, ConnectionLostError),
)


class Urllib3Exchange:
    """Sends one request and reads its answer whole."""

    def __init__(self, url: Url) -> None:
        self._url = url
        self._pool = urllib3.connection_from_url(f"{url.scheme}://{url.address}", maxsize=_CONNECTIONS_KEPT)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | list[bytes | memoryview],
        headers: Mapping[str, str],
        timeout_s: float,
        facts: Facts,
    ) -> Reply:
        """Send; the answer has to begin within ``timeout_s``, and so has every next part of it.

        Raises:
            RepoClientError: the network failed or the deadline passed.
        """
        try:
            response = self._pool.urlopen(
                method,
                self._url.path + path,
                body=body if isinstance(body, bytes) else b"".join(body),
                headers=headers,
                retries=False,
                timeout=urllib3.Timeout(total=timeout_s),
            )
        except (exceptions.HTTPError, OSError) as error:
            kind = next(ours for theirs, ours in _TRANSLATIONS if isinstance(error, theirs))
            raise network_failure(kind, self._url, str(error), facts) from error
        return Reply(status=response.status, header_length=response.headers.get(HEADER_LENGTH), body=response.data)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
