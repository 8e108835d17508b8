# SPDX-License-Identifier: Apache-2.0
"""How models become visible: staged beside the repository, then renamed into it, never half there."""

__all__ = [
    "WITHDRAWN_FOR_DAYS",
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

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from repo_tool.errors import RepositoryError, VersionExistsError
from repo_tool.repository.disk import (
    fit_onto,
    replace_file,
    require_fit,
    require_inside,
    require_replaceable,
    sync,
    sync_folder,
    translating_disk_errors,
)
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.locks import changing, sole_changer_lock
from repo_tool.repository.moves import Move, move_all
from repo_tool.repository.staging import WITHDRAWN_FOR_DAYS, Staging, put_in_order, staging, withdrawn_path


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedModel:
    """A whole model directory in the staging, of which ``version`` is to be published."""

    directory: ModelDirectory
    version: int


def next_version(model: ModelDirectory, *, wanted: int | None = None) -> int:
    """The version to publish: ``wanted``, or one more than the highest.

    Raises:
        VersionExistsError: the wanted one is taken.
        RepositoryError: a file or a link stands where the model's folder belongs.
    """
    _require_own_folder(model)
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


def _require_own_folder(model: ModelDirectory) -> None:
    if model.path.is_symlink():
        raise RepositoryError(
            f"'{model.path}' is a link",
            cause=f"a new version would go to '{model.path.resolve()}', which others may use too",
            next_step="publish it there, or put a copy in the place of the link",
        )
    if model.path.exists() and not model.path.is_dir():
        raise RepositoryError(
            f"'{model.path}' is a file", cause="the model's folder belongs there", next_step="move it away"
        )


def publish(
    staged: Sequence[StagedModel],
    repository: ModelRepository,
    *,
    renumber: bool = False,
    require: Callable[[], None] = lambda: None,
) -> int:
    """Make the staged models visible, each whole and at once, and tell their version; Ctrl-C waits until all are.

    A further version comes with its ``config.pbtxt``: the staged folder gets all that only the published one has, and
    both change places. Where the file system cannot do that, the model is not there for a moment. With ``renumber`` a
    version that somebody else published meanwhile gives way to the next free one, the same for all. ``require`` is
    asked once nobody else can publish, and its errors end it.

    Raises:
        VersionExistsError: somebody else published the version meanwhile.
        RepositoryError: something else stands where a file or folder belongs, or changes at this moment.
        NoSpaceError: the disk is full.
    """
    with changing(repository):
        repository.path.mkdir(parents=True, exist_ok=True)
        require()
        if renumber:
            staged = _renumbered(staged, repository)
        for model in staged:
            target = repository.model(model.directory.name)
            next_version(target, wanted=model.version)
            if target.path.exists():
                require_fit(model.directory.path, target.path)
        moves = [_made_ready(model, repository.model(model.directory.name)) for model in staged]
        move_all(moves, staged[0].directory.path.parents[1], repository)
        return staged[-1].version


def _made_ready(staged: StagedModel, target: ModelDirectory) -> Move:
    move = Move.onto(target, version=staged.version)
    sync(staged.directory.path)
    if target.path.exists():
        fit_onto(staged.directory.path, target.path)
    return move


def _renumbered(staged: Sequence[StagedModel], repository: ModelRepository) -> list[StagedModel]:
    free = max(next_version(repository.model(model.directory.name)) for model in staged)
    for model in staged:
        if model.version != free:
            model.directory.version_path(model.version).rename(model.directory.version_path(free))
    return [replace(model, version=free) for model in staged]


def replace_config(staged: ModelDirectory, repository: ModelRepository, *, expected: bytes | None = None) -> None:
    """Let a published model have the ``config.pbtxt`` of the staged one of the same name, at once or not at all.

    Args:
        staged: The staged one.
        repository: Where the published one is.
        expected: What its file must still say; None: anything, and it need not be there.

    Raises:
        RepositoryError: the file is a link, lies outside of the repository, or has changed meanwhile.
        NoSpaceError: the disk is full.
    """
    target = repository.model(staged.name)
    with changing(repository):
        require_inside(target.path, repository.path)
        replace_file(target.config_path, staged.config_path, expected=expected)


def rewrite(
    repository: ModelRepository,
    texts: Mapping[str, tuple[str, str]],
    *,
    folders: Iterable[str] = (),
    require: Callable[[], None] = lambda: None,
) -> None:
    """Give files of the repository other words, all of them or none, and make further folders.

    Each file is replaced at once; should a later one fail, those before it get their old words back.

    Args:
        repository: It.
        texts: By the file's path in it: what must stand there, and what is to stand there.
        folders: Paths of folders, each of which gets an empty ``.gitkeep``.
        require: Is asked once nobody else can change the repository, and its errors end it.

    Raises:
        RepositoryError: a file is a link, lies outside of the repository, has changed meanwhile, or cannot be written.
        NoSpaceError: the disk is full.
    """
    changes = [
        _Change(target=repository.path / name, old=old.encode(), new=new.encode()) for name, (old, new) in texts.items()
    ]
    made = [repository.path / name for name in folders]
    with staging(repository) as stage, changing(repository):
        require()
        for place in (*(change.target.parent for change in changes), *made):
            require_inside(place, repository.path)
        for change in changes:
            require_replaceable(change.target, expected=change.old)
        _replace_all(changes, stage.work_path)
        for folder in made:
            folder.mkdir(exist_ok=True)
            (folder / ".gitkeep").touch()
            sync_folder(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    target: Path
    old: bytes
    new: bytes


def _replace_all(changes: Sequence[_Change], room: Path) -> None:
    """Make the changes one by one; where one cannot be made, take back those before it."""
    drafts = [
        (change, _written(room / f"{index}.new", change.new), _written(room / f"{index}.old", change.old))
        for index, change in enumerate(changes)
    ]
    try:
        for change, new, _ in drafts:
            replace_file(change.target, new, expected=change.old)
    except (OSError, RepositoryError):
        for change, _, old in drafts:
            with suppress(OSError, RepositoryError):  # it is as it was; and the first failure is the one to tell
                replace_file(change.target, old, expected=change.new)
        raise


def _written(path: Path, words: bytes) -> Path:
    path.write_bytes(words)
    return path


def withdraw(model: ModelDirectory, stage: Staging, *, expected_version: int | None = None) -> Path:
    """Take a model out of its repository by one rename, and tell where it lies now.

    It is kept beside the repository until a model of its name is withdrawn again, or for ``WITHDRAWN_FOR_DAYS``.

    Args:
        model: It.
        stage: Room for the one that was withdrawn before it, which goes with the staging folder.
        expected_version: The version that must still be its latest; None: any, or none at all.

    Raises:
        RepositoryError: another version is its latest, or not allowed to write.
    """
    repository = ModelRepository(model.path.parent)
    with changing(repository):
        _require_latest(model, expected_version)
        folder = withdrawn_path(repository)
        folder.mkdir(mode=0o700, exist_ok=True)
        before = [entry for entry in folder.iterdir() if os.path.lexists(entry / model.name)]
        now = Path(tempfile.mkdtemp(prefix=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-", dir=folder)) / model.name
        model.path.rename(now)
        for changed in (repository.path, now.parent):
            sync_folder(changed)
        for entry in before:
            entry.rename(stage.work_path / f"withdrawn-{entry.name}")
    return now


def _require_latest(model: ModelDirectory, version: int | None) -> None:
    latest = max(model.versions(), default=None)
    if version is not None and version != latest:
        raise RepositoryError(
            f"'{model.name}' has been changed meanwhile",
            cause=f"its latest version is {latest}, and was {version}",
            next_step="run the command again",
        )


@contextmanager
def sole_changer(repository: ModelRepository) -> Iterator[None]:
    """Nobody else who asks for this changes the repository as a whole meanwhile; the lock goes with the process.

    First, what commands that were killed have left is put in order.

    Raises:
        RepositoryError: somebody does.
    """
    with sole_changer_lock(repository):
        with translating_disk_errors(repository.path):
            put_in_order(repository)
        yield
