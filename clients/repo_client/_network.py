# SPDX-License-Identifier: Apache-2.0
"""A network failure, or a closed client, as an error of ours: in the same words for everyone who can notice it."""

import os
import select

from repo_client._errors import (
    ClosedClientError,
    ConnectionLostError,
    DeadlineExceededError,
    Facts,
    RepoClientError,
    ServerUnreachableError,
    TlsError,
    UnexpectedAnswerError,
)
from repo_client._urls import Url

_MOST_WORDS = 160  # the bytes of another protocol can make a library's message long
DEADLINE_HINT = "pass a larger timeout_s, or look at client.admin.statistics(name) for a full queue"
_HINTS: dict[type[RepoClientError], str] = {
    TlsError: "TLS needs a certificate for that host name; a server without TLS is reached by grpc:// or http://",
    ServerUnreachableError: "is the server started, and is this its port? Triton's are 8001 (gRPC) and 8000 (HTTP)",
    ConnectionLostError: "the server stopped, or the port is that of the other protocol (8001: gRPC, 8000: HTTP)",
    DeadlineExceededError: DEADLINE_HINT,
    UnexpectedAnswerError: "is this the HTTP port of a Triton server? It is 8000 unless told otherwise, 8001 is gRPC",
}
_SENTENCES: dict[type[RepoClientError], str] = {
    TlsError: "no trust with {url}: {words}",
    ServerUnreachableError: "no server answers at {url}: {words}",
    ConnectionLostError: "the connection to {url} was lost: {words}",
    DeadlineExceededError: "no answer from {url} in time",
    UnexpectedAnswerError: "{url} answered outside HTTP: {words}",
}


class UnreachableError(Exception):
    """There is no connection to be had."""


def unreachable(error: OSError) -> UnreachableError:
    """The operating system's word for why there is no connection, without the address that libraries add."""
    number = error.errno or 0
    return UnreachableError(os.strerror(number) if number > 0 else error.strerror or str(error))


def network_failure(kind: type[RepoClientError], url: Url, words: str, facts: Facts) -> RepoClientError:
    """The error ``kind``, with a library's own ``words``."""
    if kind is ServerUnreachableError:
        words = words.rsplit(": ", 1)[-1]  # gRPC and urllib3 nest reasons; the last one is the operating system's
    words = words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]} ..."
    return kind(_SENTENCES[kind].format(url=url, words=words), hint=_HINTS[kind], facts=facts)


def is_readable(descriptor: int) -> bool:
    """Whether something has arrived at a socket, the end of the connection too."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])  # Windows has no poll, and no limit to descriptors here


def client_closed(url: Url) -> ClosedClientError:
    """The error of a call after ``close``, or that ``close`` ended."""
    return ClosedClientError(f"the client of {url} is closed", hint="open a new one")
