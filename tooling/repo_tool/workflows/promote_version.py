# SPDX-License-Identifier: Apache-2.0
"""A label moved to a version, which is loaded first where it is not; or taken off."""

__all__ = ["PromoteRequest", "Promoted", "drop_label", "no_such_label", "promote_version"]

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import RepositoryError
from repo_tool.repository.integrity import require_intact
from repo_tool.repository.journal import Entry
from repo_tool.repository.labels import Labels, LabelsChange, check_label, move
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.publish import rewrite
from repo_tool.workflows.config_trial import trying
from repo_tool.workflows.earlier_model import published_texts, with_versions, written_configs
from repo_tool.workflows.found_models import FoundModels
from repo_tool.workflows.kept_versions import require_same_interface
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.show_model import ModelRecord, read_record
from repo_tool.workflows.version_needs import require_unit, units_in


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRequest:
    """Which version gets which label."""

    model: str
    label: str
    version: str = ""  # its number, or a label that it has; empty: the newest that is served
    repository: Path = Path("model_repository")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """Where the label is now and was before; None is nowhere."""

    model: str
    label: str
    before: int | None
    version: int | None
    was_loaded: bool = True  # False: config.pbtxt did not load the version, and does now
    newest: int | None = None  # what answers whoever asks for no version

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.model,
            "label": self.label,
            "before": self.before,
            "version": self.version,
            "was_loaded": self.was_loaded,
            "newest": self.newest,
        }


def drop_label(repository: ModelRepository, model: str, label: str) -> Promoted:
    """Take a label off, also that of a model that is gone.

    Raises:
        RepositoryError: the model has no such label.
    """
    there = Labels.of(repository).versions(model)
    if label not in there:
        raise no_such_label(model, label, there)
    return Promoted(model=model, label=label, before=move(repository, model, label, None), version=None)


def promote_version(request: PromoteRequest, progress: Progress) -> Promoted:
    """Let a label point at a version.

    One that ``config.pbtxt`` does not load has to answer on a real Triton first, as it did when it was published; then
    it is loaded beside those that are.

    Raises:
        RepositoryError: no such model, version or label, it is damaged, or cannot be loaded beside the others.
        ParityError: it no longer answers as it did.
        LoadRefusedError: Triton does not load it.
    """
    check_label(request.label)
    repository = ModelRepository(request.repository)
    unit = require_unit(units_in(repository), repository, request.model)
    version = _chosen(request, unit.own, Labels.of(repository))
    require_intact(unit.own, version)
    if version in _served_by_all(unit.own):
        before = move(repository, unit.name, request.label, version)
        return _promoted(request, unit.own, before, version, was_loaded=True)
    record = read_record(repository.path, unit.name, version)
    if "pipeline_digest" in record.facts:
        raise RepositoryError(
            f"'{unit.name}' does not answer with version {version}",
            cause="a pipeline has one config.pbtxt for all its versions, so that one of them answers at a time",
            next_step=f"let it do so: repo-tool rollback {unit.name} --to {version}",
        )
    before = _load_and_move(FoundModels.of(repository), record, request.label, progress)
    return _promoted(request, unit.own, before, version, was_loaded=False)


def _chosen(request: PromoteRequest, model: ModelDirectory, labels: Labels) -> int:
    there = labels.versions(model.name)
    if request.version.isdecimal():
        return int(request.version)
    if request.version:
        if request.version not in there:
            raise no_such_label(model.name, request.version, there)
        return there[request.version]
    newest = _newest(model)
    if newest is None:
        raise RepositoryError(f"'{model.name}' serves no version", next_step="name one with --version")
    return newest


def no_such_label(model: str, label: str, there: Collection[str]) -> RepositoryError:
    """For whoever asks for one that the model does not have."""
    return RepositoryError(
        f"model '{model}' has no label '{label}'",
        cause=f"its labels are {', '.join(sorted(there)) or 'none'}",
        next_step=f"see its versions and labels: repo-tool versions {model}",
    )


def _newest(model: ModelDirectory) -> int | None:
    return max(served_versions(model.read_config().version_policy, model.versions()), default=None)


def _served_by_all(model: ModelDirectory) -> set[int]:
    """The versions that ``config.pbtxt`` and each of ``configs/`` load."""
    there = model.versions()
    policies = (model.read_config(name).version_policy for name in ("", *model.variants()))
    return set.intersection(*(set(served_versions(policy, there)) for policy in policies))


def _promoted(
    request: PromoteRequest, model: ModelDirectory, before: int | None, version: int, *, was_loaded: bool
) -> Promoted:
    newest = _newest(model)
    return Promoted(
        model=model.name, label=request.label, before=before, version=version, was_loaded=was_loaded, newest=newest
    )


def _load_and_move(found: FoundModels, record: ModelRecord, label: str, progress: Progress) -> int | None:
    """Configuration, label and the journal's lines together, once the version has answered."""
    own, labels = record.directory, Labels.of(found.repository)
    require_same_interface(
        pbtxt.parse(published_texts(record)[""]),
        own.read_config(),
        f"version {record.version} of '{own.name}'",
        cause="one config.pbtxt serves all versions that are loaded",
        next_step=f"let it answer alone: repo-tool rollback {own.name} --to {record.version}",
    )
    texts = {name: _widened(text, record) for name, text in written_configs(own).items()}
    change = LabelsChange(model=own.name, versions={label: record.version})
    with trying(found, record, {own.name: texts}, progress) as trial:
        trial.prove()

        def require() -> None:
            found.require_unchanged(trial.needed)
            labels.require_unchanged(found.repository, own.name)

        entry = Entry(action="configure", model=own.name, details={"loads": record.version})
        with progress.step("change the configurations"):
            rewrite(
                found.repository,
                trial.changes,
                beside=lambda: change.texts(found.repository),
                require=require,
                entries=[entry, *change.entries(labels)],
            )
    return labels.versions(own.name).get(label)


def _widened(text: str, record: ModelRecord) -> str:
    served = served_versions(pbtxt.parse(text).version_policy, record.versions)
    return with_versions(text, (*served, record.version), there=record.versions)
