# SPDX-License-Identifier: Apache-2.0
"""One unary gRPC call as a stream of HTTP/2, and what its end means. No I/O.

Numbers and names are those of gRPC's "gRPC over HTTP2".
"""

import struct
from collections.abc import Sequence
from urllib.parse import unquote

import grpc

from repo_client._http2 import AnswerError, LeavingError, RefusedError, Stream, encode_headers

UNPROCESSED = (RefusedError, LeavingError)  # failures with the promise that the server has not looked at the call
_PREFIX = struct.Struct(">BI")  # of each message: compressed or not, length
_MOST_DIGITS = 99_999_999  # of a time-out
_STATUSES = {str(status.value[0]): status.name for status in grpc.StatusCode}
_HTTP_STATUSES = {  # of what stands in front of a server and knows nothing of gRPC
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}


class StatusError(Exception):
    """A call ended with a status, whose ``code`` is told by name, in the words of whoever ended it."""

    def __init__(self, code: str, words: str, *, told: str = "") -> None:
        super().__init__(words or told or code)
        self.code, self.words = code, words
        self.told = told  # how it ended, where nobody spoke gRPC


def encode_timeout(timeout_s: float) -> bytes:
    """The header that tells the server the deadline; gRPC allows eight digits."""
    if timeout_s < _MOST_DIGITS / 1e6:
        text = f"{max(1, int(timeout_s * 1e6))}u"
    else:
        text = f"{min(int(timeout_s) + 1, _MOST_DIGITS)}S"
    return encode_headers({"grpc-timeout": text})


class Call(Stream):
    """A unary call with its message."""

    __slots__ = ()

    def __init__(self, message: Sequence[bytes | memoryview]) -> None:
        length = sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in message)
        super().__init__(memoryview(b"".join((_PREFIX.pack(0, length), *message))))

    @property
    def is_unprocessed(self) -> bool:
        """Whether the server promised not to have looked at it, so that it can be begun again."""
        return isinstance(self.failure, UNPROCESSED)

    def answer(self) -> memoryview:
        """The message that came back.

        Raises:
            StatusError: the server ended the call otherwise.
            AnswerError: there is no message, or it is compressed, which nobody asked for.
            Exception: what the call or its connection was lost by.
        """
        if self.failure is not None:
            raise self.failure
        if self.headers.get("grpc-status") != "0":
            raise self._status()
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        if len(body) < _PREFIX.size or _PREFIX.unpack_from(body) != (0, len(body) - _PREFIX.size):
            raise AnswerError("no single message of gRPC")
        return memoryview(body)[_PREFIX.size :]

    def _status(self) -> StatusError:
        status, words = self.headers.get("grpc-status"), unquote(self.headers.get("grpc-message", ""))
        if status is not None:
            return StatusError(_STATUSES.get(status, "UNKNOWN"), words)
        code = self.headers.get(":status", "200")
        told = "the call ended without a status" if code == "200" else f"HTTP status {code}"
        return StatusError(_HTTP_STATUSES.get(code, "UNKNOWN"), words, told=told)
