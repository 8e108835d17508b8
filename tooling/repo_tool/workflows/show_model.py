# SPDX-License-Identifier: Apache-2.0
"""What is known of a published version: where it came from, how it is served and why, how it was proven."""

__all__ = ["ModelRecord", "read_record"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digests_of, read_provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A version's ``provenance.json`` (``facts``), and the versions beside it."""

    directory: ModelDirectory
    version: int
    versions: tuple[int, ...]
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.directory.name,
            "version": self.version,
            "versions": list(self.versions),
            "provenance": self.facts,
        }

    def file_complaints(self) -> tuple[str, ...]:
        """The files that are not as they were published: changed, missing or added; none where none were recorded."""
        recorded: dict[str, str] = self.facts.get("files") or {}
        if not recorded:
            return ()
        found = digests_of(self.directory.version_path(self.version))
        missing = [f"{name} is missing" for name in recorded.keys() - found.keys()]
        added = [f"{name} was not published with it" for name in found.keys() - recorded.keys()]
        changed = [f"{name} was changed" for name in recorded.keys() & found.keys() if recorded[name] != found[name]]
        return tuple(sorted((*missing, *added, *changed)))


def read_record(repository: Path, model: str, version: int | None = None) -> ModelRecord:
    """The record of a version, of the newest when ``version`` is None.

    Raises:
        RepositoryError: no such model or version, or it was not published by repo-tool.
    """
    directory = ModelRepository(repository).existing_model(model)
    versions = directory.versions()
    wanted = directory.latest_version() if version is None else version
    if wanted not in versions:
        raise RepositoryError(
            f"model '{model}' has no version {wanted}",
            cause=f"there are {', '.join(map(str, versions)) or 'none'}",
            next_step="pass one of those with --version",
        )
    facts = read_provenance(directory.provenance_path(wanted))
    return ModelRecord(directory=directory, version=wanted, versions=versions, facts=facts)
