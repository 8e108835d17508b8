# SPDX-License-Identifier: Apache-2.0
# Generated from _async/admin.py by clients/generate_sync.py: change that file, then run it.
"""The management of a server: health, the repository, loading and statistics, apart from inference."""

import time
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Self

from repo_client._checking import checked_version
from repo_client._documents import IndexEntry, ModelStatistics, read_index, read_statistics
from repo_client._errors import DeadlineExceededError, ModelNotFoundError, NetworkError, TlsError
from repo_client._options import ConnectionOptions, Tls, Token, TransportOptions
from repo_client._sync.transport import Transport, open_transport
from repo_client._timeouts import checked_timeout
from repo_client._urls import parse_url

_POLL_INTERVAL_S = 0.05


class Admin:
    """What an operator asks of a server; see ``Client`` for the arguments."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 60.0,
        headers: Mapping[str, str] | None = None,
        token: Token | None = None,
        tls: Tls | None = None,
        connection: ConnectionOptions | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._url = parse_url(url)
        self._timeout_s = checked_timeout(timeout_s, 0.0)
        options = TransportOptions(
            headers=headers or {}, token=token, tls=tls, connection=connection or ConnectionOptions()
        )
        self._transport = transport or open_transport(self._url, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; more than once is fine."""
        self._transport.close()

    def is_live(self, *, timeout_s: float | None = None) -> bool:
        """Whether a server runs at the address; ``False`` too where nothing answers.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        try:
            return self._transport.is_live(timeout_s=checked_timeout(timeout_s, self._timeout_s))
        except TlsError:
            raise
        except (NetworkError, DeadlineExceededError):
            return False

    def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server answers inference requests; ``False`` too where nothing answers.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        try:
            return self._transport.is_ready(timeout_s=checked_timeout(timeout_s, self._timeout_s))
        except TlsError:
            raise
        except (NetworkError, DeadlineExceededError):
            return False

    def is_model_ready(self, name: str, *, version: str | int | None = None, timeout_s: float | None = None) -> bool:
        """Whether the model answers inference requests; ``False`` too for one that the server does not have.

        Raises:
            TlsError: something answers that cannot be trusted.
        """
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        try:
            return self._transport.is_model_ready(name, checked_version(version), timeout_s=timeout_s)
        except TlsError:
            raise
        except (ModelNotFoundError, NetworkError, DeadlineExceededError):
            return False

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return once the server answers inference requests.

        Raises:
            DeadlineExceededError: it does not after ``timeout_s`` seconds.
            TlsError: something answers that cannot be trusted.
        """
        deadline = monotonic() + checked_timeout(timeout_s, self._timeout_s)
        while (left_s := deadline - monotonic()) > 0:
            if self.is_ready(timeout_s=left_s):
                return
            time.sleep(_POLL_INTERVAL_S)
        raise DeadlineExceededError(
            f"the server at {self._url} was not ready after {timeout_s:g} s", hint="read the server's log"
        )

    def load(self, name: str, *, timeout_s: float | None = None) -> None:
        """Load the model, or load it again with what its folder holds now.

        Raises:
            ModelNotFoundError: the repository has no such model.
            LoadRefusedError: the server refuses it; ``server_words`` says why.
            ModelControlError: the server does not load on request.
        """
        self._transport.load(name, config=None, files={}, timeout_s=checked_timeout(timeout_s, self._timeout_s))

    def unload(self, name: str, *, timeout_s: float | None = None) -> None:
        """Unload the model; requests under way are finished first. One that is not loaded is no error.

        Raises:
            ModelControlError: the server does not unload on request.
        """
        self._transport.unload(name, dependents=False, timeout_s=checked_timeout(timeout_s, self._timeout_s))

    def repository_index(self, *, timeout_s: float | None = None) -> tuple[IndexEntry, ...]:
        """Every version of every model in the repository, loaded or not."""
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_index(self._transport.repository_index(timeout_s=timeout_s))

    def statistics(
        self, name: str, *, version: str | int | None = None, timeout_s: float | None = None
    ) -> tuple[ModelStatistics, ...]:
        """What the model has done since it was loaded, one entry for each of its versions.

        Raises:
            ModelNotFoundError: the server has no such model, or has not loaded it.
        """
        timeout_s = checked_timeout(timeout_s, self._timeout_s)
        return read_statistics(self._transport.statistics(name, checked_version(version), timeout_s=timeout_s))
