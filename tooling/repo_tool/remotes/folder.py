# SPDX-License-Identifier: Apache-2.0
"""A repository in a plain folder: a mounted disk, or one that rsync carries on."""

__all__ = ["FolderRemote"]

import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from repo_tool.errors import RepositoryError
from repo_tool.remotes.base import PlaceTakenError, Stored
from repo_tool.repository.disk import require_inside, sync_folder, translating_disk_errors, translating_misfits
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digest_of, digest_of_bytes

_CHUNK = 1 << 20
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRemote:
    """Files appear by a rename, each on the disk before the next step is taken."""

    url: str
    path: Path
    at_once: int = 2

    @classmethod
    def at(cls, address: str) -> "FolderRemote":
        """The one at a path, which need not be there yet.

        Raises:
            RepositoryError: the path has no name.
        """
        path = Path(address).expanduser().resolve()
        if not path.name:
            raise RepositoryError(f"'{address}' is no folder of its own", next_step=f"name one in it: {path}models")
        return cls(url=address, path=path)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def identity(self) -> str:
        """The folder's real path."""
        return str(self.path)

    def require_apart(self, repository: ModelRepository) -> None:
        """See that the folder, and ours beside it, are no part of a repository that is published to.

        Raises:
            RepositoryError: it is, contains or lies in ``repository``, or another one's journal lies beside it.
        """
        for theirs in (repository.path.resolve(), repository.private_path):
            for ours in (self.path, self._beside):
                if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
                    raise RepositoryError(
                        f"'{self.url}' is no place of its own",
                        cause=f"'{ours}' and '{theirs}' are one, or one lies in the other",
                        next_step="push to a folder that is apart from the repository",
                    )
        journal = ModelRepository(self.path).journal_path
        if journal.exists():
            raise RepositoryError(
                f"somebody publishes models to '{self.url}'",
                cause=f"there is a journal: '{journal}'",
                next_step=f"push to another folder, and let them get it there: repo-tool pull FOLDER -r {self.path}",
            )

    def read(self, place: str) -> Stored | None:
        """A small file whole; None where there is none."""
        try:
            content = self._at(place).read_bytes()
        except FileNotFoundError:
            return None
        return Stored(content=content, tag=digest_of_bytes(content))

    def replace(self, place: str, content: bytes, *, tag: str) -> None:
        """Write a small file if what is stored has this ``tag``, under a lock that others take too.

        Raises:
            PlaceTakenError: it has another one.
        """
        with self._locked(place):
            there = self.read(place)
            if (there.tag if there else "") != tag:
                raise PlaceTakenError(place)
            self.write(place, content)
            self._drop_old_drafts()

    def write(self, place: str, content: bytes) -> None:
        """Write a small file at once, whatever is there."""
        with self._draft(place) as draft:
            draft.write(content)

    def digest(self, place: str) -> str | None:
        """The digest of what lies there, which is read for it."""
        path = self._at(place)
        return digest_of(path) if path.is_file() else None

    def upload(self, place: str, source: Path, digest: str, sent: Callable[[int], None]) -> None:
        """Copy a file.

        Raises:
            RepositoryError: what arrived has another digest.
        """
        found = hashlib.sha256()
        with source.open("rb") as stream, self._draft(place) as draft:
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
                draft.write(chunk)
                sent(len(chunk))
            if f"sha256:{found.hexdigest()}" != digest:
                raise RepositoryError(
                    f"'{source}' has been changed meanwhile",
                    cause="it is not what it was when the push began",
                    next_step="run the command again",
                )

    def download(self, place: str, target: Path, received: Callable[[int], None]) -> None:
        """Copy what lies there.

        Raises:
            RepositoryError: nothing does.
        """
        try:
            shutil.copyfile(self._at(place), target)
        except FileNotFoundError as error:
            raise RepositoryError(
                f"'{self._at(place)}' is gone",
                cause="it was there when the repository was read",
                next_step="run the command again; should it still be missing, push the model again",
            ) from error
        received(target.stat().st_size)

    def places(self, folder: str) -> Iterator[str]:
        """Every file below a folder."""
        for place, _, files in os.walk(self._at(folder)):
            for name in sorted(files):
                yield Path(place, name).relative_to(self.path.parent).as_posix()

    def remove(self, places: Iterable[str]) -> None:
        """Remove files, and folders that are empty then, but never the repository's own."""
        for place in places:
            path = self._at(place)
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder in (self.path, self.path.parent):
                    break
                with suppress(OSError):  # it holds more
                    folder.rmdir()

    @property
    def _incoming(self) -> Path:
        return self._beside / "incoming"

    @property
    def _beside(self) -> Path:
        return self.path.parent / f".{self.name}.repo-tool"

    def _at(self, place: str) -> Path:
        """Where it lies, in one of the two folders.

        Raises:
            RepositoryError: the place, or a link on the way to it, leads out of both.
        """
        path = self.path.parent / place
        require_inside(path, self.path if path.is_relative_to(self.path) else self._beside)
        return path

    def _drop_old_drafts(self) -> None:
        """What killed pushes have left; whose they are cannot be told from another machine, but how old they are."""
        for draft in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # it has arrived meanwhile
                if draft.stat().st_mtime < time.time() - _DAY_S:
                    draft.unlink()

    @contextmanager
    def _draft(self, place: str) -> Iterator[BinaryIO]:
        """A file that takes its place when the block is over, and is gone when it fails."""
        path = self._at(place)
        with translating_disk_errors(self.path), translating_misfits(self.path):
            for folder in (path.parent, self._incoming):
                _make(folder)
            draft = self._incoming / f"{os.getpid()}-{secrets.token_hex(4)}"
            try:
                with draft.open("wb") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                draft.replace(path)
                sync_folder(path.parent)
            finally:
                draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, place: str) -> Iterator[None]:
        path = self._at(f"{place}.lock")
        with translating_disk_errors(self.path), translating_misfits(self.path):
            _make(path.parent)
            with path.open("w") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                yield


def _make(folder: Path) -> None:
    """Make a folder and those above it, each of whose names is on the disk then."""
    new = [each for each in (folder, *folder.parents) if not each.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in new:
        sync_folder(each.parent)
