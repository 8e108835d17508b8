# SPDX-License-Identifier: Apache-2.0
"""Where a published version came from and how it was proven: ``provenance.json`` in its version folder."""

__all__ = ["digest_of", "digests_of", "read_provenance", "write_provenance"]

import hashlib
import json
from pathlib import Path
from typing import Any

from repo_tool.errors import RepositoryError

SCHEMA = 1
PROVENANCE_FILE = "provenance.json"
_KINDS = dict.fromkeys(("tools", "sample", "tolerance", "parity", "signature", "refinement", "files"), dict) | {
    "trusted": list,
    "members": list,
}


def digest_of(path: Path) -> str:
    """``sha256:`` and the hex digest of a file, or of a folder's relative names and contents in name order."""
    if path.is_file():
        with path.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    whole = hashlib.sha256()
    for entry in sorted(path.rglob("*")):
        if entry.is_file():
            whole.update(f"{entry.relative_to(path)}\0{digest_of(entry)}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def digests_of(folder: Path) -> dict[str, str]:
    """The digest of each file of a version by its relative path, but of the provenance and of what Python caches."""
    files = [entry for entry in sorted(folder.rglob("*")) if entry.is_file() and "__pycache__" not in entry.parts]
    return {
        entry.relative_to(folder).as_posix(): digest_of(entry) for entry in files if entry != folder / PROVENANCE_FILE
    }


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
