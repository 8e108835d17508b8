# SPDX-License-Identifier: Apache-2.0
"""TCP ports on the loopback interface: free ones, and who holds a taken one."""

__all__ = [
    "LOOPBACK",
    "free_ports",
    "host_for_us",
    "is_loopback",
    "refuse_port_in_use",
    "refuse_shared_ports",
    "url_host",
]

import errno
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from ipaddress import ip_address

from repo_tool.errors import PortInUseError, UserMistakeError, needs_extra

LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def host_for_us(host: str) -> str:
    """Where this machine reaches what listens on ``host``."""
    return LOOPBACK if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound


def url_host(host: str) -> str:
    """The same as it stands in a URL."""
    ours = host_for_us(host)
    return f"[{ours}]" if ":" in ours else ours


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def refuse_shared_ports(wanted: Mapping[str, int]) -> None:
    """Check that each service has a port of its own; 0 is a free one.

    Raises:
        UserMistakeError: two were given the same.
    """
    taken: dict[int, str] = {}
    for purpose, port in wanted.items():
        if port and port in taken:
            raise UserMistakeError(
                f"{taken[port]} and {purpose} were both given port {port}",
                cause="each service listens on a port of its own",
                next_step=f"choose another one with --{purpose.lower()}-port, 0 for any free one",
            )
        taken[port] = purpose


def refuse_port_in_use(port: int, *, purpose: str, host: str = LOOPBACK) -> None:
    """Check that a server can listen on ``port`` of the address ``host``.

    Raises:
        PortInUseError: somebody does already; names the process where the system tells.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            _refuse_foreign_address(error, host)
            raise PortInUseError(
                f"port {port} for {purpose} cannot be used",
                cause=_owner(port) or str(error),
                next_step=f"stop that process, or choose another port with --{purpose.lower()}-port",
            ) from error


def _refuse_foreign_address(error: OSError, host: str) -> None:
    if error.errno == errno.EADDRNOTAVAIL:
        raise UserMistakeError(
            f"nobody can listen on '{host}' here",
            cause="none of this machine's network interfaces has that address",
            next_step="0.0.0.0 stands for all that it has",
        ) from error


def _owner(port: int) -> str:
    with needs_extra("serve"):
        import psutil
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return f"{_process_name(connection.pid)} listens there"
    return ""


def _process_name(process: int | None) -> str:
    import psutil

    try:
        return f"{psutil.Process(process).name()} (process {process})" if process else "another user's process"
    except psutil.Error:
        return f"process {process}"
