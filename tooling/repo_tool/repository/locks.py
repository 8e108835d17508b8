# SPDX-License-Identifier: Apache-2.0
"""Who may change a repository now; locks go with the process that holds them, in whatever container it runs."""

__all__ = ["changing", "publishing", "sole_changer_lock", "try_lock"]

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import translating_disk_errors, translating_misfits
from repo_tool.repository.layout import ModelRepository

_HELD_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def changing(repository: ModelRepository) -> Iterator[None]:
    """Room for one short change: no other publisher meanwhile, Ctrl-C waits, and errors of the disk are told.

    Raises:
        NoSpaceError: the disk is full.
        RepositoryError: the repository cannot be written, or something lies in the way.
    """
    path = repository.path
    with translating_disk_errors(path), translating_misfits(path), publishing(repository), _signals_held():
        yield


@contextmanager
def publishing(repository: ModelRepository) -> Iterator[None]:
    """One publisher at a time."""
    with _lock_file(repository, "publish").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def sole_changer_lock(repository: ModelRepository) -> Iterator[None]:
    """Nobody else who asks for this has it meanwhile.

    Raises:
        RepositoryError: somebody has.
    """
    with translating_disk_errors(repository.path), _lock_file(repository, "change").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RepositoryError(
                f"another command is changing '{repository.path}' as a whole",
                cause=f"it holds the lock '{stream.name}'",
                next_step="wait until it is done",
            ) from error
        yield


def _lock_file(repository: ModelRepository, name: str) -> Path:
    locks = repository.private_path / "locks"
    locks.mkdir(parents=True, exist_ok=True, mode=0o700)
    return locks / name


def try_lock(path: Path) -> TextIO | None:
    """Have the lock file ``path``, made where it is not there, until it is closed; None where another has it."""
    stream = path.open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = _is_at(path, stream.fileno())  # whoever had it may have removed it at the end
    except BlockingIOError:
        is_ours = False
    except BaseException:
        stream.close()
        raise
    if is_ours:
        return stream
    stream.close()
    return None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let Ctrl-C and the like wait until the block is over; they never interrupt another thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    held = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in _HELD_SIGNALS}
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])
