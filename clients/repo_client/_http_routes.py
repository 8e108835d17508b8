# SPDX-License-Identifier: Apache-2.0
"""The way of HTTP requests to a server: straight, or through the proxy that the environment names."""

import os
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from repo_client._errors import UrlError
from repo_client._http_wire import encode_path
from repo_client._urls import Url

_PROXY_PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where to connect, and what requests say because of it."""

    host: str
    port: int
    target: str  # what every request line has in front of /v2
    lines: str = ""  # headers for the proxy
    tunnel: bytes | None = None  # what a proxy is asked before TLS begins with the server behind it
    through: str = ""  # the proxy's address


def route_to(url: Url) -> Route:
    """The way to ``url``; ``http_proxy``, ``https_proxy`` and ``no_proxy`` are heeded, but not for this machine.

    Raises:
        UrlError: the environment names a proxy that is none of ``http://``.
    """
    path = encode_path(url.path)
    proxy = None if url.is_loopback else _proxy_of(url)
    if proxy is None:
        return Route(host=url.host, port=url.port, target=path)
    through, authorization = _address(proxy), _authorization(proxy)
    connecting = f"CONNECT {url.address} HTTP/1.1\r\nHost: {url.address}\r\n{authorization}\r\n"
    return Route(
        host=proxy.hostname or "",
        port=proxy.port or _PROXY_PORT,
        target=path if url.is_secure else f"http://{url.address}{path}",
        lines="" if url.is_secure else authorization,
        tunnel=connecting.encode("ascii") if url.is_secure else None,
        through=through,
    )


def _proxy_of(url: Url) -> SplitResult | None:
    if not any(name.lower() == f"{url.scheme}_proxy" or name.lower() == "all_proxy" for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # takes long to import

    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or proxy_bypass(url.host):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise UrlError(f"the proxy {_address(proxy)} of the environment cannot be used", hint="write http://host:port")
    return proxy


def _address(proxy: SplitResult) -> str:
    return f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}"  # without its password


def _authorization(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Proxy-Authorization: Basic {b64encode(secret.encode()).decode()}\r\n"
