# SPDX-License-Identifier: Apache-2.0
"""Versions and models that nobody needs any more, out of the repository; they are kept beside it for some days."""

__all__ = ["Pruned", "Removed", "prune_versions", "remove_model", "remove_version"]

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repo_tool.errors import RepositoryError
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.publish import StagedModel, Staging, publish, staging, withdraw_together
from repo_tool.workflows.drop_kept import drop_kept
from repo_tool.workflows.version_needs import Unit, require_unit, units_in

_REMOVE_THAT_FIRST = "remove that one first: repo-tool remove "
_Names = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went: versions of a model, or all of it, with the models that were made for it."""

    model: str
    versions: tuple[int, ...]
    models: tuple[str, ...]
    is_whole: bool
    freed: int | None = None  # bytes; None: it is kept for some days

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.model,
            "versions": list(self.versions),
            "models": list(self.models),
            "whole": self.is_whole,
            "freed_bytes": self.freed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a model had, what went, and why older versions than those to keep stayed."""

    model: str
    models: tuple[str, ...]  # with those that were made for it
    removed: tuple[int, ...]
    kept: Mapping[int, str]  # the reason, by version; empty for the newest ones

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        kept = [{"version": version, "reason": reason or "one of the newest"} for version, reason in self.kept.items()]
        return {"name": self.model, "removed": list(self.removed), "kept": kept}


def remove_version(repository: ModelRepository, name: str, version: int, *, keeps: bool = True) -> Removed:
    """Take a version that nobody needs out of the repository; its number is never used again.

    Unless it ``keeps`` it beside the repository for some days, the version goes from what is kept there, too.

    Raises:
        RepositoryError: there is no such version, it is the only one, or it is loaded, labelled or asked for; what is
            not to be kept cannot be deleted.
    """
    unit = require_unit(units_in(repository), repository, name)
    _require_version(unit, version)
    models = _take_out(repository, {unit.name: (version,)}, [unit])
    freed = None if keeps else drop_kept(repository, models, versions=(version,))
    return Removed(model=name, versions=(version,), models=models, is_whole=False, freed=freed)


def _require_version(unit: Unit, version: int) -> None:
    versions = unit.own.versions()
    if version not in versions:
        raise RepositoryError(
            f"model '{unit.name}' has no version {version}",
            cause=f"its versions are {', '.join(map(str, versions)) or 'none'}",
            next_step="name one of them with --version",
        )
    if versions == (version,):
        raise RepositoryError(
            f"'{unit.name}' has no other version than {version}",
            cause="Triton loads no model without one",
            next_step=f"remove the whole model: repo-tool remove {unit.name}",
        )


def _require_unneeded(unit: Unit, version: int) -> None:
    why = unit.why_needed(version)
    if why:
        raise RepositoryError(
            f"version {version} of '{unit.name}' is needed", cause=why, next_step=_way_out(unit, version)
        )


def _way_out(unit: Unit, version: int) -> str:
    label = next((label for label, at in unit.labels.items() if at == version), "")
    if label:
        return f"move the label first, or take it off: repo-tool promote {unit.name} --label {label} --drop"
    if unit.askers.get(version):
        return "remove that pipeline, or that version of it, first"
    others = [each for each in unit.loaded if each != version]
    if others and version < max(others):
        policy = f"{{ specific {{ versions: [{', '.join(map(str, others))}] }} }}"
        return f"let it load the others only: repo-tool config {unit.name} --set 'version_policy={policy}'"
    another = max(each for each in unit.own.versions() if each != version)
    return f"let another one answer first: repo-tool rollback {unit.name} --to {another}"


def _take_out(repository: ModelRepository, versions: Mapping[str, tuple[int, ...]], units: Sequence[Unit]) -> _Names:
    """Remove versions of units at once, and then the parts that have none left; tell which models had any.

    Raises:
        RepositoryError: one of them is needed.
    """
    going = {model.name: versions[unit.name] for unit in units for model in unit.models if unit.name in versions}
    having = [
        model for unit in units for model in unit.models if set(model.versions()) & set(going.get(model.name, ()))
    ]
    emptied = [model for model in having if set(model.versions()) <= set(going[model.name])]

    def require() -> None:
        now = units_in(repository, gone=going)
        for name, each in versions.items():
            for version in each:
                _require_unneeded(require_unit(now, repository, name), version)

    require()
    with staging(repository) as stage:
        staged = [_without(model, going[model.name], stage) for model in having if model not in emptied]
        publish(staged, repository, require=require, action="remove", leaving=emptied)
    return tuple(model.name for model in having)


def _without(model: ModelDirectory, versions: Collection[int], stage: Staging) -> StagedModel:
    directory = stage.repository.model(model.name)
    directory.path.mkdir()
    return StagedModel(directory=directory, removed=tuple(each for each in model.versions() if each in versions))


def remove_model(repository: ModelRepository, name: str, *, keeps: bool = True) -> Removed:
    """Take a model with all its versions out of the repository, a pipeline with the models that were made for it.

    Unless it ``keeps`` them beside the repository for some days, all that is kept of them there goes, too.

    Raises:
        RepositoryError: there is no such model, a label points at it, or another model calls it; what is not to be kept
            cannot be deleted.
    """
    unit = require_unit(units_in(repository), repository, name)
    _require_unused(unit)
    versions = unit.own.versions()
    latest = {model.name: max(model.versions(), default=None) for model in unit.models}

    def require() -> None:
        now = require_unit(units_in(repository), repository, name)
        _require_unused(now)
        _require_same_models(now, unit)

    with staging(repository) as stage:
        withdraw_together(repository, latest, stage, require=require, action="remove")
    models = tuple(model.name for model in unit.models)
    freed = None if keeps else drop_kept(repository, models)
    return Removed(model=name, versions=versions, models=models, is_whole=True, freed=freed)


def _require_same_models(now: Unit, then: Unit) -> None:
    if [model.name for model in now.models] != [model.name for model in then.models]:
        raise RepositoryError(
            f"'{then.name}' has been changed meanwhile",
            cause="other models are made for it than a moment ago",
            next_step="run the command again",
        )


def _require_unused(unit: Unit) -> None:
    if unit.users:
        raise RepositoryError(
            f"'{unit.name}' is needed",
            cause=f"'{unit.users[0]}' calls it",
            next_step=_REMOVE_THAT_FIRST + unit.users[0],
        )
    if unit.askers:
        asked, askers = next(iter(unit.askers.items()))
        raise RepositoryError(
            f"'{unit.name}' is needed",
            cause=f"{askers[0]} was proven with version {asked} of it",
            next_step="remove that pipeline, or that version of it, first",
        )
    if unit.labels:
        label, version = next(iter(unit.labels.items()))
        raise RepositoryError(
            f"'{unit.name}' is needed",
            cause=f"label '{label}' points at its version {version}, so clients may ask for it",
            next_step=f"take the label off first: repo-tool promote {unit.name} --label {label} --drop",
        )


def prune_versions(
    repository: ModelRepository, names: Sequence[str] = (), *, keep: int, dry_run: bool = False
) -> list[Pruned]:
    """Remove all versions but the newest ``keep`` and those that are needed, of some models or of all.

    A version that an earlier version of a pipeline was proven with is needed as long as that one stays.

    Raises:
        RepositoryError: there is no such model, or a version is needed that was not a moment ago.
    """
    pruned: dict[str, Pruned] = {}
    gone: dict[str, tuple[int, ...]] = {}
    while True:  # a pipeline's version that goes may be the last that needs one of a model
        units = units_in(repository, gone=gone)
        chosen = [require_unit(units, repository, name) for name in names or sorted(units)]
        pruned = {unit.name: _plan(unit, keep) for unit in chosen}
        going = {model.name: pruned[unit.name].removed for unit in chosen for model in unit.models}
        if going == gone:
            break
        gone = going
    versions = {name: plan.removed for name, plan in pruned.items() if plan.removed}
    if versions and not dry_run:
        _take_out(repository, versions, chosen)
    return list(pruned.values())


def _plan(unit: Unit, keep: int) -> Pruned:
    versions = unit.own.versions()
    newest = versions[-keep:]
    reasons = {version: "" if version in newest else unit.why_needed(version) for version in versions}
    kept = {version: reason for version, reason in reasons.items() if reason or version in newest}
    return Pruned(
        model=unit.name,
        models=tuple(model.name for model in unit.models),
        removed=tuple(version for version in versions if version not in kept),
        kept=kept,
    )
