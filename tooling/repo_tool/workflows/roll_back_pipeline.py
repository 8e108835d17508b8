# SPDX-License-Identifier: Apache-2.0
"""A pipeline back to an earlier version, whole: its own model, those made for it, the versions it was proven with."""

__all__ = ["RollBackRequest", "RolledBack", "roll_back_pipeline"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, VersionPolicy
from repo_tool.config.served_versions import served_versions
from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.releases import release
from repo_tool.repository.disk import link_tree
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.pins import pins_of
from repo_tool.repository.provenance import read_provenance
from repo_tool.repository.publish import Staging, rewrite, staging
from repo_tool.samples import read_published_sample
from repo_tool.verification import Parity, require_parity, verify
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import EarlyServer, require_valid, triton_inference
from repo_tool.workflows.show_model import ModelRecord, read_record


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBackRequest:
    """Which pipeline, and to which of its versions."""

    pipeline: str
    repository: Path = Path("model_repository")
    version: int | None = None  # None: the one before that which is served


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What came of it; ``models`` are those whose ``config.pbtxt`` changed."""

    pipeline: str
    before: int
    version: int
    models: tuple[str, ...]
    parity: Parity

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.pipeline,
            "before": self.before,
            "version": self.version,
            "models": list(self.models),
            "parity": self.parity.to_dict(),
        }


def roll_back_pipeline(request: RollBackRequest, progress: Progress) -> RolledBack:
    """Let an earlier version of a pipeline answer again, once a real Triton has answered with it as it did then.

    The configuration of each model is what was published with that version; all change, or none. The newer version
    stays on disk, unloaded. Members get their earlier versions loaded beside those that are.

    Raises:
        RepositoryError: no such version, or a model that it needs is gone or takes something else now.
        ParityError: it no longer answers as it did.
        LoadRefusedError: Triton does not load it.
    """
    repository = ModelRepository(request.repository)
    own = repository.existing_model(request.pipeline)
    before = max(served_versions(own.read_config().version_policy, own.versions()), default=0)
    record = read_record(repository.path, own.name, request.version or _previous(own, before))
    if "pipeline_digest" not in record.facts:
        raise RepositoryError(
            f"'{own.name}' is no pipeline", cause="its provenance tells of none", next_step="name one that is"
        )
    with progress.step(f"gather version {record.version}"):
        configs = _configs(repository, record)
    with staging(repository) as stage, EarlyServer(stage.repository.path, release(_release_of(record))) as server:
        called = {name for config in configs.values() for name in pins_of(config)}
        _stage(stage, repository, configs, {*configs, *called})
        with progress.step("validate") as step:
            step.detail = require_valid(stage.repository, release(_release_of(record)))
        with progress.step("verify on Triton") as step:
            for name in sorted(called):  # what a block calls nobody loads for it
                server.load(name)
            parity = _ask(server, record, configs[own.name])
            step.detail = parity.summary
        with progress.step("change the configurations"):
            changes = _changes(repository, stage, configs)
            rewrite(repository, changes)
    changed = tuple(sorted({Path(name).parts[0] for name in changes}))
    return RolledBack(pipeline=own.name, before=before, version=record.version, models=changed, parity=parity)


def _previous(model: ModelDirectory, served: int) -> int:
    earlier = [version for version in model.versions() if version < served]
    if not earlier:
        raise RepositoryError(
            f"'{model.name}' has no version before {served}",
            cause=f"its versions are {', '.join(map(str, model.versions())) or 'none'}",
            next_step="name one with --to",
        )
    return earlier[-1]


def _release_of(record: ModelRecord) -> str:
    return str(record.facts.get("release") or "")


def _configs(repository: ModelRepository, record: ModelRecord) -> dict[str, ModelConfig]:
    """The configurations to be: of the pipeline's own models as published, of members with one version more."""
    published = {record.directory.name: record.facts, **dict(_generated(repository, record))}
    configs = {name: _as_published(name, facts, record.version) for name, facts in published.items()}
    for asking in tuple(configs.values()):
        for name, version in pins_of(asking).items():
            if name not in configs and (widened := _serving(repository, name, version)):
                configs[name] = widened
    return configs


def _generated(repository: ModelRepository, record: ModelRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models that were made for that version of the pipeline, with their provenance."""
    for model in repository.models():
        path = model.provenance_path(record.version)
        if path.is_file() and (facts := read_provenance(path)).get("pipeline") == record.directory.name:
            yield model.name, facts


def _as_published(name: str, facts: Mapping[str, Any], version: int) -> ModelConfig:
    try:
        config = pbtxt.parse(str(facts.get("config") or ""))
    except ConfigError as error:
        raise RepositoryError(
            f"the configuration of version {version} of '{name}' was not kept",
            cause=error.fact,
            next_step="add the pipeline again from its file: repo-tool add-pipeline",
        ) from error
    return replace(config, version_policy=VersionPolicy(specific=(version,)))


def _serving(repository: ModelRepository, name: str, version: int) -> ModelConfig | None:
    """The configuration of a member with that version loaded too; None where it is already.

    Raises:
        RepositoryError: the version is gone, or the model takes or gives something else by now.
    """
    member = repository.existing_model(name)
    config, there = member.read_config(), member.versions()
    if version not in there:
        raise RepositoryError(
            f"version {version} of '{name}' is gone",
            cause="the pipeline was proven with it",
            next_step="add the pipeline again from its file: repo-tool add-pipeline",
        )
    served = served_versions(config.version_policy, there)
    if version in served:
        return None
    return replace(config, version_policy=VersionPolicy(specific=tuple(sorted({*served, version}))))


def _stage(stage: Staging, repository: ModelRepository, configs: Mapping[str, ModelConfig], models: set[str]) -> None:
    """The models as they are to be, as hard links but for the configurations."""
    stage.repository.path.mkdir(parents=True, exist_ok=True)
    for name in sorted(models):
        staged = stage.repository.model(name)
        link_tree(repository.model(name).path, staged.path)
        if name in configs:
            staged.config_path.unlink()
            staged.config_path.write_text(_rendered(configs[name]), encoding="utf-8")


def _rendered(config: ModelConfig) -> str:
    return pbtxt.render(config, verified=True, reasons={"version_policy": "a pipeline went back to these versions"})


def _ask(server: EarlyServer, record: ModelRecord, config: ModelConfig) -> Parity:
    """The sample that was published with the version must come back as it did."""
    sample = read_published_sample(record.directory.sample_path(record.version))
    server.load(config.name)
    with triton_inference(server.grpc_url, config.name) as infer:
        parity = verify(infer, config, sample, tolerance=record.tolerance())
    require_parity(parity, model=config.name, framework="version as it was published", tolerance=record.tolerance())
    return parity


def _changes(
    repository: ModelRepository, stage: Staging, configs: Mapping[str, ModelConfig]
) -> dict[str, tuple[str, str]]:
    """By path in the repository, what stands there and what is to."""
    texts = {
        f"{name}/config.pbtxt": tuple(
            place.model(name).config_path.read_text(encoding="utf-8") for place in (repository, stage.repository)
        )
        for name in configs
    }
    return {path: (old, new) for path, (old, new) in texts.items() if old != new}
