# SPDX-License-Identifier: Apache-2.0
"""The TCP sockets of a server that this process has started, and what Linux tells about each.

An ancestor may copy the file descriptors of a process (``pidfd_getfd``, Linux 5.6): the copy is the same socket, which
stays open when the server closes its own. What the server waits for is in the table of its epoll instances.
"""

__all__ = [
    "READS",
    "WRITES",
    "Connection",
    "TcpState",
    "backlog",
    "epolls_of",
    "established",
    "hold_back",
    "hold_back_data",
    "let_through",
    "sockets_of",
    "tcp_state",
    "unread",
    "waits_for",
]

import array
import ctypes
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

READS, WRITES = 0x1, 0x4  # of the events that ``waits_for`` tells
_PIDFD_GETFD = 438  # of the system call table, the same on every architecture
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_ESTABLISHED, _LISTEN = 1, 10  # include/net/tcp_states.h
_DELIVERED = (5, 6, 7)  # FIN_WAIT2, TIME_WAIT, CLOSE
# Classic BPF over a TCP segment: what carries data is dropped, so that the peer sends it again later.
_WITHOUT_DATA = (
    (0x30, 0, 0, 12),  # A = the byte that holds the length of the header, in words, in its upper half
    (0x54, 0, 0, 0xF0),
    (0x74, 0, 0, 2),  # A = that length in bytes
    (0x07, 0, 0, 0),  # X = A
    (0x80, 0, 0, 0),  # A = the length of the segment
    (0x2D, 0, 1, 0),  # A > X?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # accept
)
_NOTHING = ((0x06, 0, 0, 0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpState:
    """What ``TCP_INFO`` tells; times are milliseconds before now."""

    state: int
    sent_ms_ago: int
    received_ms_ago: int
    bytes_received: int
    segments_sent: int  # with data
    round_trip_ms: float

    @property
    def is_established(self) -> bool:
        """Whether neither side has closed."""
        return self.state == _ESTABLISHED

    @property
    def has_delivered(self) -> bool:
        """Whether the other side has all that was sent, our end too."""
        return self.state in _DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One socket of the server, and our copy of it."""

    server: int  # its process number
    descriptor: int  # in the server
    inode: str
    copy: socket.socket = field(compare=False)

    def peer_port(self) -> int:
        """The other side's port; 0 when it is gone."""
        with suppress(OSError):
            return int(self.copy.getpeername()[1])
        return 0

    def is_open_in_server(self) -> bool:
        """Whether the server still has it."""
        return _link(self.server, self.descriptor) == f"socket:[{self.inode}]"


def sockets_of(server: int, port: int, *, listening: bool = False, known: Container[str] = ()) -> Iterator[Connection]:
    """Copies of the server's connections on ``port``, or of its listening sockets; inodes in ``known`` are left out.

    Raises:
        OSError: this kernel, or a rule of this machine, forbids it.
    """
    new = {inode for inode, state, _ in _table(server, port) if (state == _LISTEN) == listening and inode not in known}
    if not new:
        return
    pidfd = os.pidfd_open(server)
    try:
        for descriptor in _descriptors(server):
            inode = _link(server, descriptor).removeprefix("socket:[").removesuffix("]")
            if inode in new:
                copy = _copy(pidfd, descriptor)
                if str(os.fstat(copy.fileno()).st_ino) == inode:
                    yield Connection(server=server, descriptor=descriptor, inode=inode, copy=copy)
                else:  # closed meanwhile, and its number given to another
                    copy.close()
    finally:
        os.close(pidfd)


def epolls_of(server: int) -> list[int]:
    """The descriptors of the server's epoll instances."""
    return [each for each in _descriptors(server) if _link(server, each) == "anon_inode:[eventpoll]"]


def waits_for(server: int, epolls: Iterable[int]) -> dict[int, int]:
    """The events that the server's threads wait for, by descriptor, as ``/proc/PID/fdinfo`` tells."""
    found: dict[int, int] = {}
    for descriptor in epolls:
        with suppress(OSError):
            for line in Path(f"/proc/{server}/fdinfo/{descriptor}").read_text().splitlines():
                if line.startswith("tfd:"):
                    _, watched, _, events, *_ = line.split()
                    found[int(watched)] = found.get(int(watched), 0) | int(events, 16)
    return found


def backlog(server: int, port: int) -> int:
    """How many connections wait to be accepted."""
    return sum(waiting for _, state, waiting in _table(server, port) if state == _LISTEN)


def established(server: int, port: int) -> int:
    """How many connections to ``port`` neither side has closed."""
    return sum(state == _ESTABLISHED for _, state, _ in _table(server, port))


def tcp_state(connection: socket.socket) -> TcpState:
    """What the kernel knows of it."""
    facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    return TcpState(
        state=facts[0],
        sent_ms_ago=struct.unpack_from("I", facts, 44)[0],
        received_ms_ago=struct.unpack_from("I", facts, 52)[0],
        bytes_received=struct.unpack_from("Q", facts, 128)[0],
        round_trip_ms=struct.unpack_from("I", facts, 68)[0] / 1e3,
        segments_sent=struct.unpack_from("I", facts, 156)[0],
    )


def unread(connection: socket.socket) -> int:
    """How many bytes have arrived that nobody has read."""
    count = array.array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, count)
    return count[0]


def hold_back_data(connection: socket.socket) -> None:
    """Let the kernel drop what the other side sends from now on; acknowledgements and its end still arrive.

    Raises:
        OSError: this kernel has no socket filters.
    """
    _attach(connection, _WITHOUT_DATA)


def hold_back(listener: socket.socket) -> None:
    """Let the kernel drop whatever reaches a listening socket: who connects tries again after a second.

    Raises:
        OSError: this kernel has no socket filters.
    """
    _attach(listener, _NOTHING)


def let_through(connection: socket.socket) -> None:
    """Undo the above; the other side sends again what was dropped, within some 200 ms."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def _attach(target: socket.socket, program: tuple[tuple[int, int, int, int], ...]) -> None:
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    target.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(buffer)))


def _copy(pidfd: int, descriptor: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    copied = libc.syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
    if copied < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return socket.socket(fileno=copied)


def _link(server: int, descriptor: int) -> str:
    with suppress(OSError):  # closed meanwhile
        return str(Path(f"/proc/{server}/fd/{descriptor}").readlink())
    return ""


def _descriptors(server: int) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{server}/fd").iterdir()]


def _table(server: int, port: int) -> Iterator[tuple[str, int, int]]:
    """Inode, state, and how many bytes or connections wait, of the sockets of this machine on ``port``."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{server}/net/{name}").read_text().splitlines()[1:]:
                _, local, _, state, queues, *_, inode = line.split()[:10]
                if int(local.rpartition(":")[2], 16) == port:
                    yield inode, int(state, 16), int(queues.rpartition(":")[2], 16)
