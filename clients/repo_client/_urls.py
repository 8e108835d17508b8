# SPDX-License-Identifier: Apache-2.0
"""The address of a server."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from repo_client._errors import UrlError

_DEFAULT_PORTS = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 8000}  # Triton's own
# What precedes the last @, and what follows a ? or #: generously, for a secret may hold any of these.
_SECRETS = re.compile(r"^([^:/?#@]*://)?.*@|[?#].*", re.DOTALL)
_INVISIBLE = re.compile(r"[\s\x00-\x1f\x7f]")
_EXAMPLE = "write it like grpc://127.0.0.1:8001 or http://127.0.0.1:8000"
_CREDENTIALS = f"{_EXAMPLE}; credentials go into headers= or token="


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A server's address, taken apart."""

    scheme: str
    address: str  # host:port, an IPv6 host in brackets
    path: str = ""  # in front of /v2, for HTTP behind a proxy

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC; otherwise HTTP."""
        return self.scheme in ("grpc", "grpcs")

    @property
    def is_secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.scheme in ("grpcs", "https")

    @property
    def host(self) -> str:
        """Without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Triton's own where none was given."""
        return int(self.address.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether it is an address that no packet leaves this machine for."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}{self.path}"


def parse_url(text: str) -> Url:
    """The parts of ``scheme://host[:port]``; without a port it is Triton's own, 8001 for gRPC and 8000 for HTTP.

    Raises:
        UrlError: another scheme, no host, or parts that an address of a server does not have. It does not repeat the
            parts that may be secrets.
    """
    shown = _SECRETS.sub(r"\1", text)
    if shown != text:
        raise UrlError(f"'{shown}' was passed with a user, a query or a fragment", hint=_CREDENTIALS)
    if _INVISIBLE.search(text):
        raise UrlError(f"{text!r} holds blanks or control characters", hint=_EXAMPLE)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UrlError(f"'{text}' is no address: {error}", hint=_EXAMPLE) from error
    if parts.scheme not in _DEFAULT_PORTS or "://" not in text:
        raise UrlError(f"'{text}' has no scheme that is known: grpc, grpcs, http or https", hint=_EXAMPLE)
    path = parts.path.rstrip("/")
    if path == "/v2" or path.startswith("/v2/"):
        raise UrlError(f"'{text}' goes into the protocol", hint=f"leave out what begins with /v2; {_EXAMPLE}")
    if not host or port == 0 or (path and "grpc" in parts.scheme):
        raise UrlError(f"'{text}' is more or less than scheme, host and port", hint=_EXAMPLE)
    host = f"[{host}]" if ":" in host else _ascii(host, text)
    return Url(scheme=parts.scheme, address=f"{host}:{port or _DEFAULT_PORTS[parts.scheme]}", path=path)


def _ascii(host: str, text: str) -> str:
    """The name as name servers know it."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UrlError(f"'{text}' names no host: {error}", hint=_EXAMPLE) from error
