# SPDX-License-Identifier: Apache-2.0
"""What the rules say of a repository as it is to be, with models from elsewhere and all that is there besides."""

__all__ = ["require_valid_with"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.disk import fit_onto, link_tree
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import called_by
from repo_tool.rules import Report
from repo_tool.workflows.new_findings import beyond
from repo_tool.workflows.settings import ValidateSettings, read_settings
from repo_tool.workflows.validate_repository import validate_repository


def require_valid_with(staged: Sequence[ModelDirectory], repository: ModelRepository, room: Path) -> None:
    """See that the rules find no error in the staged models, and in those that call them, that is not there already.

    Args:
        staged: Those that are to be published; what only the published one has comes beside.
        repository: Where.
        room: A folder that is not there yet, on the file system of the staging.

    Raises:
        ConfigError: there is one.
    """
    names = {model.name for model in staged}
    there = list(repository.models()) if repository.path.is_dir() else []
    callers = {model.name for model in there if model.name not in names and names & _called(model)}
    preview = ModelRepository(room)
    room.mkdir()
    for model in staged:
        link_tree(model.path, preview.model(model.name).path)
        if repository.model(model.name).path.is_dir():
            fit_onto(preview.model(model.name).path, repository.model(model.name).path, fresh=["config.pbtxt"])
    for model in there:
        if model.name in callers:
            link_tree(model.path, preview.model(model.name).path)
        elif model.name not in names:
            (room / model.name).symlink_to(model.path.resolve())
    settings = replace(read_settings(repository.path), strict=False)
    before = _report(repository, settings, {model.name for model in there} & (names | callers))
    _require_none_beyond(_report(preview, settings, names | callers), before)


def _called(model: ModelDirectory) -> frozenset[str]:
    try:
        return frozenset(called_by(model.read_config()))
    except (ConfigError, RepositoryError):
        return frozenset()


def _report(repository: ModelRepository, settings: ValidateSettings, models: set[str]) -> Report:
    if not models:
        return Report(models=(), releases=())
    return validate_repository(repository, settings, models=sorted(models)).report


def _require_none_beyond(after: Report, before: Report) -> None:
    new = beyond(replace(after, diagnostics=tuple(after.findings())), before)
    if new:
        raise ConfigError(
            f"{new[0].code} {new[0].model}: {new[0].message}",
            cause="; ".join(filter(None, (new[0].cause, *(f"{each.code} {each.message}" for each in new[1:])))),
            next_step=new[0].fix or "nothing was published",
        )
