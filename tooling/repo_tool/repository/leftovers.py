# SPDX-License-Identifier: Apache-2.0
"""What commands that are gone have left beside a repository; looking changes nothing."""

__all__ = ["Leftover", "leftovers"]

import fcntl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.moves import is_noted
from repo_tool.repository.staging import staging_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A staging folder, its lock file, or a draft, of a command that is gone."""

    path: Path
    is_noted: bool = False  # a change that has begun and is to be finished


def leftovers(repository: ModelRepository) -> tuple[Leftover, ...]:
    """By path; what belongs to a command that is alive is none."""
    return tuple(sorted((*_staged(repository), *_drafts(repository)), key=lambda left: left.path))


def _staged(repository: ModelRepository) -> Iterator[Leftover]:
    root = staging_path(repository)
    with suppress(FileNotFoundError):
        for name in sorted({entry.name.removesuffix(".lock") for entry in root.iterdir()}):
            folder, lock = root / name, root / f"{name}.lock"
            if not _is_held(lock):
                yield Leftover(path=folder if folder.exists() else lock, is_noted=is_noted(folder))


def _is_held(lock: Path) -> bool:
    """Whether a process has the lock; a file that cannot be looked at counts as held."""
    try:
        with lock.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _drafts(repository: ModelRepository) -> Iterator[Leftover]:
    """Files that were to replace others of ours, and did not."""
    folder = repository.private_path
    yield from (Leftover(path=path) for path in folder.glob("*.draft") if path.is_file())
