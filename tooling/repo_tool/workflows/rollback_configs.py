# SPDX-License-Identifier: Apache-2.0
"""The configurations with which an earlier version of a pipeline answers again."""

__all__ = ["Configs", "earlier_configs"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, VersionPolicy
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.pins import pins_of
from repo_tool.repository.provenance import read_provenance
from repo_tool.workflows.config_overrides import interface_digest
from repo_tool.workflows.found_models import FoundModel, FoundModels
from repo_tool.workflows.show_model import ModelRecord

Configs = Mapping[str, Mapping[str, ModelConfig]]  # by model, then by variant: config.pbtxt has the name ""
_ADD_AGAIN = "add the pipeline again from its file: repo-tool add-pipeline"


def earlier_configs(found: FoundModels, record: ModelRecord) -> Configs:
    """Those that must change: the pipeline's own models' as published, members' with one version more.

    Raises:
        RepositoryError: a version is gone or was not kept, or a member takes or gives something else by now.
        ConfigError: a member's configuration does not parse.
    """
    published = {record.directory.name: record.facts, **dict(_generated(found.repository, record))}
    configs: dict[str, Mapping[str, ModelConfig]] = {
        name: _as_published(name, found.models.get(name, FoundModel()), facts, record.version)
        for name, facts in published.items()
    }
    pins = {name: version for own in tuple(configs.values()) for name, version in pins_of(own[""]).items()}
    for name, version in pins.items():
        if name not in published and (widened := _Member(found=found, record=record, name=name).serving(version)):
            configs[name] = widened
    return configs


def _generated(repository: ModelRepository, record: ModelRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models that were made for that version of the pipeline, with their provenance."""
    for model in repository.models():
        path = model.provenance_path(record.version)
        if path.is_file() and (facts := read_provenance(path)).get("pipeline") == record.directory.name:
            yield model.name, facts


def _as_published(name: str, found: FoundModel, facts: Mapping[str, Any], version: int) -> dict[str, ModelConfig]:
    """For each file that there is; one that was not published with the version says what its config.pbtxt says."""
    kept = facts.get("configs") or {}
    try:
        configs = {
            variant: pbtxt.parse(str((variant and kept.get(variant)) or facts.get("config") or ""))
            for variant in ("", *found.configs)
        }
    except ConfigError as error:
        raise RepositoryError(
            f"the configuration of version {version} of '{name}' was not kept", cause=error.fact, next_step=_ADD_AGAIN
        ) from error
    policy = VersionPolicy(specific=(version,))
    return {variant: replace(config, version_policy=policy) for variant, config in configs.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A model that the pipeline asks for, and that was not made for it."""

    found: FoundModels
    record: ModelRecord
    name: str

    def serving(self, version: int) -> dict[str, ModelConfig]:
        """Its configurations with that version loaded too; only those that do not load it yet."""
        model = self.found.repository.existing_model(self.name)
        there = self.found.models.get(self.name, FoundModel())
        if version not in there.versions:
            raise RepositoryError(
                f"version {version} of '{self.name}' is gone",
                cause="the pipeline was proven with it",
                next_step=_ADD_AGAIN,
            )
        self._require_same_interface(model.read_config())
        configs = {variant: model.read_config(variant) for variant in there.configs}
        wider = {variant: _wider(config, there.versions, version) for variant, config in configs.items()}
        changed = {variant: config for variant, config in wider.items() if config != configs[variant]}
        if changed:
            self._require_no_pipeline(version)
        return changed

    def _require_same_interface(self, config: ModelConfig) -> None:
        known = self.record.facts.get("member_interfaces") or {}
        if self.name in known and interface_digest(config) != known[self.name]:
            raise RepositoryError(
                f"'{self.name}' takes or gives something else by now",
                cause=f"version {self.record.version} of '{self.record.directory.name}' was proven with other tensors "
                "or another max_batch_size",
                next_step=_ADD_AGAIN,
            )

    def _require_no_pipeline(self, version: int) -> None:
        """One config.pbtxt serves all versions, and a pipeline's says what only one of them does."""
        model = self.found.repository.model(self.name)
        path = model.provenance_path(version)
        if path.is_file() and "pipeline_digest" in read_provenance(path):
            raise RepositoryError(
                f"version {version} of '{self.name}' is not loaded",
                cause="it is a pipeline itself, of which one version answers at a time",
                next_step=f"let that one go back first: repo-tool rollback {self.name} --to {version}",
            )


def _wider(config: ModelConfig, there: tuple[int, ...], version: int) -> ModelConfig:
    served = served_versions(config.version_policy, there)
    if version in served:
        return config
    return replace(config, version_policy=VersionPolicy(specific=tuple(sorted({*served, version}))))
