# SPDX-License-Identifier: Apache-2.0
"""What is known of a published version: where it came from, how it is served and why, how it was proven."""

__all__ = ["ModelRecord", "read_record"]

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digests_of, read_provenance
from repo_tool.verification import Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A version's ``provenance.json`` (``facts``), and the versions beside it."""

    directory: ModelDirectory
    version: int
    versions: tuple[int, ...]
    facts: dict[str, Any]

    @property
    def pipeline(self) -> str:
        """The pipeline that this model is a step of; empty for every other."""
        return str(self.facts.get("pipeline") or "")

    @property
    def served(self) -> tuple[int, ...]:
        """The versions that ``config.pbtxt`` lets Triton load; none where it does not read."""
        try:
            policy = self.directory.read_config().version_policy
        except (RepositoryError, ConfigError):
            return ()
        return served_versions(policy, self.versions)

    @property
    def unproven(self) -> str:
        """Why no server has answered for this version yet; empty for what was proven."""
        if self.facts.get("parity") or self.pipeline:
            return ""
        return str(self.facts.get("unproven") or "no comparison with the framework was recorded")

    def tolerance(self) -> Tolerance:
        """What was allowed when it was proven.

        Raises:
            RepositoryError: it is no tolerance.
        """
        recorded = self.facts.get("tolerance") or {}
        known = {field.name for field in fields(Tolerance)}
        if recorded.keys() <= known and all(_is_size(value) for value in recorded.values()):
            return Tolerance(**recorded)
        raise RepositoryError(
            f"the provenance of '{self.directory.name}' holds no tolerance",
            cause=f"it has {recorded}; a tolerance is made of {', '.join(sorted(known))}, none below zero",
            next_step="add the model again: repo-tool add-model",
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.directory.name,
            "version": self.version,
            "versions": list(self.versions),
            "served": list(self.served),
            "file_complaints": list(self.file_complaints()),
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


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0


def read_record(repository: Path, model: str, version: int | None = None, *, option: str = "--version") -> ModelRecord:
    """The record of a version, of the newest when ``version`` is None; ``option`` is what chooses it.

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
            next_step=f"pass one of those with {option}",
        )
    facts = read_provenance(directory.provenance_path(wanted))
    return ModelRecord(directory=directory, version=wanted, versions=versions, facts=facts)
