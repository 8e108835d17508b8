# SPDX-License-Identifier: Apache-2.0
"""What a repository looks like from outside, cheap enough to be looked at all the time."""

__all__ = ["Files", "Look", "look_at", "look_into"]

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from repo_tool.repository.layout import ModelDirectory, ModelRepository

# Of a model: identity, time and size of its folder, in which versions come and go, and of the configuration served.
Look = Mapping[str, tuple[int, ...]]
Files = frozenset[tuple[str, int, int, int]]  # of a model: path, identity, time and size of each
_BYTECODE = "__pycache__"  # Python's, written by the server


def look_at(repository: ModelRepository, *, variant: str = "", before: Look | None = None) -> Look:
    """Every model directory that has a configuration, by name; what comes or goes at this moment may be missing.

    What cannot be read now looks as it did ``before``.
    """
    before = before or {}
    try:
        with os.scandir(repository.path) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return before
    looks = {name: _look(ModelDirectory(repository.path / name), variant, before.get(name, ())) for name in names}
    return {name: look for name, look in looks.items() if look}


def _look(model: ModelDirectory, variant: str, before: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return (*_seen(model.path), *_seen(model.served_config_path(variant)))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError:
        return before


def look_into(model: ModelDirectory) -> Files:
    """All its files, those of its versions too."""
    return frozenset(_files(model.path))


def _files(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != _BYTECODE]
        for path in (Path(place, name) for name in names):
            try:
                yield (str(path), *_seen(path))
            except OSError:  # gone meanwhile, or not to be read: then it is not there for Triton either
                continue


def _seen(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
