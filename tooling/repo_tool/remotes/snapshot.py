# SPDX-License-Identifier: Apache-2.0
"""The files of a model of this machine's repository by digest: what is compared with, and sent to, a remote."""

__all__ = ["LocalModel", "snapshot"]

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from repo_tool.errors import RepositoryError
from repo_tool.remotes.manifest import Manifest, RemoteFile, digest_of_model, digest_of_version, version_of
from repo_tool.repository.integrity import require_intact
from repo_tool.repository.layout import ModelDirectory
from repo_tool.repository.provenance import PROVENANCE_FILE, digest_of, read_provenance

EMPTY_FOLDER_FILE = ".gitkeep"  # object stores have no empty folders, and Triton needs that of an ensemble's version


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model's directory as it was when it was read."""

    directory: ModelDirectory
    files: dict[str, RemoteFile]  # by their paths in it

    @property
    def name(self) -> str:
        """The model's name."""
        return self.directory.name

    @property
    def digest(self) -> str:
        """Of all names and contents."""
        return digest_of_model(self.files)

    @property
    def versions(self) -> tuple[int, ...]:
        """Its versions, ascending."""
        return tuple(sorted({version for path in self.files if (version := version_of(path))}))

    def require_intact(self, version: int) -> None:
        """See that a version is as it was published, by the digests that are known here.

        Raises:
            RepositoryError: it is not; the first file is named.
        """
        record = f"{version}/{PROVENANCE_FILE}"
        if record in self.files and self._recorded(version) != self._digests(version, without=record):
            require_intact(self.directory, version)

    def _recorded(self, version: int) -> dict[str, str] | None:
        try:
            return read_provenance(self.directory.provenance_path(version)).get("files") or None
        except RepositoryError:
            return None

    def _digests(self, version: int, *, without: str) -> dict[str, str]:
        files = _of(self.files, version)
        return {path.partition("/")[2]: file.digest for path, file in files.items() if path != without}

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.directory.path / name

    def differing_version(self, manifest: Manifest) -> int | None:
        """A version that is there too and has other files; versions never change, so one of them was made elsewhere."""
        there = manifest.models.get(self.name)
        if there is None:
            return None
        common = sorted(set(self.versions) & set(there.versions))
        return next((each for each in common if _of(self.files, each) != _of(dict(there.files), each)), None)

    def reused_version(self, manifest: Manifest) -> int | None:
        """A version whose number stood for other files there, which have been removed."""
        gone = manifest.removed.get(self.name, {})
        common = sorted(set(self.versions) & set(gone))
        return next((each for each in common if digest_of_version(self.files, each) != gone[each]), None)


def _of(files: dict[str, RemoteFile], version: int) -> dict[str, RemoteFile]:
    return {path: file for path, file in files.items() if version_of(path) == version}


def snapshot(directory: ModelDirectory) -> LocalModel:
    """Read every file of a model.

    Raises:
        RepositoryError: a file vanishes meanwhile, or a version's folder is empty.
    """
    try:
        files = {
            path.relative_to(directory.path).as_posix(): RemoteFile(digest=digest_of(path), size=path.stat().st_size)
            for path in _files(directory)
        }
    except FileNotFoundError as error:
        raise RepositoryError(
            f"'{directory.path}' has been changed meanwhile", cause=str(error), next_step="run the command again"
        ) from error
    found = LocalModel(directory=directory, files=files)
    empty = sorted(set(directory.versions()) - set(found.versions))
    if empty:
        raise RepositoryError(
            f"'{directory.version_path(empty[0])}' is empty",
            cause="where a repository is stored elsewhere, there are no empty folders",
            next_step=f"put an empty file there: touch {directory.version_path(empty[0]) / EMPTY_FOLDER_FILE}",
        )
    return found


def _files(directory: ModelDirectory) -> Iterator[Path]:
    yield from (
        path
        for path in sorted(directory.path.rglob("*"))
        if path.is_file() and "__pycache__" not in path.relative_to(directory.path).parts
    )
