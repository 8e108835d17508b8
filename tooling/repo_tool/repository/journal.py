# SPDX-License-Identifier: Apache-2.0
"""Who changed what in a repository, and when: ``journal.jsonl`` beside it, one JSON object a line, only ever longer.

A repository may have none, as one that came from Git. What is published is written down within the same change
(``moves``), so that a command that was killed is told once, neither twice nor never.
"""

__all__ = ["Entry", "Journal"]

import getpass
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import Path
from typing import Any

from repo_tool.repository.disk import sync_folder
from repo_tool.repository.layout import ModelRepository

SCHEMA = 1


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _who() -> str:
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # which of the two hangs on Python's version
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
    who: str = field(default_factory=_who)  # account@host
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
        if not (version is None or type(version) is int) or not isinstance(details, dict):
            raise ValueError("its version is no number, or its details are no object")
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
        """All that can be read, oldest first; none where there is no journal."""
        return tuple(entry for _, entry in self._read() if entry is not None)

    def faulty_lines(self) -> tuple[int, ...]:
        """The numbers, from 1, of complete lines that are no entries; a last one without its end was never written."""
        return tuple(number for number, entry in self._read() if entry is None)

    def entries_of(self, model: str) -> tuple[Entry, ...]:
        """Those of one model, which takes no close look at the others."""
        told = (entry for _, entry in self._read(json.dumps(model)) if entry is not None)
        return tuple(entry for entry in told if entry.model == model)

    def highest_version(self, model: str) -> int:
        """The highest version that the model has ever had, as far as the journal tells; 0 for none."""
        return max((entry.version or 0 for entry in self.entries_of(model)), default=0)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add those that are not there yet, by their ids, and bring them to the disk; the publishing lock is held.

        Raises:
            OSError: the disk does not want to; what was written of them counts for nothing.
        """
        content = self._content()
        content = content[: content.rfind(b"\n") + 1]  # a line that a crash cut off was never written, whatever it says
        there = {entry.id for entry in entries if json.dumps(entry.id).encode() in content}
        lines = [json.dumps({"schema": SCHEMA, **entry.to_dict()}) for entry in entries if entry.id not in there]
        if lines:
            self._write("".join(f"{line}\n" for line in lines).encode())

    def _write(self, words: bytes) -> None:
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as stream:
            complete = self._content().rfind(b"\n") + 1
            try:
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

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    def _read(self, naming: str = "") -> Iterator[tuple[int, Entry | None]]:
        """The lines, or those that hold the words ``naming``: to read them all closely takes its time."""
        lines = enumerate(self._content().split(b"\n")[:-1], start=1)
        yield from ((number, _parsed(line)) for number, line in lines if naming.encode() in line)


def _write_all(stream: RawIOBase, words: bytes) -> None:
    while words:
        words = words[stream.write(words) or 0 :]


def _parsed(line: bytes) -> Entry | None:
    try:
        noted = json.loads(line)
        return Entry.from_dict(noted) if isinstance(noted, dict) else None
    except (ValueError, RecursionError):
        return None
