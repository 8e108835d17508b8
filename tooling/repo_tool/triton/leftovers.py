# SPDX-License-Identifier: Apache-2.0
"""What a server leaves behind whose every guard was killed at once: found by a lock that nobody holds any more."""

__all__ = ["claim", "owned_regions", "remove_leftovers"]

import fcntl
import os
import re
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_OWNER = "owner"
_PREFIX = re.compile(r"repo-tool-(?P<pid>\d+)-[0-9a-f]{8}-")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives
_ABANDONED_AFTER_S = 60.0  # a region whose folder we do not see may belong to a server with another TMPDIR
_START_TIME = 22 - 3  # field 22 of /proc/<pid>/stat (proc(5)), counted after the state
_CLOCKS_DIFFER_S = 2.0
_KEEPERS = ("keeper.py", "tritonserver")


def claim(runtime: Path, shm_prefix: str) -> int:
    """Mark a server's private folder as in use.

    Returns:
        A descriptor to be inherited by the server's processes: while any of them lives, the folder is in use.
    """
    unlocked = runtime / f"{_OWNER}.new"
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, shm_prefix.encode())
    unlocked.rename(runtime / _OWNER)  # so that nobody finds it unlocked
    return descriptor


def remove_leftovers() -> list[Path]:
    """Remove the folders and shared memory of servers that are gone, and end what hangs on of them.

    Returns:
        What was removed.
    """
    removed: list[Path] = []
    in_use: set[str] = set()
    for folder, prefix in _claimed_folders():
        _end_orphans(folder, prefix)
        if _is_in_use(folder):
            in_use.add(prefix)
            continue
        removed += [*_unlinked(owned_regions(prefix)), folder]
        shutil.rmtree(folder, ignore_errors=True)
    return removed + _unlinked(_abandoned_regions(in_use))


def owned_regions(prefix: str) -> list[Path]:
    """The shared memory whose names start so."""
    return sorted(_SHARED_MEMORY.glob(f"{prefix}*"))


def _claimed_folders() -> Iterator[tuple[Path, str]]:
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):  # noqa: S108 - where ours are
        for folder in Path(parent).glob("repo-tool-*"):
            with suppress(OSError):  # removed meanwhile, or not a server's
                if _is_ours(folder) and _PREFIX.fullmatch(prefix := (folder / _OWNER).read_text()):
                    yield folder, prefix


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can have made it: the temporary folder is everybody's."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _is_in_use(folder: Path) -> bool:
    with suppress(OSError), (folder / _OWNER).open("rb") as owner:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _end_orphans(folder: Path, prefix: str) -> None:
    """Kill the stubs of a server that is gone with its keeper: a stopped stub does not notice by itself."""
    with suppress(OSError, ValueError):
        server, owner = folder / "server.pid", folder / _OWNER
        if _is_there_since(int(server.read_text()), server) or _is_there_since(_pid_in(prefix), owner):
            return
        processes = dict(_processes_with(prefix))
        if any(keeper in words for words in processes.values() for keeper in _KEEPERS):
            return
        for process in processes:
            os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 1.0
        while any(_is_running(process) for process in processes) and time.monotonic() < deadline:
            time.sleep(0.005)


def _processes_with(prefix: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if prefix in (words := (entry / "cmdline").read_text(errors="replace")):
                yield int(entry.name), words


def _abandoned_regions(in_use: set[str]) -> Iterator[Path]:
    for region in _SHARED_MEMORY.glob("repo-tool-*"):
        if (match := _PREFIX.match(region.name)) and match[0] not in in_use:
            with suppress(OSError):
                found = region.lstat()
                old = time.time() - found.st_mtime > _ABANDONED_AFTER_S
                if old and stat.S_ISREG(found.st_mode) and not _is_there_since(_pid_in(match[0]), region):
                    yield region


def _pid_in(prefix: str) -> int:
    return int(prefix.split("-")[2])


def _is_there_since(process: int, trace: Path) -> bool:
    """Whether a process runs that can have left a file: one that began later has the number of another that is gone.

    In a container every ``repo-tool`` has the same number.
    """
    if not _is_running(process):
        return False
    with suppress(OSError, ValueError, IndexError):
        ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[_START_TIME])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - age_s <= trace.lstat().st_mtime + _CLOCKS_DIFFER_S
    return True


def _is_running(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _unlinked(regions: Iterator[Path] | list[Path]) -> list[Path]:
    removed = []
    for region in regions:
        with suppress(OSError):
            region.unlink()
            removed.append(region)
    return removed
