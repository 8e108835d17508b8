# SPDX-License-Identifier: Apache-2.0
"""A model back to an earlier version; a pipeline whole: its own model, those made for it, its members' versions."""

__all__ = ["RollBackRequest", "RolledBack", "roll_back"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.config.served_versions import served_versions
from repo_tool.config.variants import CPU
from repo_tool.errors import RepositoryError
from repo_tool.repository.integrity import require_intact
from repo_tool.repository.journal import Entry
from repo_tool.repository.labels import Labels, LabelsChange
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import pinned_versions
from repo_tool.repository.publish import rewrite
from repo_tool.verification import Parity
from repo_tool.workflows.config_trial import ConfigTrial, Texts, texts_to_change, trying
from repo_tool.workflows.earlier_model import published_texts, with_versions
from repo_tool.workflows.found_models import FoundModels
from repo_tool.workflows.kept_versions import KeptVersions, require_same_interface
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.promote_version import no_such_label
from repo_tool.workflows.rollback_configs import earlier_configs
from repo_tool.workflows.show_model import ModelRecord, read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBackRequest:
    """Which model or pipeline, and to which of its versions."""

    model: str
    repository: Path = Path("model_repository")
    version: int | str | None = None  # its number, or a label that it has; None: the one before that which is served


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What came of it; ``models`` are those whose ``config.pbtxt`` changed, ``labels`` where those that moved were."""

    model: str
    before: int
    version: int
    models: tuple[str, ...]
    labels: Mapping[str, int]
    parity: Parity | None  # None: nothing was to change, or only a GPU server has its backend

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.model,
            "before": self.before,
            "version": self.version,
            "models": list(self.models),
            "labels": dict(self.labels),
            "parity": self.parity.to_dict() if self.parity else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How a model gets back: texts of configurations, and the labels that come along, with where they are."""

    texts: Texts
    labels: Labels  # all there are
    moving: Mapping[str, int]
    kept: KeptVersions | None = None  # what stays loaded beside it


def roll_back(request: RollBackRequest, progress: Progress) -> RolledBack:
    """Let an earlier version answer again, once a real Triton has answered with it as it did when it was published.

    The configurations are those that were published with that version; all change, or none. The newer version stays
    on disk, unloaded, and its labels come along. Members of a pipeline get their earlier versions loaded beside those
    that are.

    Raises:
        RepositoryError: no such version, it is damaged, a model that it needs is gone or takes something else now, or
            a pipeline asks for a newer version.
        ParityError: it no longer answers as it did.
        LoadRefusedError: Triton does not load it.
    """
    repository = ModelRepository(request.repository)
    found = FoundModels.of(repository)
    own = repository.existing_model(request.model)
    before = max(served_versions(own.read_config().version_policy, own.versions()), default=0)
    record = read_record(repository.path, own.name, _chosen(request, own, before), option="--to")
    with progress.step(f"gather version {record.version}"):
        way = _way_back(found, record)
    if record.version == before and not (way.moving or texts_to_change(found, way.texts)):
        return RolledBack(model=own.name, before=before, version=before, models=(), labels={}, parity=None)
    with trying(found, record, way.texts, progress) as trial:
        parity = trial.prove()
        with progress.step("change the configurations"):
            _change(found, trial, way, before)
    return RolledBack(
        model=own.name,
        before=before,
        version=record.version,
        models=tuple(sorted({Path(name).parts[0] for name in trial.changes})),
        labels=way.moving,
        parity=parity,
    )


def _change(found: FoundModels, trial: ConfigTrial, way: _Way, before: int) -> None:
    """Configurations, labels and the journal's lines together."""
    repository, own, version = trial.repository, trial.record.directory.name, trial.record.version

    def require() -> None:
        _require_nobody_asks(repository, trial.record)
        found.require_unchanged(trial.needed)
        if way.kept is not None:
            way.kept.require_unchanged()
        way.labels.require_unchanged(repository, own)

    labels = LabelsChange(model=own, versions=dict.fromkeys(way.moving, version))
    told = Entry(action="roll back", model=own, version=version, details={"before": before})
    rewrite(
        repository,
        trial.changes,
        beside=lambda: labels.texts(repository),
        require=require,
        entries=[told, *labels.entries(way.labels)],
    )


def _chosen(request: RollBackRequest, model: ModelDirectory, served: int) -> int:
    wanted = request.version
    if isinstance(wanted, str) and not wanted.isdecimal():
        there = Labels.of(ModelRepository(request.repository)).versions(model.name)
        if wanted not in there:
            raise no_such_label(model.name, wanted, there)
        return there[wanted]
    return int(wanted) if wanted else _previous(model, served)


def _previous(model: ModelDirectory, served: int) -> int:
    earlier = [version for version in model.versions() if version < served]
    if not earlier:
        raise RepositoryError(
            f"'{model.name}' has no version before {served}",
            cause=f"its versions are {', '.join(map(str, model.versions())) or 'none'}",
            next_step="name one with --to"
            if len(model.versions()) > 1
            else "it has one version: add another one first",
        )
    return earlier[-1]


def _way_back(found: FoundModels, record: ModelRecord) -> _Way:
    """What needs no server is refused before one starts."""
    own = record.directory
    if record.pipeline:
        raise RepositoryError(
            f"'{own.name}' is a part of the pipeline '{record.pipeline}'",
            cause="they go back as one",
            next_step=f"repo-tool rollback {record.pipeline}",
        )
    _require_nobody_asks(found.repository, record)
    require_intact(own, record.version)
    return _of_pipeline(found, record) if _is_pipeline(record) else _of_model(found, record)


def _is_pipeline(record: ModelRecord) -> bool:
    return "pipeline_digest" in record.facts


def _of_pipeline(found: FoundModels, record: ModelRecord) -> _Way:
    """One version of a pipeline answers at a time, so all its labels come along."""
    configs = earlier_configs(found, record)
    texts = {
        name: {variant: _rendered(config, variant) for variant, config in variants.items()}
        for name, variants in configs.items()
    }
    labels = Labels.of(found.repository)
    there = labels.versions(record.directory.name)
    moving = {label: at for label, at in there.items() if at != record.version}
    return _Way(texts=texts, labels=labels, moving=moving)


def _rendered(config: ModelConfig, variant: str) -> str:
    reasons = {"version_policy": "a pipeline went back to these versions"}
    return pbtxt.render(config, verified=variant in ("", CPU), reasons=reasons, variant=variant)


def _of_model(found: FoundModels, record: ModelRecord) -> _Way:
    """What others ask for stays loaded below it; above it nothing does, for the newest answers who asks for none."""
    own, kept = record.directory, KeptVersions.of(record.directory)
    texts = published_texts(record)
    below = [version for version in kept.versions if version < record.version]
    if below:
        require_same_interface(
            pbtxt.parse(texts[""]),
            own.read_config(),
            f"version {record.version} of '{own.name}'",
            cause=f"{kept.why(below[-1])}, and one config.pbtxt serves all versions",
            next_step=kept.way_out,
        )
    loading = {
        name: with_versions(text, (*below, record.version), there=record.versions) for name, text in texts.items()
    }
    labels = Labels.of(found.repository)
    moving = {label: at for label, at in labels.versions(own.name).items() if at > record.version}
    return _Way(texts={own.name: loading}, labels=labels, moving=moving, kept=kept)


def _require_nobody_asks(repository: ModelRepository, record: ModelRecord) -> None:
    """See that no pipeline was proven with a version that would be served no longer, or instead of this one."""
    asked = pinned_versions(repository, record.directory.name)
    if _is_pipeline(record):
        others = [version for version in asked if version != record.version]
        why = "a pipeline has one config.pbtxt for all its versions, so that one of them answers at a time"
    else:
        others = [version for version in asked if version > record.version]
        why = "a newer version that stays loaded for it answers whoever asks for no version"
    if others:
        raise RepositoryError(
            f"'{asked[others[-1]][0]}' was proven with another version of '{record.directory.name}'",
            cause=why,
            next_step="let that pipeline go back first, or take it out of the repository",
        )
