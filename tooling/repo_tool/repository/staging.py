# SPDX-License-Identifier: Apache-2.0
"""Private folders beside a repository, in which models are made ready; what a killed command left is put in order.

A staging folder is alive as long as somebody holds the lock file beside it, which tells across containers and hosts.
"""

__all__ = [
    "WITHDRAWN_FOR_DAYS",
    "Staging",
    "put_in_order",
    "staging",
    "staging_path",
    "withdrawn_folder",
    "withdrawn_path",
]

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import discard, translating_disk_errors
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.locks import publishing, try_lock
from repo_tool.repository.moves import finish, is_noted

WITHDRAWN_FOR_DAYS = 7
_DAY_S = 86_400
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """A private folder beside the repository, on its file system."""

    path: Path

    @property
    def repository(self) -> ModelRepository:
        """What will be published, laid out as a repository of its own that a Triton can serve."""
        return ModelRepository(self.path / "repository")

    @property
    def work_path(self) -> Path:
        """Room for intermediate files."""
        return self.path / "work"


@contextmanager
def staging(repository: ModelRepository) -> Iterator[Staging]:
    """A staging folder that is gone afterwards, whatever happens inside the block.

    First, what commands that were killed have left is put in order.

    Raises:
        NoSpaceError: the disk is full.
        RepositoryError: the repository or its parent folder cannot be written, or they are different mounts.
    """
    _refuse_a_file(repository)
    with translating_disk_errors(repository.path):
        _refuse_a_mount(repository)
    _refuse_unwritable(repository)
    with translating_disk_errors(repository.path):
        put_in_order(repository)
        try:
            with _own_folder(staging_path(repository)) as path:
                staged = Staging(path=path)
                staged.repository.path.mkdir()
                staged.work_path.mkdir()
                yield staged
        finally:
            for folder in (staging_path(repository), repository.private_path):
                with suppress(OSError):  # still in use by another command, or it holds what is kept
                    folder.rmdir()


def staging_path(repository: ModelRepository) -> Path:
    """Where staging folders lie, each with its lock file beside it."""
    return repository.private_path / "staging"


def withdrawn_path(repository: ModelRepository) -> Path:
    """Where models lie, each in a folder of its own, that were taken out of the repository."""
    return repository.private_path / "withdrawn"


def withdrawn_folder(repository: ModelRepository) -> Path:
    """A new place there; it is not made."""
    return withdrawn_path(repository) / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def _refuse_a_file(repository: ModelRepository) -> None:
    path = repository.path.absolute()
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise RepositoryError(
                f"'{repository.path}' is no folder",
                cause=f"'{place}' is a file",
                next_step="pass the path of a folder, or one that is not there yet",
            )


def _refuse_a_mount(repository: ModelRepository) -> None:
    """A rename publishes, and none crosses from one file system to another."""
    path = repository.path.resolve()
    if path.is_dir() and _mount_of(path) != _mount_of(path.parent):
        raise RepositoryError(
            f"'{repository.path}' is a mount of its own",
            cause="models are made ready beside the repository and appear by a rename, which cannot cross file systems",
            next_step=f"use a folder inside the mount: --repository {repository.path / 'models'}",
        )


def _mount_of(folder: Path) -> str:
    """Tells mounts apart, those of one file system in two places too, between which no rename is possible either."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    except OSError:  # no /proc
        return str(folder.stat().st_dev)
    finally:
        os.close(descriptor)
    return next((line for line in lines if line.startswith("mnt_id:")), str(folder.stat().st_dev))


def _refuse_unwritable(repository: ModelRepository) -> None:
    """Said before anything is converted, not when it is to be published."""
    if repository.path.is_dir() and not os.access(repository.path, os.W_OK | os.X_OK):
        raise RepositoryError(
            f"'{repository.path}' cannot be written",
            cause="its owner, its permissions or a read-only mount do not allow it",
            next_step="check them, or choose another folder with --repository",
        )


@contextmanager
def _own_folder(root: Path) -> Iterator[Path]:
    path, lock = _own_place(root)
    with lock:
        try:
            path.mkdir(mode=0o700)
            yield path
        finally:
            _leave(path)


def _own_place(root: Path) -> tuple[Path, TextIO]:
    """Where a new folder may be made, locked, below a ``root`` that another command may be removing at this moment."""
    for _ in range(100):
        path = root / f"{os.getpid()}-{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if lock := try_lock(_lock_of(path)):
                return path, lock
    raise RepositoryError(f"'{root}' vanishes as soon as it is made", next_step="look what removes it")


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _leave(folder: Path) -> None:
    """Remove a staging folder that this process has locked, but for one whose moves wait to be finished."""
    if is_noted(folder):
        return
    discard(folder)
    with suppress(OSError):  # a later command tries again; what was published is published
        if not folder.exists():
            _lock_of(folder).unlink(missing_ok=True)


def put_in_order(repository: ModelRepository) -> None:
    """Finish what killed commands had begun to publish, remove what they left, and what was withdrawn long ago."""
    with suppress(FileNotFoundError):
        for name in sorted({entry.name.removesuffix(".lock") for entry in staging_path(repository).iterdir()}):
            _settle(staging_path(repository) / name, repository)
    with suppress(FileNotFoundError):  # another command does the same
        _drop_withdrawn(withdrawn_path(repository))


def _drop_withdrawn(folder: Path) -> None:
    """Remove what has lain there for long enough; a folder's time is that at which its model came."""
    if not folder.is_dir():
        return
    for kept in folder.iterdir():
        if kept.stat().st_mtime < time.time() - WITHDRAWN_FOR_DAYS * _DAY_S:
            discard(kept)
    with suppress(OSError):  # it holds models
        folder.rmdir()


def _finish(folder: Path, repository: ModelRepository) -> None:
    room = withdrawn_folder(repository)
    with publishing(repository):
        skipped = finish(folder, repository, room)
    for name in skipped:
        words = (
            "'%s' was changed after a command that wanted to change it was killed, and stays; see '%s' for the other"
        )
        _log.warning(words, name, room)


def _settle(folder: Path, repository: ModelRepository) -> None:
    """Put one staging folder in order, unless its command is alive."""
    try:
        lock = try_lock(_lock_of(folder))
        if lock is None:
            return
        with lock:
            if is_noted(folder):
                _finish(folder, repository)
            _leave(folder)
    except (OSError, ValueError, RepositoryError) as error:
        _log.warning("what a killed command left in '%s' cannot be put in order: %s", folder, error)
