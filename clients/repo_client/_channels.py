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


def open_channel(url: Url) -> Any:
    """A channel for calls that block."""
    if url.is_secure:
        return grpc.secure_channel(url.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.insecure_channel(url.address, options=_OPTIONS)


def open_async_channel(url: Url) -> Any:
    """A channel for calls on the running event loop."""
    if url.is_secure:
        return grpc.aio.secure_channel(url.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.aio.insecure_channel(url.address, options=_OPTIONS)
