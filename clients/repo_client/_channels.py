# SPDX-License-Identifier: Apache-2.0
"""gRPC channels to a server, for both sides; importing this imports gRPC."""

import os
import ssl
from pathlib import Path
from typing import Any

import grpc

from repo_client._options import ConnectionOptions, Tls, TransportOptions
from repo_client._urls import Url

# A server that is being started is found within half a second, not after gRPC's backoff of up to two minutes. What gRPC
# calls the minimum is the time that a connection may take to come about: hands are shaken slowly from far away, with
# TLS, and by a busy server (https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md).
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # What ends a call with a long traceback, which would end the stream without a word otherwise.
    ("grpc.max_metadata_size", 2**20),
    ("grpc.absolute_max_metadata_size", 2**20),
)
_COMPRESSIONS = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}


def open_channel(library: Any, url: Url, options: TransportOptions, credentials: grpc.ChannelCredentials | None) -> Any:
    """A channel of ``library``: ``grpc`` for calls that block, ``grpc.aio`` for those on the running event loop."""
    settings, compression = _settings(url, options), _COMPRESSIONS[options.connection.compression]
    if credentials is not None:
        return library.secure_channel(url.address, credentials, options=settings, compression=compression)
    return library.insecure_channel(url.address, options=settings, compression=compression)


def channel_credentials(url: Url, tls: Tls | None) -> grpc.ChannelCredentials | None:
    """Whom a channel trusts and who it is; ``None`` without TLS.

    Raises:
        InputError: a file of ``tls`` cannot be used.
    """
    if not url.is_secure:
        return None
    tls = tls or Tls()
    authorities = tls.context().get_ca_certs(binary_form=True)  # the system's, where gRPC alone has a list of its own
    chain, key = _content(tls.certificate), _content(tls.key or tls.certificate)
    trusted = "".join(map(ssl.DER_cert_to_PEM_cert, authorities)).encode()
    return grpc.ssl_channel_credentials(root_certificates=trusted or None, private_key=key, certificate_chain=chain)


def _content(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def is_plain(url: Url, options: TransportOptions) -> bool:
    """Whether a bare socket to the server does: nothing is encrypted, compressed, limited or kept alive."""
    plain = ConnectionOptions(connections=options.connection.connections)
    return not url.is_secure and options.connection == plain and (url.is_loopback or not _has_proxy())


def _has_proxy() -> bool:
    return any(os.environ.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy"))  # those that gRPC reads


def _settings(url: Url, options: TransportOptions) -> list[tuple[str, Any]]:
    settings = [*_OPTIONS, *_connection_settings(options.connection)]
    if url.is_loopback:  # a proxy of the environment is not asked for this machine itself
        settings.append(("grpc.enable_http_proxy", 0))
    if options.tls is not None and options.tls.server_name is not None:
        settings.append(("grpc.ssl_target_name_override", options.tls.server_name))
    return settings


def _connection_settings(connection: ConnectionOptions) -> list[tuple[str, Any]]:
    limit = -1 if connection.max_message_bytes is None else connection.max_message_bytes
    settings: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", limit),
        ("grpc.max_receive_message_length", limit),
    ]
    if connection.keep_alive_s is not None:
        settings += [
            ("grpc.keepalive_time_ms", max(1, int(connection.keep_alive_s * 1000))),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),  # gRPC would stop after two
        ]
    return settings
