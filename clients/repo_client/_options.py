# SPDX-License-Identifier: Apache-2.0
"""How a client connects, retries and shares memory: frozen values, checked when they are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Token = str | Callable[[], str]  # a function is asked before each call, so that it can renew what expires
SharedMemoryMode = Literal["auto", "system", "cuda", "off"]
Compression = Literal["gzip", "deflate"]
Nan = Literal["allow", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Whom to trust and who to be; without it ``grpcs://`` and ``https://`` trust the system's authorities."""

    ca: Path | str | None = None  # PEM file of the authorities to trust instead of the system's
    certificate: Path | str | None = None  # PEM file with the client's own chain, for servers that ask for one
    key: Path | str | None = None  # PEM file with the key of ``certificate``
    server_name: str | None = None  # the name in the server's certificate where it differs from the address


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """The options of a connection; the defaults are right for most."""

    compression: Compression | None = None  # of requests and answers; costs more than it saves on a fast network
    connections: int = 32  # kept open over HTTP; gRPC shares one among all calls
    keep_alive_s: float | None = None  # gRPC pings an idle connection so often; for load balancers that drop idle ones
    max_message_bytes: int | None = None  # of one gRPC message; None: no limit but gRPC's own 2 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Which failed calls are tried again: only those that cannot have an effect twice, within the call's deadline.

    A call is safe to repeat when it was never sent, when the server says that its queue is full, or when the
    connection was lost while it ran and it belongs to no sequence. The wait before attempt *n* is random, up to
    ``first_wait_s`` doubled *n* times and at most ``longest_wait_s``. Over time at most ``budget`` retries are made
    for each call that succeeds, so that a client does not multiply the load of a server in trouble.
    """

    attempts: int = 3  # in all; 1: none is repeated
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0
    budget: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """What a transport needs to know besides the address."""

    headers: Mapping[str, str] = field(default_factory=dict)  # sent with every call, as HTTP headers or gRPC metadata
    token: Token | None = None  # sent as "authorization: Bearer <token>"
    tls: Tls | None = None
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)

    def call_headers(self) -> Mapping[str, str]:
        """The headers of one call; a token that is a function is asked for now."""
        if self.token is None:
            return self.headers
        token = self.token() if callable(self.token) else self.token
        return {**self.headers, "authorization": f"Bearer {token}"}
