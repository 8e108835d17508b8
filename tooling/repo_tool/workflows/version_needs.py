# SPDX-License-Identifier: Apache-2.0
"""What is published, goes back and is removed as one, and why each of its versions is still needed."""

__all__ = ["Gone", "Unit", "require_unit", "units_in"]

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import called_by, pins_of
from repo_tool.repository.provenance import read_provenance
from repo_tool.workflows.earlier_model import served_by_any

Gone = Mapping[str, Collection[int]]  # versions by model
_ANY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A model, or a pipeline with the models that were made for it, whose versions have the same numbers."""

    own: ModelDirectory
    parts: tuple[ModelDirectory, ...]  # made for it
    loaded: tuple[int, ...]  # by config.pbtxt or one of configs/; all where that cannot be told
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
        if labels:
            return f"it is labelled {' and '.join(labels)}"
        if self.askers.get(version):
            return f"{self.askers[version][0]} was proven with it"
        return "config.pbtxt loads it" if version in self.loaded else ""


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
    gone: Collection[int]  # versions that ask for nothing

    @classmethod
    def of(cls, directory: ModelDirectory, *, gone: Collection[int]) -> "_Model":
        versions = {version: _published(directory, version) for version in directory.versions()}
        return cls(directory=directory, config=_read_config(directory), versions=versions, gone=gone)

    @property
    def pipeline(self) -> str:
        """The pipeline for which its newest version was made."""
        return list(self.versions.values())[-1].pipeline if self.versions else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    asker: str
    words: str  # for it
    asked: str
    version: int
    is_now: bool  # by its configuration, not by that of one of its versions


def units_in(repository: ModelRepository, *, gone: Gone | None = None) -> dict[str, Unit]:
    """All that the repository holds, by name; a part of a pipeline that is gone is one by itself.

    What the versions ``gone``, by model, were proven with is not needed for them.

    Raises:
        RepositoryError: it is no repository, or its labels do not read.
    """
    without = gone or {}
    models = {each.name: _Model.of(each, gone=without.get(each.name, ())) for each in repository.models()}
    labels, asks = Labels.of(repository), list(chain.from_iterable(map(_asks, models.values())))
    parts: dict[str, list[ModelDirectory]] = {}
    for model in models.values():
        parts.setdefault(model.pipeline, []).append(model.directory)
    asked = {name: tuple(each) for name, each in groupby(sorted(asks, key=_asked), key=_asked)}
    return {
        name: _unit(model.directory, parts.get(name, []), asked.get(name, ()), labels.versions(name))
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


def _unit(
    own: ModelDirectory, parts: Sequence[ModelDirectory], asks: Sequence[_Ask], labels: Mapping[str, int]
) -> Unit:
    inside = {own.name, *(part.name for part in parts)}
    outside = [ask for ask in asks if ask.asker not in inside]
    askers: dict[int, tuple[str, ...]] = {}
    for ask in outside:
        if ask.version > 0:
            askers[ask.version] = (*askers.get(ask.version, ()), ask.words)
    return Unit(
        own=own,
        parts=tuple(parts),
        loaded=_loaded(own),
        labels=labels,
        askers=askers,
        users=tuple(dict.fromkeys(ask.asker for ask in outside if ask.is_now)),
    )


def _asks(model: _Model) -> Iterator[_Ask]:
    """What a model asks for by its configuration, and did by that of each of its versions."""
    asker = model.directory.name
    if model.config is not None:
        pins = pins_of(model.config)
        for name in called_by(model.config):
            yield _Ask(asker=asker, words=f"'{asker}'", asked=name, version=pins.get(name, _ANY), is_now=True)
    for version, published in model.versions.items():
        words = f"version {version} of '{published.pipeline or asker}'"
        config = None if version in model.gone else published.config
        for name, pin in pins_of(config).items() if config else ():
            yield _Ask(asker=asker, words=words, asked=name, version=pin, is_now=False)


def _asked(ask: _Ask) -> str:
    return ask.asked


def _loaded(model: ModelDirectory) -> tuple[int, ...]:
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
