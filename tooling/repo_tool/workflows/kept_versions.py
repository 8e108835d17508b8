# SPDX-License-Identifier: Apache-2.0
"""Earlier versions that stay loaded beside a new one: pipelines were proven with them, or a label points at them."""

__all__ = ["KeptVersions", "keep_versions", "require_same_interface", "version_policy_with"]

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from repo_tool.config.model import ModelConfig, VersionPolicy
from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import link_tree
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import pinned_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersions:
    """Who asks for which of a model's versions, as it was when the command began."""

    model: ModelDirectory
    askers: Mapping[int, tuple[str, ...]]  # pipelines, by version
    labels: Mapping[int, tuple[str, ...]]  # by version

    @classmethod
    def of(cls, model: ModelDirectory) -> "KeptVersions":
        """Those that are there; a version that is asked for and gone keeps nothing.

        Raises:
            RepositoryError: the repository's labels do not read.
        """
        repository = ModelRepository(model.path.parent)
        asked, labels = pinned_versions(repository, model.name), Labels.of(repository)
        labelled = {version: labels.labels_of(model.name, version) for version in labels.versions(model.name).values()}
        there = model.versions() if asked or labelled else ()
        return cls(model=model, askers=_only(there, asked), labels=_only(there, labelled))

    def __bool__(self) -> bool:
        return bool(self.versions)

    @property
    def versions(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(sorted(self.askers.keys() | self.labels.keys()))

    @property
    def reason(self) -> str:
        """Why they are kept, in a few words."""
        return "; ".join(self.why(version) for version in self.versions)

    def why(self, version: int) -> str:
        """Why one of them is kept."""
        by, labels = self.askers.get(version, ()), self.labels.get(version, ())
        told = ([f"is what {_names(by)} was proven with"] if by else []) + (
            [f"is labelled {_names(labels)}"] if labels else []
        )
        return f"version {version} {' and '.join(told)}"

    def require_unchanged(self) -> None:
        """See that nobody has published or removed a pipeline over the model, or moved a label, meanwhile.

        Raises:
            RepositoryError: somebody did.
        """
        if KeptVersions.of(self.model) != self:
            raise RepositoryError(
                f"'{self.model.name}' is used by other pipelines or labels than a moment ago",
                cause="which versions must stay loaded was read when the command began",
                next_step="run the command again",
            )


def _only(there: Collection[int], asked: Mapping[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
    return {version: by for version, by in sorted(asked.items()) if version in there}


def version_policy_with(kept: KeptVersions, version: int) -> VersionPolicy:
    """What loads the new version and those that are kept."""
    return VersionPolicy(specific=tuple(sorted({*kept.versions, version})))


def keep_versions(kept: KeptVersions, staged: ModelDirectory, config: ModelConfig) -> None:
    """Put the kept versions beside the new one in the staging, so that Triton loads them under its configuration.

    Raises:
        RepositoryError: one ``config.pbtxt`` cannot serve both, for the model takes or gives something else now.
    """
    if not kept:
        return
    require_same_interface(
        config,
        kept.model.read_config(),
        f"the new version of '{kept.model.name}'",
        cause=f"{kept.reason}, and one config.pbtxt serves all versions",
        next_step="add it under another name, or take the pipeline out of the repository, or the label off, first",
    )
    for version in kept.versions:
        link_tree(kept.model.version_path(version), staged.version_path(version))


def require_same_interface(new: ModelConfig, old: ModelConfig, which: str, *, cause: str, next_step: str) -> None:
    """See that one ``config.pbtxt`` can serve both.

    Raises:
        RepositoryError: ``which`` takes or gives something else, or runs otherwise.
    """
    for field in ("backend", "platform", "max_batch_size", "inputs", "outputs", "default_model_filename"):
        if getattr(old, field) != getattr(new, field):
            raise RepositoryError(f"{which} has other {field.replace('_', ' ')}", cause=cause, next_step=next_step)


def _names(names: tuple[str, ...]) -> str:
    return " and ".join(f"'{name}'" for name in names)
