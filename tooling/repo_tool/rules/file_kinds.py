# SPDX-License-Identifier: Apache-2.0
"""Whether something is a file or folder, where names may be impossible and rights missing: then it is neither."""

__all__ = ["exists", "is_file", "is_folder", "is_within", "joined", "size_of"]

from collections.abc import Callable
from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether it is a plain file, through links, that one could look at."""
    return _holds(path.is_file)


def is_folder(path: Path) -> bool:
    """Whether it is a folder, through links, that one could look at."""
    return _holds(path.is_dir)


def exists(path: Path) -> bool:
    """Whether there is anything, through links, that one could look at."""
    return _holds(path.exists)


def is_within(path: Path, folder: Path) -> bool:
    """Whether ``path`` lies in ``folder``, once links are followed."""
    return _holds(lambda: path.resolve().is_relative_to(folder.resolve()))


def joined(folder: Path, name: str) -> Path:
    """Where Triton looks for a file that a configuration names: below ``folder``, even behind a leading slash."""
    return folder / name.lstrip("/")


def size_of(path: Path) -> int:
    """The bytes of a file; 0 where it cannot be looked at."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    # OSError: no right to look, too long a name; ValueError: a zero byte; RuntimeError: a circle of links.
    except (OSError, ValueError, RuntimeError):
        return False
