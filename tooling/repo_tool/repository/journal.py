# SPDX-License-Identifier: Apache-2.0
"""Who changed what in a repository, and when: ``journal.jsonl`` beside it, one JSON object a line, only ever longer.

A repository may have none, as one that came from Git. What is published is written down within the same change
(``moves``), so that a command that was killed is told once, neither twice nor never.
"""

__all__ = ["Entry", "Journal", "who"]

import json
import logging
import os
import pwd
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import Path
from typing import Any

from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import sync_folder
from repo_tool.repository.layout import ModelRepository

SCHEMA = 1
_VERSIONS = range(1, 1 << 63)  # what Triton can count
_log = logging.getLogger(__name__)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def who() -> str:
    """Whose process this is, as account@host; what the environment says of it anybody can write."""
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in many containers
        account = f"user {os.getuid()}"
    return f"{account}@{socket.gethostname()}"


def _new_id() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change of one model."""

    action: str  # "publish", "configure", "withdraw", "remove", "roll back", "label" …: the command's word
    model: str
    version: int | None = None
    digest: str = ""  # of the version's provenance.json, where it was published
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    when: str = field(default_factory=_now)  # UTC, ISO 8601, milliseconds
    who: str = field(default_factory=who)  # account@host
    id: str = field(default_factory=_new_id)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "details": dict(self.details)}

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> "Entry":
        """What ``to_dict`` made.

        Raises:
            ValueError: it is none.
        """
        texts = ("action", "model", "when", "who", "id")
        version, details = noted.get("version"), noted.get("details", {})
        if not all(isinstance(noted.get(name), str) for name in texts):
            raise ValueError(f"one of {', '.join(texts)} is missing")
        if not (version is None or (type(version) is int and version in _VERSIONS)) or not isinstance(details, dict):
            raise ValueError("its version can be none, or its details are no object")
        known = {name: noted[name] for name in texts}
        return cls(**known, version=version, digest=str(noted.get("digest", "")), details=details)


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one repository."""

    repository: ModelRepository

    @property
    def path(self) -> Path:
        """``journal.jsonl`` in our folder beside the repository."""
        return self.repository.journal_path

    def entries(self) -> tuple[Entry, ...]:
        """All that can be read, oldest first; none where there is no journal, or this user may not read it."""
        return tuple(entry for _, entry in self._read() if entry is not None)

    def faulty_lines(self) -> tuple[int, ...]:
        """The numbers, from 1, of complete lines that are no entries; a last one without its end was never written."""
        return tuple(number for number, entry in self._read() if entry is None)

    def entries_of(self, model: str) -> tuple[Entry, ...]:
        """Those of one model, which takes no close look at the others."""
        return _entries_of(model, self._readable_content())

    def highest_version(self, model: str) -> int:
        """The highest version that the model has ever had, as far as the journal tells; 0 for none.

        Raises:
            RepositoryError: this user may not read it, and a number must never be given twice.
        """
        try:
            content = self._content()
        except OSError as error:
            raise RepositoryError(
                f"the journal '{self.path}' cannot be read",
                cause=str(error),
                next_step="let this user read it: which numbers were given is written there alone",
            ) from error
        return max((entry.version or 0 for entry in _entries_of(model, content)), default=0)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add those that are not there yet, by their ids, and bring them to the disk; the publishing lock is held.

        Raises:
            OSError: the disk does not want to; what was written of them counts for nothing.
        """
        content = self._content()
        complete = content.rfind(b"\n") + 1  # a line that a crash cut off was never written, whatever it says
        there = {entry.id for entry in entries if content.find(json.dumps(entry.id).encode(), 0, complete) >= 0}
        lines = [json.dumps({"schema": SCHEMA, **entry.to_dict()}) for entry in entries if entry.id not in there]
        if lines:
            self._write("".join(f"{line}\n" for line in lines).encode(), complete)

    def _write(self, words: bytes, complete: int) -> None:
        """Put ``words`` behind the first ``complete`` bytes."""
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as stream:
            try:
                if is_new:
                    with suppress(PermissionError):  # file systems without modes
                        os.fchmod(stream.fileno(), self._mode())
                stream.truncate(complete)  # a line that a crash cut off
                stream.seek(complete)
                _write_all(stream, words)
                os.fsync(stream.fileno())
                if is_new:
                    sync_folder(self.path.parent)
            except OSError:
                with suppress(OSError):
                    stream.truncate(complete)
                raise

    def _mode(self) -> int:
        """Whoever may read or change the repository may read or add to its journal."""
        try:
            return self.repository.path.stat().st_mode & 0o664
        except FileNotFoundError:
            return 0o600

    def _readable_content(self) -> bytes:
        """Nothing, and a line that says so, where this user may not read it."""
        try:
            return self._content()
        except PermissionError as error:
            _log.warning("the journal is left out, as this user may not read it: %s", error)
            return b""

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _read(self) -> Iterator[tuple[int, Entry | None]]:
        lines = enumerate(self._readable_content().split(b"\n")[:-1], start=1)
        yield from ((number, _parsed(line)) for number, line in lines)


def _write_all(stream: RawIOBase, words: bytes) -> None:
    while words:
        words = words[stream.write(words) or 0 :]


def _entries_of(model: str, content: bytes) -> tuple[Entry, ...]:
    told = map(_parsed, _lines_with(json.dumps(model).encode(), content))
    return tuple(entry for entry in told if entry is not None and entry.model == model)


def _lines_with(words: bytes, content: bytes) -> Iterator[bytes]:
    """The complete lines that hold ``words``; the others are not even parted, which counts with 200,000 of them."""
    at = content.find(words)
    while at >= 0:
        end = content.find(b"\n", at)
        if end < 0:
            return
        yield content[content.rfind(b"\n", 0, at) + 1 : end]
        at = content.find(words, end)


def _parsed(line: bytes) -> Entry | None:
    try:
        noted = json.loads(line)
        return Entry.from_dict(noted) if isinstance(noted, dict) else None
    except (ValueError, RecursionError):
        return None
