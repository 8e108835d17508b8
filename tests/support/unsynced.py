# SPDX-License-Identifier: Apache-2.0
"""What a power cut could take away, read from the calls that a program made on its way to the disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from support.faulty_disk import Touch

_WRITES = (
    "write",
    "pwrite",
    "pwrite64",
    "writev",
    "sendfile",
    "sendfile64",
    "copy_file_range",
    "ftruncate",
    "truncate",
)
_NAMES = ("mkdir", "mkdirat", "symlink", "symlinkat", "rmdir", "unlink", "unlinkat")
_PAIRS = ("rename", "renameat", "renameat2", "link", "linkat")
_SYNCS = ("fsync", "fdatasync")


class Cache:
    """What is written and not yet on the disk: files by their bytes, folders by their names."""

    def __init__(self) -> None:
        self.unsynced: set[Path] = set()
        self.known: set[Path] = set()  # whatever was made or changed

    def meet(self, touch: Touch) -> None:
        """Take one call into account."""
        path = Path(touch.path)
        if touch.call in _WRITES:
            self._change(path)
        elif touch.call == "open" and path not in self.known:
            self._change(path)  # as far as the call tells, it made the file
            self._change(path.parent)
        elif touch.call in _NAMES:
            self._change(path.parent)
        elif touch.call in _SYNCS:
            self.unsynced.discard(path)
        elif touch.call in _PAIRS:
            self._pair(touch, path, Path(touch.other))

    def _change(self, path: Path) -> None:
        self.unsynced.add(path)
        self.known.add(path)

    def _pair(self, touch: Touch, source: Path, target: Path) -> None:
        if touch.call.startswith("rename"):
            self.unsynced = {_moved(path, source, target) for path in self.unsynced}
            self.known = {_moved(path, source, target) for path in self.known}
            self._change(source.parent)
        self._change(target.parent)

    def below(self, folder: Path) -> list[Path]:
        """What of a file, or of a folder and all in it, is not on the disk."""
        return sorted(path for path in self.unsynced if path.is_relative_to(folder))


def _moved(path: Path, source: Path, target: Path) -> Path:
    return target / path.relative_to(source) if path.is_relative_to(source) else path


def unsynced_when_published(touches: Sequence[Touch], repository: Path) -> Iterator[str]:
    """What would be torn or gone after a power cut, in words.

    Nothing may get a name in the repository, or in the place of another file beside it, before it is on the disk; and
    the names themselves must be on the disk when the program ends.
    """
    cache = Cache()
    for touch in touches:
        if touch.worked and touch.call.startswith("rename") and _is_for_good(touch, repository):
            yield from (f"{path} when {touch.other} got its name" for path in cache.below(Path(touch.path)))
        if touch.worked:
            cache.meet(touch)
    yield from (f"{path} at the end" for path in cache.below(repository))
    yield from (f"{path} at the end" for path in cache.unsynced if path.parent == _beside(repository) and path.suffix)


def _is_for_good(touch: Touch, repository: Path) -> bool:
    """Whether others may read what gets its name: of the staging that is the note of a change only."""
    target = Path(touch.other)
    staging = _beside(repository) / "staging"
    return not target.is_relative_to(staging) or (target.suffix == ".json" and target.parent.parent == staging)


def _beside(repository: Path) -> Path:
    return repository.parent / f".{repository.name}.repo-tool"
