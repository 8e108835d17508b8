# SPDX-License-Identifier: Apache-2.0
"""A model's versions: which are loaded, what their labels are, who asks for them, when they came and from what."""

__all__ = ["ModelVersions", "VersionFacts", "list_versions"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import pinned_versions
from repo_tool.repository.provenance import read_provenance
from repo_tool.repository.stamps import provenance_digest
from repo_tool.workflows.earlier_model import served_by_any
from repo_tool.workflows.show_model import ModelRecord

_BROUGHT = ("publish", "pull", "found")  # actions that bring a version


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version; what was not written down is empty."""

    version: int
    is_loaded: bool  # config.pbtxt, or one of configs/, loads it
    labels: tuple[str, ...]
    askers: tuple[str, ...]  # pipelines that ask for it by number
    when: str  # UTC, ISO 8601
    who: str
    source: str
    digest: str  # of its provenance.json
    unproven: str  # why no server has answered for it; empty: one has
    size: int  # bytes of its files

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "version": self.version,
            "loaded": self.is_loaded,
            "labels": list(self.labels),
            "asked_for_by": list(self.askers),
            "published": self.when or None,
            "by": self.who or None,
            "source": self.source or None,
            "digest": self.digest or None,
            "unproven": self.unproven or None,
            "bytes": self.size,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersions:
    """All versions of a model, the newest first."""

    model: str
    versions: tuple[VersionFacts, ...]
    lost_labels: Mapping[str, int]  # labels of versions that are gone

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        versions = [version.to_dict() for version in self.versions]
        return {"name": self.model, "versions": versions, "lost_labels": dict(self.lost_labels)}


def list_versions(repository_path: Path, name: str) -> ModelVersions:
    """What is known of each version.

    Raises:
        RepositoryError: there is no such model, or the labels do not read.
    """
    repository = ModelRepository(repository_path)
    model = repository.existing_model(name)
    labels, askers = Labels.of(repository), pinned_versions(repository, name)
    loaded, published = _loaded(model), _published(repository, name)
    there = model.versions()
    facts = tuple(
        _facts(
            model,
            version,
            is_loaded=version in loaded,
            labels=labels.labels_of(name, version),
            askers=askers.get(version, ()),
            entry=published.get(version),
        )
        for version in reversed(there)
    )
    lost = {label: version for label, version in labels.versions(name).items() if version not in there}
    return ModelVersions(model=name, versions=facts, lost_labels=lost)


def _loaded(model: ModelDirectory) -> tuple[int, ...]:
    try:
        return served_by_any(model)
    except (ConfigError, RepositoryError):  # Triton loads none either
        return ()


def _published(repository: ModelRepository, name: str) -> dict[int, Entry]:
    """The last time that each version was published."""
    return {
        entry.version: entry
        for entry in Journal(repository).entries_of(name)
        if entry.action in _BROUGHT and entry.version is not None
    }


def _facts(
    model: ModelDirectory,
    version: int,
    *,
    is_loaded: bool,
    labels: tuple[str, ...],
    askers: tuple[str, ...],
    entry: Entry | None,
) -> VersionFacts:
    try:
        facts = read_provenance(model.provenance_path(version))
        record = ModelRecord(directory=model, version=version, versions=(), facts=facts)
        source, unproven = str(facts.get("source") or ""), record.unproven
    except RepositoryError as error:
        source, unproven = "", error.fact
    return VersionFacts(
        version=version,
        is_loaded=is_loaded,
        labels=labels,
        askers=askers,
        when=entry.when if entry else "",
        who=entry.who if entry else "",
        source=source,
        digest=provenance_digest(model, version) or "",
        unproven=unproven,
        size=sum(path.stat().st_size for path in model.version_path(version).rglob("*") if path.is_file()),
    )
