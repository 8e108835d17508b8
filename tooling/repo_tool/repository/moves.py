# SPDX-License-Identifier: Apache-2.0
"""Models that take their places together: noted down first, so that the next command finishes what a crash cut off."""

__all__ = ["Move", "finish", "is_noted", "move_all"]

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import exchange, sync_folder, write_synced
from repo_tool.repository.layout import ModelDirectory, ModelRepository

_ABSENT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A whole model directory that is to take the place of the one that has all its versions but ``version``."""

    model: str
    version: int
    seen: str  # the fingerprint of what must be there

    @classmethod
    def onto(cls, target: ModelDirectory, *, version: int) -> "Move":
        """The move that takes the place of what is there now."""
        return cls(model=target.name, version=version, seen=_fingerprint(target.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where the model of a move is made ready, belongs, and leaves the one before it where nothing can be exchanged."""

    ready: ModelDirectory
    target: ModelDirectory
    before: Path

    @classmethod
    def of(cls, move: Move, stage: Path, repository: ModelRepository) -> "_Places":
        ready = ModelRepository(stage / "repository").model(move.model)
        return cls(ready=ready, target=repository.model(move.model), before=stage / "replaced" / move.model)


def is_noted(stage: Path) -> bool:
    """Whether the moves from this staging folder have begun and are not all done."""
    return _notes(stage).is_file()


def _notes(stage: Path) -> Path:
    return stage / "moves.json"


def move_all(moves: Sequence[Move], stage: Path, repository: ModelRepository) -> None:
    """Let the models that are ready in ``stage`` take their places, or none of them.

    Raises:
        RepositoryError: another model is there than was seen.
        OSError: the disk does not want to.
    """
    for move in moves:
        _require_seen(move, repository.model(move.model))
    write_synced(_notes(stage), json.dumps([asdict(move) for move in moves]).encode())
    places = [_Places.of(move, stage, repository) for move in moves]
    try:
        for move, place in zip(moves, places, strict=True):
            _place(move, place)
    except OSError:
        for move, place in reversed(list(zip(moves, places, strict=True))):
            _take_back(move, place)
        _notes(stage).unlink()
        raise
    _notes(stage).unlink()


def _require_seen(move: Move, target: ModelDirectory) -> None:
    if _fingerprint(target.path) != move.seen:
        raise RepositoryError(
            f"'{target.path}' has been changed meanwhile",
            cause="files in it are not those that were there when the model was made ready",
            next_step="run the command again",
        )


def finish(stage: Path, repository: ModelRepository) -> None:
    """Do what is left of the moves of a command that is gone; a model that somebody has changed since stays as it is.

    Raises:
        OSError: the disk does not want to.
    """
    for move in map(_read_move, json.loads(_notes(stage).read_bytes())):
        place = _Places.of(move, stage, repository)
        is_left = _has(place.ready, move.version)
        if is_left and (not os.path.lexists(place.target.path) or _fingerprint(place.target.path) == move.seen):
            _place(move, place)
    _notes(stage).unlink()


def _read_move(noted: dict[str, object]) -> Move:
    return Move(model=str(noted["model"]), version=int(str(noted["version"])), seen=str(noted["seen"]))


def _has(model: ModelDirectory, version: int) -> bool:
    return model.version_path(version).is_dir()


def _place(move: Move, place: _Places) -> None:
    ready, target = place.ready.path, place.target.path
    if not os.path.lexists(target):
        ready.rename(target)
    elif not exchange(ready, target):
        place.before.parent.mkdir(exist_ok=True)
        target.rename(place.before)
        ready.rename(target)
    for folder in (target.parent, ready.parent):
        sync_folder(folder)


def _take_back(move: Move, place: _Places) -> None:
    ready, target = place.ready.path, place.target.path
    if _has(place.target, move.version):
        if os.path.lexists(ready):
            exchange(ready, target)
        else:
            target.rename(ready)
    if os.path.lexists(place.before) and not os.path.lexists(target):
        place.before.rename(target)


def _fingerprint(folder: Path) -> str:
    """Of the names, kinds, sizes and times of all that lies in a folder; empty where there is none."""
    if not folder.is_dir():
        return _ABSENT
    return hashlib.sha256("\0".join(sorted(_traits(folder))).encode(errors="surrogateescape")).hexdigest()


def _traits(folder: Path) -> Iterable[str]:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            with suppress(FileNotFoundError):
                status = path.lstat()
                yield f"{path.relative_to(folder)}|{status.st_mode}|{status.st_size}|{status.st_mtime_ns}"
