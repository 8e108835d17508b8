# SPDX-License-Identifier: Apache-2.0
"""How a client connects, retries and shares memory: frozen values, checked when they are made."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

from repo_client._errors import InputError, UrlError
from repo_client._urls import Url

Token = str | Callable[[], str]  # a function is asked before each call, so that it can renew what expires
SharedMemoryMode = Literal["auto", "system", "cuda", "off"]
Compression = Literal["gzip", "deflate"]
Nan = Literal["allow", "refuse"]

_HEADER_NAME = re.compile(r"[0-9A-Za-z_.-]+")  # what both HTTP headers and gRPC metadata may be named
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")

T = TypeVar("T")


def _require(holds: bool, fact: str, *, hint: str) -> None:
    if not holds:
        raise InputError(fact, hint=hint)


def _is_positive(number: float) -> bool:
    return isfinite(number) and number > 0


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers with their names in lower case, as gRPC wants them and HTTP does not mind.

    Raises:
        InputError: a name or value that one of the protocols cannot carry.
    """
    for name, value in headers.items():
        is_name = isinstance(name, str) and _HEADER_NAME.fullmatch(name) and not name.lower().endswith("-bin")
        _require(
            bool(is_name), f"no header can be named {name!r}", hint="letters, digits, '-', '_' and '.', not '-bin'"
        )
        is_value = isinstance(value, str) and _HEADER_VALUE.fullmatch(value) and value == value.strip()
        _require(bool(is_value), f"header '{name}' cannot be sent", hint="a value is printable ASCII text on one line")
    return {name.lower(): value for name, value in headers.items()}


_PEM_HINT = "they are PEM files, which begin with '-----BEGIN'; the key is that of the certificate, and not encrypted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Whom to trust and who to be; without it ``grpcs://`` and ``https://`` trust the system's authorities."""

    ca: Path | str | None = None  # PEM file of the authorities to trust instead of the system's
    certificate: Path | str | None = None  # PEM file with the client's own chain, for servers that ask for one
    key: Path | str | None = None  # PEM file with the key of ``certificate``
    server_name: str | None = None  # the name in the server's certificate where it differs from the address

    def __post_init__(self) -> None:
        has_certificate = self.key is None or self.certificate is not None
        _require(has_certificate, "a key without its certificate", hint="pass Tls(certificate=..., key=...)")

    def context(self) -> ssl.SSLContext:
        """What Python's own TLS makes of it; ``server_name`` is not in it.

        Raises:
            InputError: a file cannot be read or is no PEM file, or the key is not that of the certificate.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password="")  # or it asks a terminal
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise InputError(f"the files of {self} cannot be used: {error}", hint=_PEM_HINT) from error
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """The options of a connection; the defaults are right for most."""

    compression: Compression | None = None  # of requests and answers; costs more than it saves on a fast network
    connections: int = 32  # open at once over HTTP, where a call beyond waits for one; kept idle over gRPC
    keep_alive_s: float | None = None  # gRPC pings an idle connection so often; for load balancers that drop idle ones
    max_message_bytes: int | None = None  # of one gRPC message; None: no limit but gRPC's own 2 GiB

    def __post_init__(self) -> None:
        known = (None, *get_args(Compression))
        _require(self.compression in known, f"compression is {self.compression!r}", hint=f"one of {known}")
        _require(self.connections >= 1, f"connections is {self.connections}", hint="a number from 1")
        keep_alive = self.keep_alive_s is None or _is_positive(self.keep_alive_s)
        _require(keep_alive, f"keep_alive_s is {self.keep_alive_s}", hint="a positive number of seconds, or None")
        limit = self.max_message_bytes is None or self.max_message_bytes >= 1
        _require(limit, f"max_message_bytes is {self.max_message_bytes}", hint="a number from 1, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Which failed calls are tried again: only those that cannot have an effect twice, within the call's deadline.

    A call is safe to repeat when the server never looked at it, when it says that its queue is full, or when the
    connection was lost or the model's process died while it ran; in a sequence only the first of these. A call whose
    answer outgrew its place in shared memory is made once more too, unless ``attempts`` is 1. The wait before the first
    retry is random, up to ``first_wait_s``, and its limit doubles with each further one, up to ``longest_wait_s``. A
    client may make a hundred retries, and then ``budget`` of one for each call that succeeds, so that it does not
    multiply the load of a server in trouble.

    A server that this client has had an answer from, and that is away now, is being started again more often than not,
    and so is a model whose process died. For ``patience_s`` from then on a call that finds nobody, or its model not
    loaded, is tried again every quarter of a second or sooner until its own deadline: that costs the server little, so
    ``attempts`` does not count it. A model that was unloaded is waited for as long, but at most 5 s and with waits that
    grow to a second; once that was in vain, its calls fail at once until one succeeds. Of such retries, to which a
    server that is well has to say no, a client may make a thousand, and then ``budget`` of one for each call that
    succeeds.
    """

    attempts: int = 3  # in all; 1: none is repeated
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0
    budget: float = 0.1
    patience_s: float = 10.0  # with a server that was there; 0: none

    def __post_init__(self) -> None:
        _require(self.attempts >= 1, f"attempts is {self.attempts}", hint="1 is the call itself, 2 one retry")
        for name in ("first_wait_s", "longest_wait_s", "budget", "patience_s"):
            number = getattr(self, name)
            _require(isfinite(number) and number >= 0, f"{name} is {number}", hint="a number from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """What a transport needs to know besides the address."""

    headers: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # sent with every call, as HTTP headers or gRPC metadata
    token: Token | None = field(default=None, repr=False)  # sent as "authorization: Bearer <token>"
    tls: Tls | None = None
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", checked_headers(self.headers))

    def check(self, url: Url) -> None:
        """Refuse options that make no sense for ``url``, before anything is sent.

        Raises:
            UrlError: a token would travel unencrypted to another machine, or ``tls`` is set for an address without.
        """
        if url.is_secure:
            return
        encrypted = f"{url.scheme}s://{url.address}"
        if self.tls is not None:
            raise UrlError(f"{url} is an address without TLS, but tls is set", hint=f"write {encrypted}")
        if self.token is not None and not url.is_loopback:
            raise UrlError(
                f"the token would travel unencrypted to {url}",
                hint=f"use {encrypted}; where something else encrypts the way, send it as one of the headers",
            )

    def call_headers(self, own: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """The headers of one call, ``own`` over the client's; a token that is a function is asked for now.

        Raises:
            InputError: a header or the token cannot be sent.
        """
        if self.token is None and not own:
            return self.headers
        return {**self.headers, **self._authorization(), **(checked_headers(own) if own else {})}

    def _authorization(self) -> Mapping[str, str]:
        if self.token is None:
            return {}
        token = self.token() if callable(self.token) else self.token
        return checked_headers({"authorization": f"Bearer {token}"})


def checked_option(name: str, value: object, kind: type[T], default: Callable[[], T]) -> T:
    """The option, or its default where it is ``None``.

    Raises:
        InputError: it is no ``kind``.
    """
    if value is None:
        return default()
    _require(isinstance(value, kind), f"{name} is {value!r}", hint=f"pass {name}={kind.__name__}(...)")
    return cast(T, value)


def checked_mode(mode: SharedMemoryMode) -> SharedMemoryMode:
    """How memory is shared.

    Raises:
        InputError: no way that there is.
    """
    known = get_args(SharedMemoryMode)
    _require(mode in known, f"shared_memory is {mode!r}", hint=f"one of {', '.join(map(repr, known))}")
    return mode
