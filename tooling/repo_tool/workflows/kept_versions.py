# SPDX-License-Identifier: Apache-2.0
"""Earlier versions that stay loaded beside a new one, because pipelines were proven with them."""

__all__ = ["KeptVersions", "keep_versions", "version_policy_with"]

from collections.abc import Mapping
from dataclasses import dataclass

from repo_tool.config.model import ModelConfig, VersionPolicy
from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import link_tree
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import pinned_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersions:
    """Who asks for which of a model's versions, as it was when the command began."""

    model: ModelDirectory
    askers: Mapping[int, tuple[str, ...]]  # pipelines, by version

    @classmethod
    def of(cls, model: ModelDirectory) -> "KeptVersions":
        """Those that are there; a version that is asked for and gone keeps nothing."""
        asked = pinned_versions(ModelRepository(model.path.parent), model.name)
        there = model.versions() if asked else ()
        return cls(model=model, askers={version: by for version, by in asked.items() if version in there})

    def __bool__(self) -> bool:
        return bool(self.askers)

    @property
    def reason(self) -> str:
        """Why they are kept, in a few words."""
        told = (f"version {version} is what {_names(by)} was proven with" for version, by in self.askers.items())
        return "; ".join(told)

    def require_unchanged(self) -> None:
        """See that nobody has published or removed a pipeline over the model meanwhile.

        Raises:
            RepositoryError: somebody did.
        """
        if KeptVersions.of(self.model) != self:
            raise RepositoryError(
                f"'{self.model.name}' is used by other pipelines than a moment ago",
                cause="which versions must stay loaded was read when the command began",
                next_step="run the command again",
            )


def version_policy_with(kept: KeptVersions, version: int) -> VersionPolicy:
    """What loads the new version and those that are kept."""
    return VersionPolicy(specific=tuple(sorted({*kept.askers, version})))


def keep_versions(kept: KeptVersions, staged: ModelDirectory, config: ModelConfig) -> None:
    """Put the kept versions beside the new one in the staging, so that Triton loads them under its configuration.

    Raises:
        RepositoryError: one ``config.pbtxt`` cannot serve both, for the model takes or gives something else now.
    """
    if not kept:
        return
    _require_same_interface(kept, config)
    for version in kept.askers:
        link_tree(kept.model.version_path(version), staged.version_path(version))


def _require_same_interface(kept: KeptVersions, config: ModelConfig) -> None:
    before = kept.model.read_config()
    for field in ("backend", "platform", "max_batch_size", "inputs", "outputs", "default_model_filename"):
        if getattr(before, field) != getattr(config, field):
            raise RepositoryError(
                f"the new version of '{kept.model.name}' has other {field.replace('_', ' ')}",
                cause=f"{kept.reason}, and one config.pbtxt serves all versions",
                next_step="add it under another name, or take the pipeline out of the repository first",
            )


def _names(pipelines: tuple[str, ...]) -> str:
    return " and ".join(f"'{name}'" for name in pipelines)
