# SPDX-License-Identifier: Apache-2.0
"""Where a published version came from and how it was proven: ``provenance.json`` in its version folder."""

__all__ = [
    "digest_of",
    "digest_of_bytes",
    "digest_of_files",
    "digests_of",
    "read_provenance",
    "shared_digests_of",
    "write_provenance",
]

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from repo_tool.errors import RepositoryError
from repo_tool.repository.stamps import unstamped

SCHEMA = 1
PROVENANCE_FILE = "provenance.json"
_OBJECTS = ("tools", "sample", "tolerance", "parity", "signature", "refinement", "files")
_MORE_OBJECTS = ("blocks", "options", "overrides", "shared_files", "member_versions", "member_interfaces", "reference")
_LISTS = ("trusted", "members", "generated")
_KINDS = dict.fromkeys((*_OBJECTS, *_MORE_OBJECTS), dict) | dict.fromkeys(_LISTS, list) | {"config": str}

_SHARED_FOLDERS = ("warmup", "configs")
_POINTER_START = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024  # the specification's limit
_POINTER_OBJECT = re.compile(rb"^oid (sha256:[0-9a-f]{64})$", re.MULTILINE)


def digest_of(path: Path, *, through_pointers: bool = False) -> str:
    """``sha256:`` and the hex digest of a file, or of a folder's relative names and contents in name order.

    With ``through_pointers`` a Git LFS pointer has the digest of the file that it stands for.
    """
    if path.is_file():
        with path.open("rb") as stream:
            if through_pointers and (pointed := _pointed_digest(stream)):
                return pointed
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    files = [entry for entry in sorted(path.rglob("*")) if entry.is_file()]
    return digest_of_files(files, path, through_pointers=through_pointers)


def digest_of_files(files: Iterable[Path], folder: Path, *, through_pointers: bool = False) -> str:
    """The digest of their names, relative to ``folder``, and contents in the order given."""
    lines = [f"{path.relative_to(folder)}\0{digest_of(path, through_pointers=through_pointers)}\n" for path in files]
    return digest_of_bytes(os.fsencode("".join(lines)))  # names need not be text


def digest_of_bytes(content: bytes) -> str:
    """``sha256:`` and the hex digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _pointed_digest(stream: BinaryIO) -> str | None:
    """What a Git LFS pointer names; ``stream`` is at its start again for any other file."""
    start = stream.read(_POINTER_BYTES)
    stream.seek(0)
    found = _POINTER_OBJECT.search(start) if start.startswith(_POINTER_START) else None
    return found[1].decode("ascii") if found else None


def digests_of(
    folder: Path, *, through_pointers: bool = False, known: Callable[[Path], str | None] = lambda _: None
) -> dict[str, str]:
    """The digest of each file of a version by its relative path, but of the provenance and of what Python caches.

    A file whose digest is ``known`` is not read.
    """
    files = [entry for entry in sorted(folder.rglob("*")) if entry.is_file() and "__pycache__" not in entry.parts]
    return {
        entry.relative_to(folder).as_posix(): known(entry) or digest_of(entry, through_pointers=through_pointers)
        for entry in files
        if entry != folder / PROVENANCE_FILE
    }


def shared_digests_of(model: Path, *, through_pointers: bool = False) -> dict[str, str]:
    """The digests of what all versions share, by relative path: all but ``config.pbtxt``; variants without stamps."""
    loose = [entry for entry in sorted(model.iterdir()) if entry.is_file() and entry.name != "config.pbtxt"]
    folders = [entry for name in _SHARED_FOLDERS for entry in sorted((model / name).rglob("*")) if entry.is_file()]
    return {
        entry.relative_to(model).as_posix(): _shared_digest(entry, through_pointers=through_pointers)
        for entry in (*loose, *folders)
    }


def _shared_digest(file: Path, *, through_pointers: bool) -> str:
    if file.suffix == ".pbtxt":
        with suppress(UnicodeDecodeError):
            return digest_of_bytes(unstamped(file.read_bytes().decode()).encode())
    return digest_of(file, through_pointers=through_pointers)


def write_provenance(path: Path, facts: dict[str, Any]) -> None:
    """Write ``facts`` with the schema's number."""
    path.write_text(json.dumps({"schema": SCHEMA, **facts}, indent=2) + "\n", encoding="utf-8")


def read_provenance(path: Path) -> dict[str, Any]:
    """The facts that ``write_provenance`` wrote.

    Raises:
        RepositoryError: absent, damaged, or of a newer repo-tool.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RepositoryError(
            "this version was not published by repo-tool",
            cause=f"there is no '{path}'",
            next_step="add the model with repo-tool add-model, and its origin and proof are recorded",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(facts, dict):
        raise _unreadable(path, f"it holds a {type(facts).__name__}, no object")
    if facts.get("schema") != SCHEMA:
        raise _unreadable(path, f"its schema is {facts.get('schema')}; this repo-tool reads {SCHEMA}")
    odd = [name for name, kind in _KINDS.items() if not isinstance(facts.get(name), kind | None)]
    if odd:
        raise _unreadable(path, f"'{odd[0]}' is no {_KINDS[odd[0]].__name__}")
    return facts


def _unreadable(path: Path, cause: str) -> RepositoryError:
    return RepositoryError(
        f"no readable provenance at '{path}'", cause=cause, next_step="add the model again: repo-tool add-model"
    )
