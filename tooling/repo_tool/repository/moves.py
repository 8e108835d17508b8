# SPDX-License-Identifier: Apache-2.0
"""Changes that come about together: noted down first, so that the next command finishes what a crash cut off.

In order: the note, the models, the files, the lines in the journal, the note's end. Each step can be told from its
place to have been done, and the journal knows its lines by their ids, so that finishing does nothing twice.
What somebody has changed since a crash stays as it is; the journal then tells nothing of that part.
"""

__all__ = ["Change", "Move", "Write", "fingerprint", "finish", "is_noted", "make"]

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import exchange, replace_file, sync_folder, write_synced
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import digest_of

_ABSENT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A whole model directory that takes the place of another one, or a model that goes."""

    model: str
    seen: str  # the fingerprint of what must be there
    made: str = _ABSENT  # of what is ready to take its place; nothing does where it is empty
    inode: int = 0  # of the folder that is ready; a file in it may be another name of one that somebody changes
    kept: str = ""  # where what was there is put, from our folder beside the repository; else it goes with the staging

    is_beside: ClassVar[bool] = False

    @property
    def path(self) -> str:
        """Of the model's folder, from the repository."""
        return self.model

    def target(self, repository: ModelRepository) -> Path:
        """The model's folder."""
        return repository.model(self.model).path

    def ready(self, stage: Path) -> Path:
        """Where the model is made ready."""
        return ModelRepository(stage / "repository").model(self.model).path


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A file that is replaced, made or removed."""

    path: str  # from the repository, or from our folder beside it
    is_beside: bool = False
    seen: str = _ABSENT  # the digest of what must be there
    new: str = ""  # the name of the draft in the staging's work folder; empty: the file goes
    old: str = ""  # of a copy of what was there

    def target(self, repository: ModelRepository) -> Path:
        """The file."""
        return (repository.private_path if self.is_beside else repository.path) / self.path

    def ready(self, stage: Path) -> Path | None:
        """The draft."""
        return _draft(stage, self.new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What comes about together, and what the journal says of it."""

    moves: tuple[Move, ...] = ()
    writes: tuple[Write, ...] = ()
    entries: tuple[Entry, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "moves": [asdict(move) for move in self.moves],
            "writes": [asdict(write) for write in self.writes],
            "entries": [entry.to_dict() for entry in self.entries],
        }

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> "Change":
        """What ``to_dict`` made.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls(
                moves=tuple(Move(**move) for move in noted["moves"]),
                writes=tuple(Write(**write) for write in noted["writes"]),
                entries=tuple(map(Entry.from_dict, noted["entries"])),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no note of a change: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where the model of a move is made ready, belongs, and leaves the one before it."""

    ready: Path
    target: Path
    before: Path  # where nothing can be exchanged
    kept: Path | None

    @classmethod
    def of(cls, move: Move, stage: Path, repository: ModelRepository) -> "_Places":
        return cls(
            ready=move.ready(stage),
            target=move.target(repository),
            before=stage / "replaced" / move.model,
            kept=repository.private_path / move.kept if move.kept else None,
        )

    def is_ready(self, move: Move) -> bool:
        """Whether the new model still waits where it was made ready."""
        return self.ready.is_dir() and self.ready.stat().st_ino == move.inode

    def of_the_old(self) -> Path | None:
        """Where the model that was there lies, once it is there no more."""
        places = (self.kept, self.before, self.ready)
        return next((place for place in places if place is not None and os.path.lexists(place)), None)


def is_noted(stage: Path) -> bool:
    """Whether a change from this staging folder has begun and is not done."""
    return _notes(stage).is_file()


def _notes(stage: Path) -> Path:
    return stage / "change.json"


def make(change: Change, stage: Path, repository: ModelRepository) -> None:
    """Let all of a change come about, or nothing of it; the publishing lock is held.

    Raises:
        RepositoryError: another model or file is there than was seen.
        OSError: the disk does not want to.
    """
    for move in change.moves:
        _require_seen(move.seen, fingerprint(move.target(repository)), move.target(repository))
    for write in change.writes:
        _require_seen(write.seen, _digest(write.target(repository)), write.target(repository))
    write_synced(_notes(stage), json.dumps(change.to_dict()).encode())
    try:
        for part in _go_on(change, stage, repository):
            raise _changed_meanwhile(part.target(repository))
        Journal(repository).append(change.entries)
    except (OSError, RepositoryError):
        _take_back(change, stage, repository)
        raise
    with suppress(OSError):  # all is done, and finishing it once more does nothing
        _notes(stage).unlink()


def _require_seen(seen: str, now: str, target: Path) -> None:
    if now != seen:
        raise _changed_meanwhile(target)


def _changed_meanwhile(target: Path) -> RepositoryError:
    return RepositoryError(
        f"'{target}' has been changed meanwhile",
        cause="what is there is not what was there when the change was made ready",
        next_step="run the command again",
    )


def finish(stage: Path, repository: ModelRepository, room: Path) -> tuple[str, ...]:
    """Do what is left of the change of a command that is gone, and tell the paths of what could not come about.

    What somebody has changed since stays as it is; what was to take its place is put into ``room``, a new folder.

    Raises:
        OSError: the disk does not want to.
        RepositoryError: a file is no file any more.
        ValueError: the note is damaged.
    """
    change = Change.from_dict(json.loads(_notes(stage).read_bytes()))
    skipped = _go_on(change, stage, repository)
    for part in skipped:
        ready = part.ready(stage)
        if ready is not None and os.path.lexists(ready):
            _rename_to(room / part.path, ready)
    Journal(repository).append([entry for entry in change.entries if not _is_untrue(entry, skipped)])
    _notes(stage).unlink()
    return tuple(part.path for part in skipped)


def _is_untrue(entry: Entry, skipped: Sequence[Move | Write]) -> bool:
    """Labels are in a file beside the repository, all else that the journal tells of a model is in the model."""
    if entry.action == "label":
        return any(part.is_beside for part in skipped)
    return any(entry.model == Path(part.path).parts[0] for part in skipped if not part.is_beside)


def _go_on(change: Change, stage: Path, repository: ModelRepository) -> list[Move | Write]:
    """Do what is not done yet, and tell what cannot be done, as somebody has changed what is there."""
    skipped: list[Move | Write] = []
    for move in change.moves:
        places = _Places.of(move, stage, repository)
        if not (_place if move.made else _let_go)(move, places):
            skipped.append(move)
        for folder in (places.target.parent, places.ready.parent):
            sync_folder(folder)
    return [*skipped, *(write for write in change.writes if not _write(write, stage, repository))]


def _place(move: Move, places: _Places) -> bool:
    """Let the new model be there, and the old one where it is kept; False where it cannot come about."""
    now = fingerprint(places.target)
    if now == move.seen and os.path.lexists(places.ready):
        _change_places(places)
    elif os.path.lexists(places.before) and not os.path.lexists(places.target):
        places.ready.rename(places.target)
    elif now != move.made and places.is_ready(move):  # somebody has changed what was there
        return False
    old = places.of_the_old()
    if places.kept is not None and old not in (None, places.kept):
        _rename_to(places.kept, old)
    return True


def _change_places(places: _Places) -> None:
    if not os.path.lexists(places.target):
        places.ready.rename(places.target)
    elif not exchange(places.ready, places.target):
        _rename_to(places.before, places.target)
        places.ready.rename(places.target)


def _let_go(move: Move, places: _Places) -> bool:
    if places.kept is None or os.path.lexists(places.kept):
        return places.kept is not None
    if not os.path.lexists(places.target) or fingerprint(places.target) != move.seen:
        return False
    _rename_to(places.kept, places.target)
    return True


def _rename_to(place: Path, held: Path | None) -> None:
    if held is not None:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        held.rename(place)
        sync_folder(place.parent)


def _write(write: Write, stage: Path, repository: ModelRepository) -> bool:
    target, draft = write.target(repository), write.ready(stage)
    if _digest(target) != write.seen:  # done, or somebody has changed it
        return not os.path.lexists(target if draft is None else draft)
    if draft is None:
        target.unlink(missing_ok=True)
        sync_folder(target.parent)
    elif draft.exists():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(target, draft)
    return True


def _draft(stage: Path, name: str) -> Path | None:
    return stage / "work" / name if name else None


def _digest(file: Path) -> str:
    return digest_of(file) if file.is_file() else _ABSENT


def _take_back(change: Change, stage: Path, repository: ModelRepository) -> None:
    """Undo what has been done; where even that fails, the note stays, and the next command goes on."""
    for write in reversed(change.writes):
        _write_back(write, stage, repository)
    for move in reversed(change.moves):
        _move_back(move, _Places.of(move, stage, repository))
    _notes(stage).unlink()


def _write_back(write: Write, stage: Path, repository: ModelRepository) -> None:
    target, new, old = write.target(repository), write.ready(stage), _draft(stage, write.old)
    is_done = not os.path.lexists(target) if new is None else not new.exists()
    if is_done and old is not None:
        replace_file(target, old)
    elif is_done and not write.seen:
        target.unlink(missing_ok=True)


def _move_back(move: Move, places: _Places) -> None:
    old = places.of_the_old()
    if move.made and fingerprint(places.target) == move.made:
        _put_back(places, old if move.seen else None)
    elif move.seen and old is not None and not os.path.lexists(places.target):
        old.rename(places.target)


def _put_back(places: _Places, old: Path | None) -> None:
    """Let the new model be ready again, and the old one, if there was one, be where it was."""
    if old is not None and exchange(old, places.target):
        if old != places.ready:
            old.rename(places.ready)
        return
    places.target.rename(places.ready)
    if old is not None:
        old.rename(places.target)


def fingerprint(folder: Path) -> str:
    """Of the names, kinds, sizes and times of all that lies in a folder; empty where there is none."""
    if not folder.is_dir():
        return _ABSENT
    return hashlib.sha256("\0".join(sorted(_traits(folder))).encode(errors="surrogateescape")).hexdigest()


def _traits(folder: Path) -> Iterable[str]:
    for place, folders, files in os.walk(folder):
        below = place[len(str(folder)) :]
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(place, name))  # noqa: PTH118 - thousands of times under the lock
                yield f"{below}/{name}|{status.st_mode}|{status.st_size}|{status.st_mtime_ns}"
