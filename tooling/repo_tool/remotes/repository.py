# SPDX-License-Identifier: Apache-2.0
"""A model repository at a remote: where its files lie there, and how its pointer is switched."""

__all__ = ["RemoteRepository"]

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from repo_tool.errors import RepositoryError
from repo_tool.remotes.base import PlaceTakenError, Remote
from repo_tool.remotes.manifest import Manifest, version_of

_ATTEMPTS = 50  # each lost one means that another pusher has got on


@dataclass(frozen=True, slots=True)
class RemoteRepository:
    """Triton's layout in the folder of its name; the pointer and what versions share, by digest, beside it."""

    remote: Remote

    def file(self, model: str, path: str) -> str:
        """The place of a model's file where Triton reads it."""
        return f"{self.remote.name}/{model}/{path}"

    def blob(self, digest: str) -> str:
        """The place of the same bytes for whoever pulls, when those that Triton reads may already be others."""
        return f"{self._beside}/blobs/{digest.removeprefix('sha256:')}"

    def source(self, model: str, path: str, digest: str) -> str:
        """Where a file of the manifest is fetched from: versions never change, all else lies by its digest."""
        return self.blob(digest) if version_of(path) is None else self.file(model, path)

    def manifest(self) -> Manifest:
        """What is there; nothing where nobody has pushed yet.

        Raises:
            RepositoryError: it is damaged, of a newer repo-tool, or names what no repository can hold.
        """
        return self._read()[0]

    def existing_manifest(self) -> Manifest:
        """What is there.

        Raises:
            RepositoryError: nothing is, or it cannot be read.
        """
        manifest, tag = self._read()
        if tag:
            return manifest
        raise RepositoryError(
            f"nothing has been pushed to '{self.remote.url}'",
            cause=f"there is no '{self._pointer}'",
            next_step="check the address, or push to it: repo-tool push " + self.remote.url,
        )

    def change(self, change: Callable[[Manifest], Manifest]) -> Manifest:
        """Switch the pointer to what ``change`` makes of it, again as often as somebody else is first.

        Raises:
            RepositoryError: ``change`` refuses it, or others are always first.
        """
        for _ in range(_ATTEMPTS):
            before, tag = self._read()
            after = change(before)
            if after == before:
                return after
            try:
                self.remote.replace(self._pointer, after.to_bytes(), tag=tag)
            except PlaceTakenError:
                continue
            return after
        raise RepositoryError(
            f"'{self.remote.url}' is changed by others all the time",
            cause=f"its pointer was another one in each of {_ATTEMPTS} attempts",
            next_step="run the command again",
        )

    def remove_files(self, model: str, paths: Iterable[str]) -> None:
        """Remove files of a model, its configuration first, so that Triton refuses it rather than loads half of it."""
        first = sorted(paths, key=lambda path: (path != "config.pbtxt", path))
        self.remote.remove([self.file(model, path) for path in first])

    @property
    def _beside(self) -> str:
        return f".{self.remote.name}.repo-tool"

    @property
    def _pointer(self) -> str:
        return f"{self._beside}/manifest.json"

    def _read(self) -> tuple[Manifest, str]:
        stored = self.remote.read(self._pointer)
        if stored is None:
            return Manifest(), ""
        try:
            return Manifest.from_bytes(stored.content), stored.tag
        except (ValueError, RecursionError) as error:
            raise RepositoryError(
                f"the pointer of '{self.remote.url}' cannot be read",
                cause=f"'{self._pointer}': {error}",
                next_step="install a newer repo-tool, or remove it and push again",
            ) from error
