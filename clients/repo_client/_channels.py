# SPDX-License-Identifier: Apache-2.0
"""gRPC channels to a server, for both sides; importing this imports gRPC."""

from typing import Any

import grpc
import grpc.aio

from repo_client._urls import Url

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that is being started is found within half a second, not after gRPC's backoff of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


_LOOPBACK = ("127.", "localhost", "[::1]")


def _options(url: Url) -> list[tuple[str, int]]:
    """A proxy of the environment is not asked for this machine itself."""
    return [*_OPTIONS, ("grpc.enable_http_proxy", 0)] if url.address.startswith(_LOOPBACK) else _OPTIONS


def open_channel(url: Url) -> Any:
    """A channel for calls that block."""
    if url.is_secure:
        return grpc.secure_channel(url.address, grpc.ssl_channel_credentials(), options=_options(url))
    return grpc.insecure_channel(url.address, options=_options(url))


def open_async_channel(url: Url) -> Any:
    """A channel for calls on the running event loop."""
    if url.is_secure:
        return grpc.aio.secure_channel(url.address, grpc.ssl_channel_credentials(), options=_options(url))
    return grpc.aio.insecure_channel(url.address, options=_options(url))
