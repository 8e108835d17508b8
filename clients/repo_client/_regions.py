# SPDX-License-Identifier: Apache-2.0
"""Memory of this machine that another process can open: regions without a name, and what dead owners left.

A region has a name in ``/dev/shm`` only while the server opens it. Whatever ends this process, its memory ends with
the last process that has it open; a name can stay only if that happens within this fraction of a millisecond, and
then the next client takes it away.
"""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from mmap import mmap
from pathlib import Path
from weakref import finalize

import numpy as np

from repo_client._urls import Url

_FOLDER = Path("/dev/shm")  # noqa: S108  # where Linux keeps POSIX shared memory
_SIGNS, _NETWORK = Path("/proc/net/unix"), Path("/proc/self/ns/net")
_PREFIX = "repo-client"
_OWNER = re.compile(rf"{_PREFIX}-(\d+)-\d+-[0-9a-f]+")  # network namespace, process, and what tells clients apart


class Region:
    """Memory that is shared with the server once it has opened ``key``, and that nobody can cut short under it."""

    __slots__ = ("_array", "_file", "byte_size", "idle_since", "name")

    def __init__(self, name: str, byte_size: int) -> None:
        self.name, self.byte_size, self.idle_since = name, byte_size, 0.0
        self._file = os.open(_FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            # All of it now. If memory ran out when the server writes an answer, that would be its end, not ours.
            os.posix_fallocate(self._file, 0, byte_size)
            self._array = np.frombuffer(mmap(self._file, byte_size), np.uint8)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def key(self) -> str:
        """What the server opens, while the region is ``named``."""
        return f"/{self.name}"

    @contextmanager
    def named(self) -> Iterator[None]:
        """Only within this, and only once, can another process find the region."""
        path = _FOLDER / self.name
        try:
            # The dir_fd, meaningless with an absolute path, is what makes Python follow the link to the nameless file.
            os.link(f"/proc/self/fd/{self._file}", path, src_dir_fd=self._file)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
        finally:
            os.close(self._file)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Copy ``data`` to ``offset``."""
        source = np.frombuffer(data, np.uint8)
        self._array[offset : offset + source.size] = source

    def read(self, offset: int, byte_size: int) -> bytes:
        """A copy of what lies at ``offset``."""
        return self._array[offset : offset + byte_size].tobytes()


def has_shared_memory() -> bool:
    """Whether this system has shared memory that works like Linux's."""
    return hasattr(os, "O_TMPFILE") and _FOLDER.is_dir() and _SIGNS.exists() and _NETWORK.exists()


def has_room(byte_size: int) -> bool:
    """Whether so many bytes are no more than half of what can still be shared: others on this machine need it too."""
    state = os.statvfs(_FOLDER)
    return 2 * byte_size <= state.f_bavail * state.f_frsize


def is_this_machine(url: Url) -> bool:
    """Whether ``url`` is an address or the name of this machine; no name server is asked."""
    host = url.address.rsplit(":", 1)[0].strip("[]")
    try:
        address = ip_address(host)
    except ValueError:
        return host in ("localhost", socket.gethostname())
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))  # the system knows its own addresses
        except OSError:
            return False
    return True


class SignOfLife:
    """What tells others that the regions named after it are somebody's: gone with this object, and with its process.

    It is a socket without a file. Nothing is ever sent to it; that the system lists it is the sign.
    """

    def __init__(self) -> None:
        self.name = f"{_PREFIX}-{_network()}-{os.getpid()}-{os.urandom(6).hex()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sign:
            sign.bind(f"\0{self.name}")
            self.end = finalize(self, os.close, sign.detach())


def left_behind(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are of regions without an owner, as far as can be seen from this container."""
    owners = [(name, _OWNER.match(name)) for name in names]
    network, signs = _network(), _SIGNS.read_text(encoding="utf-8", errors="replace")
    return [name for name, owner in owners if owner and owner[1] == network and f"@{owner[0]}\n" not in signs]


def remove_names_left_behind() -> None:
    """Take away names of regions that a process had no time to take away."""
    for name in left_behind([path.name for path in _FOLDER.glob(f"{_PREFIX}-*")]):
        with suppress(OSError):  # another user's, or another client was quicker
            (_FOLDER / name).unlink()


def _network() -> str:
    """The number of this process's network namespace: signs of life of another one are not seen."""
    return str(_NETWORK.stat().st_ino)
