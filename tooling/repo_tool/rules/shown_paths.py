# SPDX-License-Identifier: Apache-2.0
"""Paths for people and for programs that look a place up: seen from where they stand."""

__all__ = ["seen_from", "shown_path", "source_root", "uri"]

import os
from pathlib import Path
from urllib.parse import quote


def shown_path(folder: str, path: str) -> str:
    """A path of the repository, seen from outside: ``folder`` is the repository."""
    return "/".join(part for part in (folder, path) if part and part != ".") or "."


def seen_from(start: Path, repository: Path) -> str:
    """The repository as a path relative to ``start`` when it lies below it, else absolute; with forward slashes."""
    absolute = Path(os.path.abspath(repository))  # noqa: PTH100  # resolve() would follow links that people see
    try:
        return absolute.relative_to(start).as_posix()
    except ValueError:
        return absolute.as_posix()


def source_root(repository: Path) -> Path:
    """What code hosts count paths from: the work tree that holds the repository, else the current folder or itself."""
    absolute = Path(os.path.abspath(repository))  # noqa: PTH100  # as above
    for folder in (absolute, *absolute.parents):
        if (folder / ".git").exists():
            return folder
    return Path.cwd() if absolute.is_relative_to(Path.cwd()) else absolute


def uri(path: str) -> str:
    """A path as a URI reference; names that are no text keep their bytes."""
    return quote(os.fsencode(path), safe="/")
