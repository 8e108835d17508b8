# SPDX-License-Identifier: Apache-2.0
"""How models become visible: staged beside the repository, then renamed into it, never half there."""

__all__ = [
    "StagedModel",
    "Staging",
    "next_version",
    "publish",
    "replace_config",
    "rewrite",
    "sole_changer",
    "staging",
    "translating_disk_errors",
    "withdraw",
]

import errno
import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from repo_tool.errors import NoSpaceError, RepositoryError, VersionExistsError
from repo_tool.repository.layout import ModelDirectory, ModelRepository

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_HELD_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        RepositoryError: the repository or its parent folder cannot be written, or they are different mounts.
    """
    _refuse_a_file(repository)
    with translating_disk_errors(repository.path):
        _refuse_a_mount(repository)
    _refuse_unwritable(repository)
    with translating_disk_errors(repository.path):
        root = repository.private_path / "staging"
        path = _make_folder(root)
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


def _make_folder(root: Path) -> Path:
    """A new folder below ``root``, which another command may be removing at this moment."""
    for _ in range(100):
        with suppress(FileNotFoundError):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sweep(root)
            return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=root))
    raise RepositoryError(f"'{root}' vanishes as soon as it is made", next_step="look what removes it")


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
    if versions and wanted < versions[-1] and wanted not in versions:
        raise VersionExistsError(
            f"version {wanted} of '{model.name}' would lie below version {versions[-1]}",
            cause="one config.pbtxt serves all versions, and the newest is the one that is loaded",
            next_step=f"leave --version out to get {versions[-1] + 1}",
        )
    if wanted in versions:
        raise VersionExistsError(
            f"version {wanted} of '{model.name}' exists",
            cause=f"'{model.version_path(wanted)}' is there, and a published version is never changed",
            next_step=f"leave --version out to get {versions[-1] + 1}",
        )
    return wanted


def publish(
    staged: Sequence[StagedModel],
    repository: ModelRepository,
    *,
    renumber: bool = False,
    require: Callable[[], None] = lambda: None,
) -> int:
    """Make the staged models visible, each by one rename, and tell their version; Ctrl-C waits until all are.

    A new model appears whole. A further version appears first, then its ``config.pbtxt`` replaces the old one. With
    ``renumber`` a version that somebody else published meanwhile gives way to the next free one, the same for all.
    ``require`` is asked once nobody else can publish, and its errors end it.

    Raises:
        VersionExistsError: somebody else published the version meanwhile.
        NoSpaceError: the disk is full.
    """
    with translating_disk_errors(repository.path), _locked(repository), _signals_held():
        repository.path.mkdir(parents=True, exist_ok=True)
        require()
        if renumber:
            staged = _renumbered(staged, repository)
        for model in staged:
            next_version(repository.model(model.directory.name), wanted=model.version)
            _sync(model.directory.path)
        for model in staged:
            _publish_one(model, repository.model(model.directory.name))
        return staged[-1].version


def replace_config(staged: ModelDirectory, repository: ModelRepository, *, expected: bytes | None = None) -> None:
    """Let a published model have the ``config.pbtxt`` of the staged one of the same name, at once or not at all.

    Args:
        staged: The staged one.
        repository: Where the published one is.
        expected: What its file must still say; None: anything, and it need not be there.

    Raises:
        RepositoryError: the file is a link, or has changed meanwhile.
        NoSpaceError: the disk is full.
    """
    target = repository.model(staged.name)
    with translating_disk_errors(repository.path), _locked(repository), _signals_held():
        if expected is not None and target.config_path.read_bytes() != expected:
            raise RepositoryError(
                f"'{target.config_path}' has been changed meanwhile",
                cause="it is not what was read",
                next_step="run the command again",
            )
        _sync(staged.path)
        staged.config_path.replace(target.config_path)
        _sync_folder(target.path)


def rewrite(repository: ModelRepository, texts: Mapping[str, tuple[str, str]], *, folders: Iterable[str] = ()) -> None:
    """Give files of the repository other words, all of them or none, and make further folders.

    Each file is replaced at once; should a later one fail, those before it get their old words back.

    Args:
        repository: It.
        texts: By the file's path in it: what must stand there, and what is to stand there.
        folders: Paths of folders, each of which gets an empty ``.gitkeep``.

    Raises:
        RepositoryError: a file is a link, has changed meanwhile, or cannot be written.
        NoSpaceError: the disk is full.
    """
    with staging(repository) as stage, translating_disk_errors(repository.path), _locked(repository), _signals_held():
        drafts = []
        for index, (name, (old, new)) in enumerate(texts.items()):
            target = repository.path / name
            _require_as_read(target, old.encode())
            drafts.append((target, _draft(stage.work_path / f"{index}.new", new.encode(), like=target)))
        _replace_all(drafts, undo=[_draft(draft.with_suffix(".old"), at.read_bytes(), like=at) for at, draft in drafts])
        for name in folders:
            (repository.path / name).mkdir(exist_ok=True)
            (repository.path / name / ".gitkeep").touch()
            _sync_folder(repository.path / name)


def _replace_all(drafts: Sequence[tuple[Path, Path]], *, undo: Sequence[Path]) -> None:
    """Let each draft take its target's place; where one cannot, ``undo`` takes the places that were taken."""
    for place, (target, draft) in enumerate(drafts):
        try:
            draft.replace(target)
            _sync_folder(target.parent)
        except OSError:
            for (taken, _), old in zip(drafts[: place + 1], undo[: place + 1], strict=True):
                with suppress(OSError):  # the first failure is the one to tell
                    old.replace(taken)
            raise


def _require_as_read(target: Path, old: bytes) -> None:
    if target.is_symlink():
        raise RepositoryError(
            f"'{target}' is a link",
            cause="to replace it would part it from the file that it leads to",
            next_step=f"change that file: {target.resolve()}",
        )
    if not target.is_file():
        raise RepositoryError(
            f"'{target}' is gone", cause="it was there when it was read", next_step="look who moved it"
        )
    if target.read_bytes() != old:
        raise RepositoryError(
            f"'{target}' has been changed meanwhile", cause="it is not what was read", next_step="run the command again"
        )


def _draft(path: Path, words: bytes, *, like: Path) -> Path:
    """A file on the disk with those words and the mode of another."""
    path.write_bytes(words)
    shutil.copymode(like, path)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return path


def withdraw(model: ModelDirectory, stage: Staging, *, expected_version: int | None = None) -> Path:
    """Take a model out of its repository by one rename, and tell where it lies now.

    Args:
        model: It.
        stage: Room for what lay there before.
        expected_version: The version that must still be its latest; None: any, or none at all.

    Raises:
        RepositoryError: another version is its latest, or not allowed to write.
    """
    repository = ModelRepository(model.path.parent)
    with translating_disk_errors(repository.path), _locked(repository), _signals_held():
        latest = max(model.versions(), default=None)
        if expected_version not in (None, latest):
            raise RepositoryError(
                f"'{model.name}' has been changed meanwhile",
                cause=f"its latest version is {latest}, and was {expected_version}",
                next_step="run the command again",
            )
        kept = stage.work_path / model.name
        model.path.rename(kept)
        _sync_folder(repository.path)
    return kept


@contextmanager
def sole_changer(repository: ModelRepository) -> Iterator[None]:
    """Nobody else who asks for this changes the repository as a whole meanwhile; the lock goes with the process.

    Raises:
        RepositoryError: somebody does.
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


def _renumbered(staged: Sequence[StagedModel], repository: ModelRepository) -> list[StagedModel]:
    free = max(next_version(repository.model(model.directory.name)) for model in staged)
    for model in staged:
        if model.version != free:
            model.directory.version_path(model.version).rename(model.directory.version_path(free))
    return [replace(model, version=free) for model in staged]


def _publish_one(staged: StagedModel, target: ModelDirectory) -> None:
    if not target.path.exists():
        staged.directory.path.rename(target.path)
        _sync_folder(target.path.parent)
        return
    staged.directory.version_path(staged.version).rename(target.version_path(staged.version))
    _replace_files(staged.directory.warmup_path, target.warmup_path)
    _replace_files(staged.directory.variants_path, target.variants_path)
    for source in staged.directory.path.iterdir():
        if source.is_file() and source != staged.directory.config_path:
            source.replace(target.path / source.name)
    staged.directory.config_path.replace(target.config_path)
    _sync_folder(target.path)


def _replace_files(staged: Path, target: Path) -> None:
    """Let each file of a folder take the place of its like, and others stay: they may be a person's."""
    if not staged.is_dir():
        return
    target.mkdir(exist_ok=True)
    for source in staged.iterdir():
        source.replace(target / source.name)
    _sync_folder(target)


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
    with _lock_file(repository, "publish").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _lock_file(repository: ModelRepository, name: str) -> Path:
    locks = repository.private_path / "locks"
    locks.mkdir(parents=True, exist_ok=True, mode=0o700)
    return locks / name


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
