# SPDX-License-Identifier: Apache-2.0
"""The few control requests that we send to our own server, over plain HTTP: importing a client library takes longer."""

__all__ = ["ControlApi", "ControlTimeoutError", "ControlUnreachableError", "Reply"]

import http.client
import json
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

# Triton's HTTP threads take connections in bursts: one that a load holds up never comes to the rest of its burst.
_ASK_AGAIN_AFTER_S = (1.0, 2.0, 4.0)


class ControlUnreachableError(Exception):
    """The server does not answer (yet, or any more)."""


class ControlTimeoutError(ControlUnreachableError):
    """It took the request and did not answer in time."""


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
    """Requests to one server, each on a connection of its own.

    A kept connection belongs to one of Triton's threads, which a model that hangs while it is loaded may hold for good.
    """

    def __init__(self, address: str, *, headers: Mapping[str, str], timeout_s: float) -> None:
        self._address = address
        self._headers = dict(headers)
        self._timeout_s = timeout_s
        self._open: set[http.client.HTTPConnection] = set()

    def get(self, path: str) -> Reply:
        """One GET.

        Raises:
            ControlUnreachableError: no answer.
        """
        return self._send("GET", path)

    def post(self, path: str, *, body: str = "", is_taken: Callable[[], bool] = lambda: True) -> Reply:
        """One POST.

        ``is_taken`` says whether the server is at work on it; where it is not after a while, another connection asks
        again, and the server may then do it twice.

        Raises:
            ControlUnreachableError: no answer.
        """
        for patience_s in _ASK_AGAIN_AFTER_S:
            with self._sent("POST", path, body) as connection:
                if _answers_within(connection, patience_s) or is_taken():
                    return _reply(connection)
        return self._send("POST", path, body)

    def close(self) -> None:
        """Close every connection: an open one holds up the server's exit."""
        for connection in tuple(self._open):
            with suppress(OSError):  # closed meanwhile
                if (opened := connection.sock) is not None:
                    opened.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for an answer, who keeps it open otherwise
            connection.close()

    def _send(self, method: str, path: str, body: str = "") -> Reply:
        with self._sent(method, path, body) as connection:
            return _reply(connection)

    @contextmanager
    def _sent(self, method: str, path: str, body: str = "") -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout_s)
        self._open.add(connection)
        try:
            connection.request(method, path, body=body or None, headers=self._headers)
            yield connection
        except TimeoutError as error:
            raise ControlTimeoutError(f"no answer within {self._timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise ControlUnreachableError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
            self._open.discard(connection)


def _answers_within(connection: http.client.HTTPConnection, seconds: float) -> bool:
    readable, _, _ = select.select([connection.sock], [], [], seconds)
    return bool(readable)


def _reply(connection: http.client.HTTPConnection) -> Reply:
    response = connection.getresponse()
    return Reply(status=response.status, body=response.read())
