# SPDX-License-Identifier: Apache-2.0
"""Earlier versions that stay loaded beside a new one: pipelines were proven with them, or a label points at them."""

__all__ = ["KeptVersions", "keep_versions", "load_besides", "require_same_interface", "version_policy_with"]

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, VersionPolicy
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import RepositoryError
from repo_tool.repository.disk import link_tree
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import pinned_versions
from repo_tool.workflows.earlier_model import with_versions, written_configs


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

    @property
    def way_out(self) -> str:
        """The commands after which none of them is kept."""
        labels = dict.fromkeys(label for each in self.labels.values() for label in each)
        pipelines = dict.fromkeys(name for each in self.askers.values() for name in each)
        off = [f"take the label off: repo-tool promote {self.model.name} --label {label} --drop" for label in labels]
        return "; ".join((*off, *(f"take the pipeline out: repo-tool remove {name}" for name in pipelines)))

    def why(self, version: int) -> str:
        """Why one of them is kept."""
        by, labels = self.askers.get(version, ()), self.labels.get(version, ())
        told = ([f"is what {_names(by)} was proven with"] if by else []) + (
            [f"is labelled {_names(labels)}"] if labels else []
        )
        return f"version {version} {' and '.join(told)}"

    def without_askers(self, gone: Collection[str]) -> "KeptVersions":
        """What is kept without these pipelines."""
        left = {version: tuple(name for name in by if name not in gone) for version, by in self.askers.items()}
        return replace(self, askers={version: by for version, by in left.items() if by})

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
        cause=_why(kept),
        next_step=f"add it under another name, or {kept.way_out}",
    )
    for version in kept.versions:
        link_tree(kept.model.version_path(version), staged.version_path(version))


def load_besides(kept: KeptVersions, staged: ModelDirectory, there: Sequence[int]) -> None:
    """Let configurations that were written elsewhere load the kept versions besides, of those that are ``there`` then.

    Raises:
        RepositoryError: one ``config.pbtxt`` cannot serve both, or loads none that is as new as a kept one.
        ConfigError: one of them does not parse.
    """
    for name, text in written_configs(staged).items():
        config, path = pbtxt.parse(text), staged.served_config_path(name)
        served = served_versions(config.version_policy, there)
        _require_newest(kept, max(served, default=0))
        if name in ("", *kept.model.variants()):
            old = kept.model.read_config(name)
            require_same_interface(config, old, f"'{kept.model.name}' there", cause=_why(kept), next_step=kept.way_out)
        path.unlink()  # it may be a second name of a published file
        path.write_text(with_versions(text, (*served, *kept.versions), there=tuple(there)), encoding="utf-8")


def _require_newest(kept: KeptVersions, served: int) -> None:
    above = [version for version in kept.versions if version > served]
    if above:
        raise RepositoryError(
            f"'{kept.model.name}' loads no version above {served} there",
            cause=f"{kept.why(above[-1])} here, and the newest one that is loaded answers whoever asks for none",
            next_step=f"go back to it here first: repo-tool rollback {kept.model.name} --to {served}",
        )


def _why(kept: KeptVersions) -> str:
    return f"{kept.reason}, and one config.pbtxt serves all versions"


def require_same_interface(new: ModelConfig, old: ModelConfig, which: str, *, cause: str, next_step: str) -> None:
    """See that one ``config.pbtxt`` can serve both.

    Raises:
        RepositoryError: ``which`` takes or gives something else, or runs otherwise.
    """
    for field in ("backend", "platform", "max_batch_size", "inputs", "outputs", "default_model_filename"):
        before, now = getattr(old, field), getattr(new, field)
        if before != now:
            fact = f"{which} has other {field.replace('_', ' ')}: {_shown(before)} → {_shown(now)}"
            raise RepositoryError(fact, cause=cause, next_step=next_step)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{each.name} {each.datatype and each.datatype.wire_name} {list(each.dims)}" for each in value)
    return str(value or "none")


def _names(names: tuple[str, ...]) -> str:
    return " and ".join(f"'{name}'" for name in names)
