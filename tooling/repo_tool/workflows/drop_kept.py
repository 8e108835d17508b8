# SPDX-License-Identifier: Apache-2.0
"""The room of what was taken out of a repository and is kept beside it, given back before its days are over."""

__all__ = ["drop_kept"]

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import discard
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.locks import changing
from repo_tool.repository.staging import withdrawn_path


def drop_kept(repository: ModelRepository, models: Iterable[str], *, versions: Collection[int] | None = None) -> int:
    """Delete what is kept of models, or of these versions of them alone, and tell how many bytes are free then.

    Files that have another name, in the repository or in what stays kept, give no room.

    Raises:
        RepositoryError: some of it cannot be deleted.
    """
    with changing(repository):  # what a change that is under way has put there, it may have to take back
        going = [folder for name in models for folder in _kept(repository, name, versions)]
        freed = _room_of(going)
        for folder in going:
            discard(folder)
            with suppress(OSError):  # it holds more
                folder.parent.rmdir()
                withdrawn_path(repository).rmdir()
    left = [folder for folder in going if os.path.lexists(folder)]
    if left:
        raise RepositoryError(
            f"'{left[0]}' cannot be deleted",
            cause="its owner or its permissions do not allow it",
            next_step="delete it as its owner; what was to be removed is no longer in the repository",
        )
    return freed


def _kept(repository: ModelRepository, name: str, versions: Collection[int] | None) -> Iterator[Path]:
    """The folders that go; the whole copy of a model where no version of it would be left."""
    for place in sorted(withdrawn_path(repository).glob(f"*/{name}")):
        kept = ModelDirectory(place)
        there = kept.versions()
        if versions is None or set(there) <= set(versions):
            yield place
        else:
            yield from (kept.version_path(version) for version in there if version in versions)


def _room_of(folders: Iterable[Path]) -> int:
    """The bytes of the files that have no name elsewhere."""
    found = [path.lstat() for folder in folders for path in folder.rglob("*") if path.is_file()]
    names = Counter((status.st_dev, status.st_ino) for status in found)
    held = {(status.st_dev, status.st_ino): status for status in found}
    return sum(status.st_size for key, status in held.items() if status.st_nlink <= names[key])
