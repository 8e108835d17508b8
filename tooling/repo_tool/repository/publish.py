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
    "withdraw_together",
]

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from repo_tool.errors import ConfigError, RepositoryError, VersionExistsError
from repo_tool.repository.disk import (
    fit_onto,
    link_tree,
    require_fit,
    require_inside,
    require_replaceable,
    sync,
    sync_folder,
    sync_folders,
    translating_disk_errors,
    write_synced,
)
from repo_tool.repository.integrity import Marks, marks_of, problems
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.locks import changing, sole_changer_lock
from repo_tool.repository.moves import Change, Move, Write, fingerprint, make
from repo_tool.repository.provenance import digest_of_bytes
from repo_tool.repository.staging import WITHDRAWN_FOR_DAYS, Staging, put_in_order, staging, withdrawn_folder
from repo_tool.repository.stamps import provenance_digest, restamped, stamped_anew


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedModel:
    """A model directory in the staging, of which ``version`` is to be published, or from which versions are to go.

    What only the published one has, but for the versions ``removed``, is put beside what is staged.
    """

    directory: ModelDirectory
    version: int | None = None
    removed: tuple[int, ...] = ()  # kept with the whole model as it was, as ``withdraw`` keeps it
    digested: Marks | None = None  # of its files, from before their digests were recorded: no need to read them again


def next_version(model: ModelDirectory, *, wanted: int | None = None) -> int:
    """The version to publish: ``wanted``, or one more than the highest that the model has ever had.

    Raises:
        VersionExistsError: the wanted one is taken, or was.
        RepositoryError: a file or a link stands where the model's folder belongs.
    """
    _require_own_folder(model)
    versions = model.versions()
    free = max(*versions, Journal(ModelRepository(model.path.parent)).highest_version(model.name), 0) + 1
    if wanted is None or wanted >= free:
        return wanted or free
    if wanted in versions:
        fact = f"version {wanted} of '{model.name}' exists"
        cause = f"'{model.version_path(wanted)}' is there, and a published version is never changed"
    elif wanted < max(versions, default=0):
        fact = f"version {wanted} of '{model.name}' would lie below version {versions[-1]}"
        cause = "one config.pbtxt serves all versions, and the newest is the one that is loaded"
    else:
        fact = f"version {wanted} of '{model.name}' was there once"
        cause = "a number means the same bytes for ever, and the journal tells of that one"
    raise VersionExistsError(fact, cause=cause, next_step=f"run the command again; without --version it gets {free}")


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
    action: str = "publish",
    entries: Sequence[Entry] | None = None,
    leaving: Sequence[ModelDirectory] = (),
) -> int:
    """Make the staged models visible, each whole and at once, and tell the last one's version; Ctrl-C waits for all.

    A further version comes with its ``config.pbtxt``: the staged folder gets all that only the published one has, and
    both change places. Where the file system cannot do that, the model is not there for a moment. The configurations
    are stamped, and the journal tells of it, within the same change.

    Args:
        staged: Models in one staging.
        repository: Where they are to appear.
        renumber: A version that somebody else published meanwhile gives way to the next free one, the same for all.
        require: Is asked once nobody else can publish, and its errors end it.
        action: The journal's word for it.
        entries: What the journal tells; None: that this was done to each version that is published or removed.
        leaving: Models that are withdrawn within the same change.

    Raises:
        VersionExistsError: somebody else published the version meanwhile, or another one had its number; the very
            version that was removed comes back.
        RepositoryError: something else stands where a file or folder belongs, changes at this moment, or is not what
            the provenance of the version lists.
        NoSpaceError: the disk is full.
    """
    stage = staged[0].directory.path.parents[1]
    with translating_disk_errors(repository.path):
        _bring_to_disk(staged, stage)
        linked = {model.directory.name: _link_earlier(model, repository) for model in staged}
    with changing(repository):
        _make_folder(repository.path)
        require()
        for name, earlier in linked.items():
            _drop_changed(earlier, ModelRepository(stage / "repository").model(name), repository.model(name))
        if renumber:
            staged = _renumbered(staged, repository)
        for model in staged:
            _require_room(model, repository.model(model.directory.name), linked[model.directory.name])
        moves = [_made_ready(model, repository, linked[model.directory.name]) for model in staged]
        told = [entry for model in staged for entry in _entries(model, action)] if entries is None else entries
        gone = [_withdrawal(model, action) for model in leaving]
        change = Change(moves=(*moves, *(move for move, _ in gone)), entries=(*told, *(entry for _, entry in gone)))
        make(change, stage, repository)
        return staged[-1].version or max(repository.model(staged[-1].directory.name).versions(), default=0)


def _bring_to_disk(staged: Sequence[StagedModel], stage: Path) -> None:
    """All that takes long, while others may publish: what is staged is as recorded, and outlasts a power cut."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        compared = [pool.submit(_require_as_recorded, model) for model in staged]
        for model in staged:
            sync(model.directory.path)
        for folder in (stage / "repository", *stage.parents[:3]):
            sync_folder(folder)
        for each in compared:
            each.result()


def _require_as_recorded(staged: StagedModel) -> None:
    if staged.version is None or staged.digested == marks_of(staged.directory.version_path(staged.version)):
        return
    found = problems(staged.directory, staged.version)
    if found:
        raise RepositoryError(
            f"version {staged.version} of '{staged.directory.name}' changed while it was made ready",
            cause=f"'{found[0].path}' {found[0].words}",
            next_step="run the command again; should it happen again, look at the disk",
        )


def _link_earlier(staged: StagedModel, repository: ModelRepository) -> set[str]:
    """Put the versions that there are beside the new one, and on the disk, while others may publish; tell which."""
    target, linked = repository.model(staged.directory.name), set()
    there = [] if target.path.is_symlink() else target.versions()
    for version in there:
        ours = staged.directory.version_path(version)
        if version not in staged.removed and not os.path.lexists(ours):
            linked.add(ours.name)
            with suppress(FileNotFoundError):  # another command's change has put it elsewhere: it is looked at again
                link_tree(target.version_path(version), ours)
                sync_folders(ours)
    return linked


def _drop_changed(linked: set[str], staged: ModelDirectory, target: ModelDirectory) -> None:
    """Leave of ``linked`` only what is as it is there now; the rest is put beside once more."""
    for name in tuple(linked):
        ours, theirs = staged.path / name, target.path / name
        if theirs.is_symlink() or not theirs.is_dir() or _traits(ours) != _traits(theirs):
            shutil.rmtree(ours, ignore_errors=True)
            linked.remove(name)


def _traits(folder: Path) -> tuple[str, int, int] | None:
    if not folder.is_dir():
        return None
    status = folder.stat()
    return fingerprint(folder), status.st_mode, status.st_mtime_ns


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def _require_room(staged: StagedModel, target: ModelDirectory, linked: Collection[str]) -> None:
    _require_own_folder(target)
    if staged.version is not None and not _comes_back(staged.directory, staged.version, target):
        next_version(target, wanted=staged.version)
    if target.path.exists():
        require_fit(staged.directory.path, target.path, settled=linked)


def _comes_back(staged: ModelDirectory, version: int, target: ModelDirectory) -> bool:
    """Whether the version is newer than all that are there, and the very one that was there under its number."""
    if version <= max(target.versions(), default=0):
        return False
    told = Journal(ModelRepository(target.path.parent)).entries_of(target.name)
    highest = max((each.version or 0 for each in told), default=0)
    digests = {each.digest for each in told if each.version == version and each.digest}
    return version == highest and digests == {provenance_digest(staged, version)}


def _made_ready(staged: StagedModel, repository: ModelRepository, linked: Collection[str]) -> Move:
    ready, target = staged.directory, repository.model(staged.directory.name)
    seen, gone = fingerprint(target.path), [str(version) for version in staged.removed]
    if target.path.exists():
        fit_onto(ready.path, target.path, without=gone, fresh=["config.pbtxt"], settled=linked)
    for path in (ready.config_path, *map(ready.variant_path, ready.variants())):
        _stamp(path, ready)
    sync_folders(ready.path, but=linked)
    kept = _place_for_withdrawn(repository, target.name) if staged.removed else ""
    return Move(model=target.name, seen=seen, made=fingerprint(ready.path), inode=ready.path.stat().st_ino, kept=kept)


def _stamp(path: Path, model: ModelDirectory) -> None:
    """Stamp a configuration in the staging; what cannot be read is for the rules to judge."""
    with suppress(FileNotFoundError, UnicodeDecodeError, ConfigError):
        text = path.read_bytes().decode()
        new = restamped(text, model)
        if new != text:
            mode = path.stat().st_mode
            write_synced(path, new.encode())  # never through a link to the published file
            path.chmod(mode)


def _entries(staged: StagedModel, action: str) -> Iterator[Entry]:
    model, version = staged.directory, staged.version
    if version is not None:
        yield Entry(action=action, model=model.name, version=version, digest=provenance_digest(model, version) or "")
    yield from (Entry(action="remove", model=model.name, version=removed) for removed in staged.removed)


def _renumbered(staged: Sequence[StagedModel], repository: ModelRepository) -> list[StagedModel]:
    free = max(next_version(repository.model(model.directory.name)) for model in staged)
    for model in staged:
        if model.version not in (None, free):
            model.directory.version_path(model.version).rename(model.directory.version_path(free))
    return [replace(model, version=free) for model in staged]


def replace_config(
    staged: ModelDirectory, repository: ModelRepository, *, expected: bytes | None = None, action: str = "configure"
) -> None:
    """Let a published model have the ``config.pbtxt`` of the staged one of the same name, at once or not at all.

    Args:
        staged: The staged one.
        repository: Where the published one is.
        expected: What its file must still say; None: anything, and it need not be there.
        action: The journal's word for it.

    Raises:
        RepositoryError: the file is a link, lies outside of the repository, or has changed meanwhile.
        NoSpaceError: the disk is full.
    """
    target, stage = repository.model(staged.name), staged.path.parents[1]
    with changing(repository):
        require_inside(target.path, repository.path)
        require_replaceable(target.config_path, expected=expected)
        old = target.config_path.read_bytes() if target.config_path.exists() else b""
        texts = {f"{staged.name}/config.pbtxt": (old, staged.config_path.read_bytes())}
        writes = _drafts(repository, texts, {}, stage / "work")
        make(Change(writes=writes, entries=(Entry(action=action, model=staged.name),)), stage, repository)


def rewrite(
    repository: ModelRepository,
    texts: Mapping[str, tuple[str, str]],
    *,
    beside: Callable[[], Mapping[str, tuple[str, str]]] = dict,
    folders: Iterable[str] = (),
    require: Callable[[], None] = lambda: None,
    entries: Sequence[Entry] | None = None,
) -> None:
    """Give files of the repository other words, all of them or none, and make further folders.

    Configurations that are stamped are stamped anew, so that the stamps tell of the versions that they load now.

    Args:
        repository: It.
        texts: By the file's path in it: what must stand there, and what is to stand there.
        beside: Tells the same of files of our folder beside it, and is asked after ``require``; "" is a file that is
            not there.
        folders: Paths of folders, each of which gets an empty ``.gitkeep``.
        require: Is asked once nobody else can change the repository, and its errors end it.
        entries: What the journal tells; None: that each model whose files these are was configured.

    Raises:
        RepositoryError: a file is a link, lies outside of the repository, has changed meanwhile, or cannot be written.
        NoSpaceError: the disk is full.
    """
    made = [repository.path / name for name in folders]
    with staging(repository) as stage, changing(repository):
        require()
        for place in (*((repository.path / name).parent for name in texts), *made):
            require_inside(place, repository.path)
        replaced = {name: (old.encode(), new.encode()) for name, (old, new) in texts.items()}
        for name, (old, _) in replaced.items():
            require_replaceable(repository.path / name, expected=old)
        writes = _drafts(repository, replaced, beside(), stage.work_path)
        told = _configured(texts) if entries is None else entries
        make(Change(writes=writes, entries=tuple(told)), stage.path, repository)
        for folder in made:
            folder.mkdir(exist_ok=True)
            (folder / ".gitkeep").touch()
            sync_folder(folder)


def _configured(names: Iterable[str]) -> list[Entry]:
    models = dict.fromkeys(Path(name).parts[0] for name in names)
    return [Entry(action="configure", model=model) for model in models]


def _drafts(
    repository: ModelRepository,
    texts: Mapping[str, tuple[bytes, bytes]],
    beside: Mapping[str, tuple[str, str]],
    room: Path,
) -> tuple[Write, ...]:
    """What is to be written, with its drafts on the disk in ``room``."""
    own = [(name, False, old, _stamped_anew(repository, name, old, new)) for name, (old, new) in texts.items()]
    others = [(name, True, old.encode(), new.encode()) for name, (old, new) in beside.items()]
    return tuple(
        Write(
            path=name,
            is_beside=is_beside,
            seen=digest_of_bytes(old) if old else "",
            new=_written(room / f"{index}.new", new),
            old=_written(room / f"{index}.old", old) if old else "",
        )
        for index, (name, is_beside, old, new) in enumerate([*own, *others])
    )


def _written(path: Path, words: bytes) -> str:
    path.write_bytes(words)
    sync(path)
    return path.name


def _stamped_anew(repository: ModelRepository, name: str, old: bytes, new: bytes) -> bytes:
    """A configuration with the stamps that are due; any other file as it is."""
    if not name.endswith(".pbtxt"):
        return new
    try:
        return stamped_anew(old.decode(), new.decode(), repository.model(Path(name).parts[0])).encode()
    except UnicodeDecodeError:  # for the rules to judge
        return new


def withdraw(
    model: ModelDirectory, stage: Staging, *, expected_version: int | None = None, action: str = "withdraw"
) -> Path:
    """Take a model out of its repository by one rename, and tell where it lies now.

    It is kept beside the repository for ``WITHDRAWN_FOR_DAYS``.

    Args:
        model: It.
        stage: Where the change is noted.
        expected_version: The version that must still be its latest; None: any, or none at all.
        action: The journal's word for it.

    Raises:
        RepositoryError: another version is its latest, or not allowed to write.
    """
    repository = ModelRepository(model.path.parent)
    [kept] = withdraw_together(repository, {model.name: expected_version}, stage, action=action)
    return kept


def withdraw_together(
    repository: ModelRepository,
    models: Mapping[str, int | None],
    stage: Staging,
    *,
    require: Callable[[], None] = lambda: None,
    action: str = "withdraw",
) -> tuple[Path, ...]:
    """The same with several models, by the version that must be the latest of each: all of them go, or none.

    Raises:
        RepositoryError: another version is the latest of one of them, or not allowed to write; what ``require`` raises
            once nobody else can change the repository.
    """
    with changing(repository):
        require()
        for name, version in models.items():
            repository.model(name).path.lstat()  # another command may have been first
            _require_latest(repository.model(name), version)
        gone = [_withdrawal(repository.model(name), action) for name in models]
        change = Change(moves=tuple(move for move, _ in gone), entries=tuple(entry for _, entry in gone))
        make(change, stage.path, repository)
    return tuple(repository.private_path / move.kept for move, _ in gone)


def _withdrawal(model: ModelDirectory, action: str) -> tuple[Move, Entry]:
    versions, kept = model.versions(), _place_for_withdrawn(ModelRepository(model.path.parent), model.name)
    entry = Entry(
        action=action, model=model.name, version=max(versions, default=None), details={"versions": list(versions)}
    )
    return Move(model=model.name, seen=fingerprint(model.path), kept=kept), entry


def _place_for_withdrawn(repository: ModelRepository, name: str) -> str:
    """A new place for what goes, from our folder beside the repository."""
    return (withdrawn_folder(repository) / name).relative_to(repository.private_path).as_posix()


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
