# SPDX-License-Identifier: Apache-2.0
"""How models become visible: staged beside the repository, then renamed into it, never half there."""

__all__ = ["StagedModel", "Staging", "next_version", "publish", "staging", "translating_disk_errors"]

import errno
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from repo_tool.errors import NoSpaceError, RepositoryError, VersionExistsError
from repo_tool.repository.layout import ModelDirectory, ModelRepository

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedModel:
    """A whole model directory in the staging, of which ``version`` is to be published."""

    directory: ModelDirectory
    version: int


@contextmanager
def staging(repository: ModelRepository) -> Iterator[Staging]:
    """A staging folder that is gone afterwards, whatever happens inside the block.

    Raises:
        NoSpaceError: the disk is full.
        RepositoryError: the repository's parent folder cannot be written.
    """
    with translating_disk_errors(repository.path):
        root = repository.private_path / "staging"
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(root)
        path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=root))
        try:
            staged = Staging(path=path)
            staged.repository.path.mkdir()
            staged.work_path.mkdir()
            yield staged
        finally:
            shutil.rmtree(path, ignore_errors=True)
            for folder in (root, repository.private_path):
                with suppress(OSError):  # still in use by another command, or it holds the lock file
                    folder.rmdir()


def _sweep(root: Path) -> None:
    """Remove what a killed command left: staging folders whose process is gone."""
    for left in root.iterdir():
        process = left.name.partition("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(left, ignore_errors=True)


def next_version(model: ModelDirectory, *, wanted: int | None = None) -> int:
    """The version to publish: ``wanted``, or one more than the highest.

    Raises:
        VersionExistsError: the wanted one is taken.
    """
    versions = model.versions()
    if wanted is None:
        return max(versions, default=0) + 1
    if wanted in versions:
        raise VersionExistsError(
            f"version {wanted} of '{model.name}' exists",
            cause=f"'{model.version_path(wanted)}' is there, and a published version is never changed",
            next_step=f"leave --version out to get {versions[-1] + 1}",
        )
    return wanted


def publish(staged: Sequence[StagedModel], repository: ModelRepository) -> None:
    """Make the staged models visible, each by one rename; Ctrl-C waits until all are.

    A new model appears whole. A further version appears first, then its ``config.pbtxt`` replaces the old one.

    Raises:
        VersionExistsError: somebody else published the version meanwhile.
        NoSpaceError: the disk is full.
    """
    with translating_disk_errors(repository.path), _locked(repository), _signals_held():
        repository.path.mkdir(parents=True, exist_ok=True)
        for model in staged:
            _sync(model.directory.path)
            _publish_one(model, repository.model(model.directory.name))


def _publish_one(staged: StagedModel, target: ModelDirectory) -> None:
    if not target.path.exists():
        staged.directory.path.rename(target.path)
        _sync_folder(target.path.parent)
        return
    next_version(target, wanted=staged.version)
    staged.directory.version_path(staged.version).rename(target.version_path(staged.version))
    _replace_warmup(staged.directory, target)
    for source in staged.directory.path.iterdir():
        if source.is_file() and source != staged.directory.config_path:
            source.replace(target.path / source.name)
    staged.directory.config_path.replace(target.config_path)
    _sync_folder(target.path)


def _replace_warmup(staged: ModelDirectory, target: ModelDirectory) -> None:
    if not staged.warmup_path.is_dir():
        return
    target.warmup_path.mkdir(exist_ok=True)
    for source in staged.warmup_path.iterdir():
        source.replace(target.warmup_path / source.name)


def _sync(folder: Path) -> None:
    """Bring every file and folder below ``folder`` to the disk, so that a power cut cannot publish holes."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(repository: ModelRepository) -> Iterator[None]:
    """One publisher at a time; the lock goes with the process, however it ends."""
    locks = repository.private_path / "locks"
    locks.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (locks / "publish").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _signals_held() -> Iterator[None]:
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def translating_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says so.

    Raises:
        NoSpaceError: no space, or the quota is used up.
        RepositoryError: not allowed to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpaceError(
                f"no space left to publish into '{path}'",
                cause=str(error),
                next_step="free some space; the repository is as it was before",
            ) from error
        if error.errno in _DENIED:
            raise RepositoryError(
                f"'{path}' cannot be written",
                cause=str(error),
                next_step="check the owner and permissions of the repository and its parent folder",
            ) from error
        raise
