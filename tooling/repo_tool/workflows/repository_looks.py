# SPDX-License-Identifier: Apache-2.0
"""What a repository looks like from outside, cheap enough to be looked at all the time."""

__all__ = ["Look", "look_at"]

import os
from collections.abc import Mapping
from pathlib import Path

from repo_tool.repository.layout import ModelDirectory, ModelRepository

# Of a model: identity, time and size of its folder, in which versions come and go, and of the configuration served.
Look = Mapping[str, tuple[int, ...]]


def look_at(repository: ModelRepository, *, variant: str = "") -> Look:
    """Every model directory that has a configuration, by name; what comes or goes at this moment may be missing."""
    try:
        with os.scandir(repository.path) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return {}
    looks = {name: _look(ModelDirectory(repository.path / name), variant) for name in names}
    return {name: look for name, look in looks.items() if look}


def _look(model: ModelDirectory, variant: str) -> tuple[int, ...]:
    try:
        return (*_seen(model.path), *_seen(model.served_config_path(variant)))
    except OSError:
        return ()


def _seen(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
