# SPDX-License-Identifier: Apache-2.0
"""What is published, goes back and is removed as one, and why each of its versions is still needed."""

__all__ = ["Gone", "Unit", "require_unit", "units_in"]

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import called_by, pins_of
from repo_tool.repository.provenance import read_provenance
from repo_tool.workflows.earlier_model import served_by_any

Gone = Mapping[str, Collection[int]]  # versions by model


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A model, or a pipeline with the models that were made for it, whose versions have the same numbers."""

    own: ModelDirectory
    parts: tuple[ModelDirectory, ...]  # made for it
    served: tuple[int, ...]  # all where that cannot be told
    labels: Mapping[str, int]
    askers: Mapping[int, tuple[str, ...]]  # what asks for a version by number now or, as version N of it, would again
    users: tuple[str, ...]  # models that call it, in whatever version

    @property
    def name(self) -> str:
        """Its own model's."""
        return self.own.name

    @property
    def models(self) -> tuple[ModelDirectory, ...]:
        """All of it."""
        return (self.own, *self.parts)

    def why_needed(self, version: int) -> str:
        """Why a version must stay, in a few words; empty for one that nobody needs."""
        labels = [f"'{label}'" for label, at in sorted(self.labels.items()) if at == version]
        if version in self.served:
            return "it is served"
        if labels:
            return f"it is labelled {' and '.join(labels)}"
        return f"{self.askers[version][0]} was proven with it" if self.askers.get(version) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """A version of a model as its provenance tells; a model of nobody knows has none."""

    pipeline: str = ""  # for which it was made
    config: ModelConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    directory: ModelDirectory
    config: ModelConfig | None  # None: it does not read
    versions: Mapping[int, _Published]

    @classmethod
    def of(cls, directory: ModelDirectory, *, gone: Collection[int]) -> "_Model":
        there = (version for version in directory.versions() if version not in gone)
        versions = {version: _published(directory, version) for version in there}
        return cls(directory=directory, config=_read_config(directory), versions=versions)

    @property
    def pipeline(self) -> str:
        """The pipeline for which its newest version was made."""
        return list(self.versions.values())[-1].pipeline if self.versions else ""


def units_in(repository: ModelRepository, *, gone: Gone | None = None) -> dict[str, Unit]:
    """All that the repository holds, by name; a part of a pipeline that is gone is one by itself.

    What the versions ``gone``, by model, were proven with is not needed for them.

    Raises:
        RepositoryError: it is no repository, or its labels do not read.
    """
    without = gone or {}
    models = {each.name: _Model.of(each, gone=without.get(each.name, ())) for each in repository.models()}
    labels = Labels.of(repository)
    return {
        name: _unit(model, models, labels.versions(name))
        for name, model in models.items()
        if model.pipeline not in models
    }


def require_unit(units: Mapping[str, Unit], repository: ModelRepository, name: str) -> Unit:
    """The one of that name.

    Raises:
        RepositoryError: there is none, or it is a part of a pipeline.
    """
    if name in units:
        return units[name]
    repository.existing_model(name)
    whole = next(unit.name for unit in units.values() if any(part.name == name for part in unit.parts))
    raise RepositoryError(
        f"'{name}' is a part of the pipeline '{whole}'",
        cause="they come and go as one",
        next_step=f"name the pipeline: {whole}",
    )


def _unit(model: _Model, models: Mapping[str, _Model], labels: Mapping[str, int]) -> Unit:
    own = model.directory
    parts = tuple(other.directory for other in models.values() if other.pipeline == own.name)
    inside = {own.name, *(part.name for part in parts)}
    outside = [other for name, other in models.items() if name not in inside]
    asked: dict[int, tuple[str, ...]] = {}
    for words, version in (each for other in outside for each in _asking(other, own.name)):
        asked[version] = (*asked.get(version, ()), words)
    return Unit(
        own=own,
        parts=parts,
        served=_served(own),
        labels=labels,
        askers=asked,
        users=tuple(other.directory.name for other in outside if other.config and own.name in called_by(other.config)),
    )


def _asking(model: _Model, name: str) -> Iterator[tuple[str, int]]:
    """Who asks for which version of the model ``name``: a model's configuration, or that of one of its versions."""
    asker = model.directory.name
    if model.config is not None and name in (pins := pins_of(model.config)):
        yield f"'{asker}'", pins[name]
    for version, published in model.versions.items():
        if published.config is not None and name in (pins := pins_of(published.config)):
            whole = published.pipeline or asker
            yield f"version {version} of '{whole}'", pins[name]


def _served(model: ModelDirectory) -> tuple[int, ...]:
    try:
        return served_by_any(model)
    except (ConfigError, RepositoryError):
        return model.versions()


def _read_config(model: ModelDirectory) -> ModelConfig | None:
    try:
        return model.read_config()
    except (ConfigError, RepositoryError):
        return None


def _published(model: ModelDirectory, version: int) -> _Published:
    try:
        facts = read_provenance(model.provenance_path(version))
        config = pbtxt.parse(facts["config"]) if facts.get("config") else None
    except (ConfigError, RepositoryError):
        return _Published()
    return _Published(pipeline=str(facts.get("pipeline") or ""), config=config)
