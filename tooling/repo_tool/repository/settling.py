# SPDX-License-Identifier: Apache-2.0
"""Staged files on their way to the disk, and their digests, while the model that they are is still being proven.

A digest that was computed early is that of the bytes which are published, because

* it is computed here, from the staged file itself, never from what a worker process says, which runs foreign code, and
  never from the source that was copied;
* the file's mark (device, inode, size, time of its content, time of any change) is the same before the first byte was
  read, after the last one, when the digest is written down, and when the version is published. No program sets the
  last of these times, and whatever writes, cuts, renames or replaces a file changes it;
* two changes within one tick of the file system's clock have one time, so a file that was touched just now has no
  mark that could hold.

A file of which one of these does not hold is read again, as every file is that this process has not read. That the
disk has the bytes is still seen to right before they are published, whatever was done here: to begin earlier leaves
less to wait for, and changes no order. A disk that refused is told, since the kernel tells it only once.
"""

__all__ = ["Mark", "Settling", "mark_of"]

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any

from repo_tool.repository.disk import sync

_AT_ONCE = 4  # files that are read or brought to the disk
_BLOCK = 1 << 20
_TICK_S = 0.02  # longer than one of any kernel's, which is 10 ms at most

Mark = tuple[int, ...]  # device, inode, bytes, nanoseconds of the content and of any change


def mark_of(status: os.stat_result) -> Mark:
    """What changes with a file; of one that was touched just now a mark that no other one equals."""
    mark = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return mark if _was_left_alone(status) else (*mark, time.time_ns())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A file that was read whole, and did not change meanwhile."""

    mark: Mark
    digest: str


class Settling:
    """Threads that read files and bring them to the disk, until the block ends."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="settling")
        self._reads: dict[Path, Future[_Read | None]] = {}
        self._syncs: list[Future[None]] = []
        self._is_over = Event()

    def __enter__(self) -> "Settling":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def read(self, path: Path) -> None:
        """Begin to compute a file's digest; what is no file, or does not read, is for others to tell."""
        self._reads[path] = self._threads.submit(self._read, path)

    def settle(self, folder: Path) -> None:
        """Begin to bring a folder's files to the disk, and to compute their digests; another folder is given up."""
        given_up: list[Future[Any]] = [*self._syncs, *self._reads.values()]
        for each in given_up:
            each.cancel()
        files = sorted((path for path in folder.rglob("*") if path.is_file()), key=_size, reverse=True)
        self._syncs = []
        for path in files:
            self._syncs.append(self._threads.submit(sync, path))
            self.read(path)

    def finish(self) -> None:
        """Wait until all is read, and the disk has the files of the folder.

        Raises:
            OSError: it does not want to.
        """
        wait(self._reads.values())
        for each in self._syncs:
            each.result()

    def known(self, path: Path) -> str | None:
        """The digest of a file that was read here, and is as it was then; None for any other."""
        if path not in self._reads:
            return None
        with suppress(OSError, CancelledError):
            found = self._reads[path].result()
            return found.digest if found and found.mark == mark_of(path.stat()) else None
        return None

    def _read(self, path: Path) -> _Read | None:
        if not path.is_file():  # a pipe would keep the thread waiting
            return None
        with path.open("rb", buffering=0) as stream:
            if not _was_left_alone(os.fstat(stream.fileno())):
                self._is_over.wait(_TICK_S)
            mark, digest = mark_of(os.fstat(stream.fileno())), hashlib.sha256()
            for block in self._blocks(stream.fileno()):
                digest.update(block)
            is_whole = not self._is_over.is_set() and mark_of(os.fstat(stream.fileno())) == mark
        return _Read(mark=mark, digest=f"sha256:{digest.hexdigest()}") if is_whole else None

    def _blocks(self, descriptor: int) -> Iterator[memoryview]:
        """A file's content, each block in the place of the one before; less of it once nobody wants it any more."""
        block = memoryview(bytearray(_BLOCK))
        while not self._is_over.is_set() and (count := os.readv(descriptor, [block])):
            yield block[:count]


def _size(path: Path) -> int:
    return path.stat().st_size


def _was_left_alone(status: os.stat_result) -> bool:
    return time.time_ns() - status.st_ctime_ns > _TICK_S * 1e9
