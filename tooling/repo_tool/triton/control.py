# SPDX-License-Identifier: Apache-2.0
"""The few control requests that we send to our own server, over plain HTTP: importing a client library takes longer."""

__all__ = ["ControlApi", "ControlUnreachableError", "Reply"]

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class ControlUnreachableError(Exception):
    """The server does not answer (yet, or any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Status and body of one answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as values."""
        return json.loads(self.body or b"null")

    @property
    def error(self) -> str:
        """Triton's words for a refusal."""
        try:
            return str(self.json()["error"])
        except (ValueError, TypeError, KeyError):
            return self.body.decode("utf-8", errors="replace")


class ControlApi:
    """Requests to one server; each thread has its own connection, kept open between requests."""

    def __init__(self, address: str, *, headers: Mapping[str, str], timeout_s: float) -> None:
        self._address = address
        self._headers = dict(headers)
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def get(self, path: str) -> Reply:
        """One GET.

        Raises:
            ControlUnreachableError: no answer.
        """
        return self._send("GET", path)

    def post(self, path: str) -> Reply:
        """One POST without a body.

        Raises:
            ControlUnreachableError: no answer.
        """
        return self._send("POST", path)

    def close(self) -> None:
        """Close every connection: an open one holds up the server's exit."""
        for connection in self._open:
            connection.close()
        self._open.clear()

    def _send(self, method: str, path: str) -> Reply:
        connection = self._connection()
        try:
            connection.request(method, path, headers=self._headers)
            response = connection.getresponse()
            return Reply(status=response.status, body=response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise ControlUnreachableError(str(error) or type(error).__name__) from error

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._address, timeout=self._timeout_s)
            self._open.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        return connection
