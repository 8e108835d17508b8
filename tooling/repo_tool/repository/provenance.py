# SPDX-License-Identifier: Apache-2.0
"""Where a published version came from and how it was proven: ``provenance.json`` in its version folder."""

__all__ = ["digest_of", "read_provenance", "write_provenance"]

import hashlib
import json
from pathlib import Path
from typing import Any

from repo_tool.errors import RepositoryError

SCHEMA = 1


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


def write_provenance(path: Path, facts: dict[str, Any]) -> None:
    """Write ``facts`` with the schema's number."""
    path.write_text(json.dumps({"schema": SCHEMA, **facts}, indent=2) + "\n", encoding="utf-8")


def read_provenance(path: Path) -> dict[str, Any]:
    """The facts that ``write_provenance`` wrote.

    Raises:
        RepositoryError: absent or damaged.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RepositoryError(
            f"no readable provenance at '{path}'",
            cause=str(error),
            next_step="add the model again: repo-tool add-model",
        ) from error
    return facts
