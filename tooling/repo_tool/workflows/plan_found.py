# SPDX-License-Identifier: Apache-2.0
"""What a repository holds, as values that can be compared with what a ``repo-tool.yaml`` asks for."""

__all__ = ["FoundModel", "read_found", "uses_in", "uses_of"]

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import PINS_PARAMETER, called_by
from repo_tool.repository.provenance import digest_of_bytes, digests_of, read_provenance, shared_digests_of
from repo_tool.repository.stamps import unstamped
from repo_tool.workflows.config_overrides import interface_digest
from repo_tool.workflows.earlier_model import with_versions
from repo_tool.workflows.kept_versions import KeptVersions


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """One model directory: its newest version's provenance, and what of it is no longer as it was published."""

    name: str
    version: int | None = None
    versions: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()  # those that a label or a pipeline asks for
    facts: Mapping[str, Any] = field(default_factory=dict)  # the provenance; empty where there is none
    problem: str = ""  # why there is none
    config_text: str | None = None
    altered: tuple[str, ...] = ()  # files that were changed or are missing
    strays: tuple[str, ...] = ()  # files beside its versions that no command published
    uses: tuple[str, ...] = ()  # the models of an ensemble
    interface: str | None = None  # what ensembles rely on; None where nobody asked, or config.pbtxt does not parse

    @property
    def owner(self) -> str | None:
        """Whose file ``repo-tool apply`` added it for, which therefore may remove it."""
        owner = self.facts.get("owner")
        return owner if self.facts.get("by") == "apply" and isinstance(owner, str) else None

    @property
    def is_original(self) -> bool:
        """Whether it was published under this name; a copy of a model's folder tells another one, or none."""
        return self.facts.get("model") == self.name

    @property
    def pipeline(self) -> str | None:
        """The pipeline that it was generated for, as a step."""
        pipeline = self.facts.get("pipeline")
        return pipeline if isinstance(pipeline, str) else None

    @property
    def is_pipeline(self) -> bool:
        """Whether one version of it answers at a time, of all that it has."""
        return "pipeline_digest" in self.facts or self.pipeline is not None

    @property
    def base(self) -> str | None:
        """``config.pbtxt`` as it was derived, before anything was set over it; None where that was not recorded.

        It loads what a label or a pipeline asks for by now as well.
        """
        text: str | None = self.facts.get("config")
        config = _parsed(text) if text and self.kept else None
        if text is None or config is None:
            return text
        served = served_versions(config.version_policy, self.versions)
        return with_versions(text, {*served, *self.kept}, there=self.versions)

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The fields that were set over it when it was published."""
        return self.facts.get("overrides") or {}

    @property
    def bare_text(self) -> str | None:
        """``config.pbtxt`` without its stamps, which follow from the versions that are there."""
        return None if self.config_text is None else unstamped(self.config_text)

    def is_as_published(self, overrides: Mapping[str, str]) -> bool:
        """Whether ``config.pbtxt`` is to the letter what was published with just these fields set over it."""
        if self.bare_text is None or self.overrides != overrides:
            return False
        return self.facts.get("config_digest") == digest_of_bytes(self.bare_text.encode())


def read_found(
    repository: ModelRepository, listed: Collection[str] = (), *, members: Collection[str] = ()
) -> dict[str, FoundModel]:
    """Every model directory by its name.

    The files of those that are ``listed``, and of their steps, are looked at; ``members`` tell what ensembles rely on.

    Raises:
        RepositoryError: it is no folder, or a single model's.
    """
    if not repository.path.exists():
        return {}
    return {directory.name: _found(directory, listed, members) for directory in repository.models()}


def _found(directory: ModelDirectory, listed: Collection[str], members: Collection[str]) -> FoundModel:
    versions = directory.versions()
    version = versions[-1] if versions else None
    facts: dict[str, Any] = {}
    problem = ""
    if version is not None:
        try:
            facts = read_provenance(directory.provenance_path(version))
        except RepositoryError as error:
            problem = f"version {version}: {error.fact}"
    text = _config_text(directory)
    config = _parsed(text) if text and (directory.name in members or _may_use(text)) else None
    there = FoundModel(
        name=directory.name,
        version=version,
        versions=versions,
        facts=facts,
        problem=problem,
        config_text=text,
        uses=_uses(config),
        interface=interface_digest(config) if config else None,
    )
    is_looked_at = directory.name in listed or there.pipeline in listed
    if not (is_looked_at and version):
        return there
    return replace(
        there,
        kept=() if there.is_pipeline else KeptVersions.of(directory).versions,
        altered=_altered(directory, version, facts),
        strays=_strays(directory, facts),
    )


def uses_of(directory: ModelDirectory) -> tuple[str, ...]:
    """The models that a model calls or is made of; none where it cannot be read."""
    return uses_in(_config_text(directory))


def uses_in(text: str | None) -> tuple[str, ...]:
    """The models that a model of that configuration calls or is made of."""
    return _uses(_parsed(text)) if text and _may_use(text) else ()


def _may_use(text: str) -> bool:
    """Whether a configuration is worth reading closely for the models that it names."""
    return "ensemble_scheduling" in text or f'"{PINS_PARAMETER}"' in text


def _uses(config: ModelConfig | None) -> tuple[str, ...]:
    return called_by(config) if config else ()


def _config_text(directory: ModelDirectory) -> str | None:
    try:
        return directory.config_path.read_bytes().decode()  # as it is: line ends count when it is replaced
    except (OSError, UnicodeDecodeError):
        return None


def _parsed(text: str) -> ModelConfig | None:
    try:
        return pbtxt.parse(text)
    except ConfigError:
        return None


def _altered(directory: ModelDirectory, version: int, facts: Mapping[str, Any]) -> tuple[str, ...]:
    files: Mapping[str, str] = facts.get("files") or {}
    shared: Mapping[str, str] = facts.get("shared_files") or {}
    found = digests_of(directory.version_path(version), through_pointers=True) if files else {}
    there = shared_digests_of(directory.path, through_pointers=True) if shared else {}
    own = [_difference(f"{version}/{name}", digest, found.get(name)) for name, digest in files.items()]
    added = [f"{version}/{name} was added" for name in found if name not in files]
    others = [_difference(name, digest, there.get(name)) for name, digest in shared.items()]
    return tuple(words for words in (*own, *added, *others) if words)


def _strays(directory: ModelDirectory, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Files that a server may read, which somebody put there; what lies loose in the model's folder it does not."""
    shared = facts.get("shared_files")
    if shared is None:
        return ()
    return tuple(name for name in shared_digests_of(directory.path) if "/" in name and name not in shared)


def _difference(name: str, published: str, found: str | None) -> str:
    if found is None:
        return f"{name} is missing"
    return f"{name} was changed" if found != published else ""
