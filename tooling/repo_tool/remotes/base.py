# SPDX-License-Identifier: Apache-2.0
"""What a place must be able to do so that repositories can be pushed to it and pulled from it."""

__all__ = ["PlaceTakenError", "Remote", "Stored", "open_remote"]

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelRepository


class PlaceTakenError(Exception):
    """What is stored at a place is not what was seen there: somebody else has written meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A small file's content, and the tag of this content, by which a change of it is noticed."""

    content: bytes
    tag: str


class Remote(Protocol):
    """Stores files by their place: names parted by ``/``, relative to the folder that holds the repository's folder.

    All methods but ``read`` and ``replace`` may be called from several threads at once.
    """

    @property
    def url(self) -> str:
        """The repository's own address, as it was given."""
        ...

    @property
    def name(self) -> str:
        """The last part of the address: the first part of the place of each file of the repository."""
        ...

    @property
    def identity(self) -> str:
        """The same for each way in which the address can be given."""
        ...

    @property
    def at_once(self) -> int:
        """How many files are best sent at the same time."""
        ...

    def require_apart(self, repository: ModelRepository) -> None:
        """See that what is written here changes no repository that is published to.

        Raises:
            RepositoryError: it would change ``repository``, or another one.
        """
        ...

    def read(self, place: str) -> Stored | None:
        """A small file whole; None where there is none."""
        ...

    def replace(self, place: str, content: bytes, *, tag: str) -> None:
        """Write a small file if what is stored has this ``tag``; "" where nothing is to be there.

        Raises:
            PlaceTakenError: it has another one.
        """
        ...

    def write(self, place: str, content: bytes) -> None:
        """Write a small file at once, whatever is there."""
        ...

    def digest(self, place: str) -> str | None:
        """``sha256:`` and the hex digest of what is stored; "" where nobody knows it, None where nothing is."""
        ...

    def upload(self, place: str, source: Path, digest: str, sent: Callable[[int], None]) -> None:
        """Store a file, visible when it is whole; ``sent`` is told of each number of bytes that is there.

        Raises:
            RepositoryError: what arrived has another digest.
        """
        ...

    def download(self, place: str, target: Path, received: Callable[[int], None]) -> None:
        """Write what is stored to ``target``, whose folder is there.

        Raises:
            RepositoryError: nothing is stored there.
        """
        ...

    def places(self, folder: str) -> Iterator[str]:
        """Every place below a folder."""
        ...

    def remove(self, places: Iterable[str]) -> None:
        """Remove what is stored, and folders that are empty then."""
        ...


def open_remote(address: str, *, endpoint_url: str | None = None) -> Remote:
    """The remote at ``s3://BUCKET/FOLDER`` or at a folder's path; nothing is asked of it yet.

    Raises:
        RepositoryError: an address of another kind.
        MissingExtraError: boto3 is needed and not installed.
    """
    if address.startswith("s3://"):
        from repo_tool.remotes.s3 import S3Remote

        return S3Remote.at(address, endpoint_url=endpoint_url)
    if "://" in address:
        raise RepositoryError(
            f"'{address}' is no place that a repository can be pushed to",
            cause="it is neither s3://BUCKET/FOLDER nor the path of a folder",
            next_step="mount it, or bring the folder there with rsync",
        )
    if endpoint_url is not None:
        raise RepositoryError(
            f"'{address}' is a folder, and has no endpoint", next_step="leave --endpoint-url out, or give an s3:// URL"
        )
    from repo_tool.remotes.folder import FolderRemote

    return FolderRemote.at(address)
