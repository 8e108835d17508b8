# SPDX-License-Identifier: Apache-2.0
"""Files and folders that change at once or not at all, and stay so when the power goes."""

__all__ = [
    "NOT_WRITABLE",
    "discard",
    "exchange",
    "fit_onto",
    "link_tree",
    "replace_file",
    "require_fit",
    "require_inside",
    "require_replaceable",
    "sync",
    "sync_folder",
    "sync_folders",
    "translating_disk_errors",
    "translating_misfits",
    "write_synced",
]

import ctypes
import errno
import filecmp
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from repo_tool.errors import NoSpaceError, RepositoryError

_FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_FAILED = (errno.EIO, errno.EUCLEAN)
_ANOTHER_MOUNT = (errno.EXDEV, errno.EBUSY)
_MISFIT = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ELOOP)
_NOT_KNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)  # the kernel or the file system has no exchange
_CURRENT_FOLDER = -100  # AT_FDCWD of fcntl.h
_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h


@contextmanager
def translating_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full, read-only or failing disk into an error that says so.

    Raises:
        NoSpaceError: no space, or the quota is used up.
        RepositoryError: not allowed to write, the disk fails, or the file system has no locks.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FAILED:
            raise RepositoryError(
                f"the disk of '{path}' does not read or write as it should",
                cause=str(error),
                next_step="look what the kernel says of it (dmesg), then run repo-tool fsck and the command again",
            ) from error
        if error.errno in _FULL:
            raise NoSpaceError(
                f"no space left to publish into '{path}'",
                cause=str(error),
                next_step="free some space; the repository is as it was before",
            ) from error
        if error.errno in NOT_WRITABLE:
            raise RepositoryError(
                f"'{path}' cannot be written",
                cause=str(error),
                next_step="check the owner and permissions of the repository and its parent folder",
            ) from error
        if error.errno == errno.ENOLCK:
            raise RepositoryError(
                f"'{path}' cannot be locked",
                cause=str(error),
                next_step="let its file system allow locks (flock), or use a folder on another one",
            ) from error
        raise


@contextmanager
def translating_misfits(path: Path) -> Iterator[None]:
    """Turn what lies in the way of a change, or is a mount, into an error that names it.

    Raises:
        RepositoryError: a file where a folder should be, something gone or there meanwhile, or a mount in it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _ANOTHER_MOUNT:
            raise RepositoryError(
                f"a part of '{path}' is a mount of its own",
                cause=f"{error}; models appear by a rename, which cannot cross file systems",
                next_step="mount the whole folder that the repository lies in instead",
            ) from error
        if error.errno in _MISFIT:
            raise RepositoryError(
                f"'{path}' holds something else than it should",
                cause=str(error),
                next_step="look at the files that are named, and run the command again",
            ) from error
        raise


def require_inside(path: Path, folder: Path) -> None:
    """See that no link leads from ``folder`` to a ``path`` outside of it.

    Raises:
        RepositoryError: one does.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RepositoryError(
            f"'{path}' lies outside of '{folder}'",
            cause=f"a link leads to '{path.resolve()}', which others may use too",
            next_step="change it there, or put a copy in the place of the link",
        )


def require_replaceable(path: Path, *, expected: bytes | None = None) -> None:
    """See that a file can give way to another one; without ``expected`` it need not be there.

    Raises:
        RepositoryError: it is a link, no file, gone, or says something else than ``expected``.
    """
    if path.is_symlink():
        raise RepositoryError(
            f"'{path}' is a link",
            cause="to replace it would part it from the file that it leads to",
            next_step=f"change that file: {path.resolve()}",
        )
    if not path.exists():
        if expected is None:
            return
        raise RepositoryError(f"'{path}' is gone", cause="it was there when it was read", next_step="look who moved it")
    if not path.is_file():
        raise RepositoryError(f"'{path}' is no file", cause="one is to be written there", next_step="move it away")
    if expected is not None and path.read_bytes() != expected:
        raise RepositoryError(
            f"'{path}' has been changed meanwhile", cause="it is not what was read", next_step="run the command again"
        )


def replace_file(path: Path, draft: Path, *, expected: bytes | None = None) -> None:
    """Let ``draft`` take the place of ``path`` at once, with the mode of the file that goes.

    Raises:
        RepositoryError: ``path`` is a link, no file, gone, or says something else than ``expected``.
    """
    require_replaceable(path, expected=expected)
    if path.exists():
        shutil.copymode(path, draft)
    sync(draft)
    draft.replace(path)
    sync_folder(path.parent)


def require_fit(draft: Path, held: Path, *, settled: Collection[str] = ()) -> None:
    """See that each file and folder of ``draft`` but the ``settled`` ones can take the place of its like in ``held``.

    Raises:
        RepositoryError: there, one of them is a link or of another kind.
    """
    for entry in draft.iterdir():
        there = held / entry.name
        if entry.name in settled:
            continue
        if entry.is_dir() and there.is_dir() and not there.is_symlink():
            require_fit(entry, there)
        elif entry.is_dir() and os.path.lexists(there):
            raise RepositoryError(
                f"'{there}' is no folder of its own",
                cause=f"a folder '{entry.name}' belongs there, and what is there is a file or a link",
                next_step="move it away",
            )
        else:
            require_replaceable(there)


def fit_onto(
    draft: Path,
    held: Path,
    *,
    without: Collection[str] = (),
    fresh: Collection[str] = (),
    settled: Collection[str] = (),
) -> bool:
    """Complete ``draft`` by all that only ``held`` has, with the modes it has there; tell whether both say the same.

    What says the same in both is the same file afterwards, with its time, for Triton loads all versions of a model
    anew once a file that they share has another time.

    Args:
        draft: The one that takes the place.
        held: The one that is there.
        without: Names in ``held`` that are not to come.
        fresh: Names of files in ``draft`` that stay what they are, whatever they say.
        settled: Names of folders that are known to be the same in both.
    """
    is_same = {entry.name for entry in draft.iterdir()} <= {entry.name for entry in held.iterdir()}
    for entry in held.iterdir():
        ours = draft / entry.name
        if entry.name in settled:
            continue
        if not os.path.lexists(ours):
            is_same &= entry.name not in without
            if entry.name not in without:
                link_tree(entry, ours)
        elif ours.is_dir():
            is_same &= fit_onto(ours, entry)
        elif entry.name not in fresh and _say_the_same(ours, entry):
            _be_the_same(ours, entry)
        else:
            is_same = False
            shutil.copymode(entry, ours)
    _copy_owner(held, draft)
    (shutil.copystat if is_same else shutil.copymode)(held, draft)
    return is_same


def _say_the_same(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    return one.stat().st_size == other.stat().st_size and filecmp.cmp(one, other, shallow=False)


def _be_the_same(draft: Path, held: Path) -> None:
    if draft.samefile(held):  # a rename of one name of a file to another one does nothing, and leaves both
        return
    other_name = draft.with_name(f"{draft.name}.held")
    _link_or_copy(held, other_name)
    other_name.replace(draft)


def link_tree(source: Path, target: Path) -> None:
    """A second name for each file of ``source``, or a copy where that cannot be; links and times stay as they are."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir()
        for entry in source.iterdir():
            link_tree(entry, target / entry.name)
        _copy_owner(source, target)
        shutil.copystat(source, target)  # Triton loads a version anew whose folder has another time
    else:
        _link_or_copy(source, target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in _FULL:
            raise
        shutil.copy2(source, target)  # another's file, too many names, or a file system that has one name a file
        sync(target)


def _copy_owner(source: Path, target: Path) -> None:
    status = source.stat()
    for user, group in ((-1, status.st_gid), (status.st_uid, -1)):
        with suppress(PermissionError):  # only root gives files away
            os.chown(target, user, group)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change places at once; False where this machine cannot, and nothing has happened."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library without it
        return False
    if rename(_CURRENT_FOLDER, os.fsencode(one), _CURRENT_FOLDER, os.fsencode(other), ctypes.c_uint(_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_KNOWN:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def discard(folder: Path) -> None:
    """Remove a folder, those in it too that may not be written; what cannot be removed stays."""
    for place, names, _ in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with suppress(OSError):
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file at once or not at all."""
    draft = path.with_name(path.name + ".draft")
    draft.write_bytes(content)
    sync(draft)
    draft.replace(path)
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """Bring a file, or every file and folder below a folder, to the disk, so that a power cut cannot leave holes."""
    if path.is_symlink():
        return
    if path.is_file():
        _sync_open(path, os.O_RDONLY)
    elif path.is_dir():
        for entry in path.iterdir():
            sync(entry)
        sync_folder(path)


def sync_folders(folder: Path, *, but: Collection[str] = ()) -> None:
    """Bring the names in a folder, and in all below it but for those folders in it, to the disk.

    Once all are made: the first waits for the file system's journal, and those after it find that it has been written.
    """
    for place, names, _ in os.walk(folder):
        if place == str(folder):
            names[:] = [name for name in names if name not in but]
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    _sync_open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync_open(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
