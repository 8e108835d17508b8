# SPDX-License-Identifier: Apache-2.0
"""A pipeline back to an earlier version, whole: its own model, those made for it, the versions it was proven with."""

__all__ = ["RollBackRequest", "RolledBack", "roll_back_pipeline"]

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig
from repo_tool.config.served_versions import served_versions
from repo_tool.config.variants import CPU
from repo_tool.errors import RepositoryError
from repo_tool.releases import Release, release
from repo_tool.repository.disk import link_tree
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.needed_models import needed_models
from repo_tool.repository.pins import pinned_versions
from repo_tool.repository.publish import Staging, rewrite, staging
from repo_tool.samples import read_published_sample
from repo_tool.verification import Parity, require_parity, verify
from repo_tool.workflows.found_models import FoundModels
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import EarlyServer, require_valid, triton_inference
from repo_tool.workflows.rollback_configs import Configs, earlier_configs
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One call of ``roll_back_pipeline``: what was read, and where it is tried."""

    repository: ModelRepository
    found: FoundModels  # before anything was read
    record: ModelRecord
    release: Release
    changes: Mapping[str, tuple[str, str]]  # by path in the repository, what stands there and what is to
    config: ModelConfig  # the pipeline's own
    needed: tuple[str, ...]  # the models that change, and those that they call
    stage: Staging
    server: EarlyServer
    progress: Progress


def roll_back_pipeline(request: RollBackRequest, progress: Progress) -> RolledBack:
    """Let an earlier version of a pipeline answer again, once a real Triton has answered with it as it did then.

    The configurations of each model are what was published with that version; all change, or none. The newer version
    stays on disk, unloaded. Members get their earlier versions loaded beside those that are.

    Raises:
        RepositoryError: no such version, a model that it needs is gone or takes something else now, or another
            pipeline asks for the version that is served.
        ParityError: it no longer answers as it did.
        LoadRefusedError: Triton does not load it.
    """
    repository = ModelRepository(request.repository)
    found = FoundModels.of(repository)
    own = repository.existing_model(request.pipeline)
    before = max(served_versions(own.read_config().version_policy, own.versions()), default=0)
    record = read_record(repository.path, own.name, request.version or _previous(own, before), option="--to")
    with _gathered(found, record, progress) as run:
        _stage(run)
        with progress.step("validate") as step:
            step.detail = require_valid(run.stage.repository, run.release)
        parity = _prove(run)
        with progress.step("change the configurations"):
            rewrite(repository, run.changes, require=lambda: _require_still_so(run))
    changed = tuple(sorted({Path(name).parts[0] for name in run.changes}))
    return RolledBack(pipeline=own.name, before=before, version=record.version, models=changed, parity=parity)


@contextmanager
def _gathered(found: FoundModels, record: ModelRecord, progress: Progress) -> Iterator[_Run]:
    """What needs no server is refused before one starts."""
    repository, own = found.repository, record.directory.name
    if "pipeline_digest" not in record.facts:
        raise RepositoryError(
            f"'{own}' is no pipeline", cause="its provenance tells of none", next_step="name one that is"
        )
    with progress.step(f"gather version {record.version}"):
        configs = earlier_configs(found, record)
        _require_nobody_asks(repository, record)
    to_be = {name: variants[""] for name, variants in configs.items() if "" in variants}
    triton_release = release(str(record.facts.get("release") or ""))
    with staging(repository) as stage, EarlyServer(stage.repository.path, triton_release) as server:
        yield _Run(
            repository=repository,
            found=found,
            record=record,
            release=triton_release,
            changes=dict(_changes(found, configs)),
            config=to_be[own],
            needed=needed_models(repository, configs, configs=to_be),
            stage=stage,
            server=server,
            progress=progress,
        )


def _previous(model: ModelDirectory, served: int) -> int:
    earlier = [version for version in model.versions() if version < served]
    if not earlier:
        raise RepositoryError(
            f"'{model.name}' has no version before {served}",
            cause=f"its versions are {', '.join(map(str, model.versions())) or 'none'}",
            next_step="name one with --to",
        )
    return earlier[-1]


def _require_nobody_asks(repository: ModelRepository, record: ModelRecord) -> None:
    """See that no other pipeline was proven with a version that would be served no longer."""
    asked = pinned_versions(repository, record.directory.name)
    askers = sorted({by for version, each in asked.items() for by in each if version != record.version})
    if askers:
        raise RepositoryError(
            f"'{askers[0]}' was proven with another version of '{record.directory.name}'",
            cause="a pipeline has one config.pbtxt for all its versions, so that one of them answers at a time",
            next_step="let that pipeline go back first, or take it out of the repository",
        )


def _require_still_so(run: _Run) -> None:
    _require_nobody_asks(run.repository, run.record)
    run.found.require_unchanged(run.needed)


def _changes(found: FoundModels, configs: Configs) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, variants in configs.items():
        model = found.repository.model(name)
        there = found.models[name].configs if name in found.models else {}
        for variant, config in variants.items():
            path = model.variant_path(variant) if variant else model.config_path
            old, new = there.get(variant, b"").decode(errors="replace"), _rendered(config, variant)
            if old != new:
                yield path.relative_to(found.repository.path).as_posix(), (old, new)


def _rendered(config: ModelConfig, variant: str) -> str:
    reasons = {"version_policy": "a pipeline went back to these versions"}
    return pbtxt.render(config, verified=variant in ("", CPU), reasons=reasons, variant=variant)


def _stage(run: _Run) -> None:
    """The models as they are to be, as hard links but for the configurations that change."""
    stage = run.stage.repository
    stage.path.mkdir(parents=True, exist_ok=True)
    for name in run.needed:
        link_tree(run.repository.model(name).path, stage.model(name).path)
    for name, (_, new) in run.changes.items():
        path = stage.path / name
        path.unlink()
        path.write_text(new, encoding="utf-8")


def _prove(run: _Run) -> Parity:
    """The sample that was published with the version must come back as it did, also by ``configs/cpu.pbtxt``."""
    with run.progress.step("verify on Triton") as step:
        parity = _ask(run, run.server)
        step.detail = parity.summary
    staged = run.stage.repository
    if any(staged.model(name).variant_path(CPU).is_file() for name in run.needed):
        with (
            run.progress.step("verify configs/cpu.pbtxt") as step,
            EarlyServer(staged.path, run.release, model_config_name=CPU) as server,
        ):
            step.detail = _ask(run, server).summary
    return parity


def _ask(run: _Run, server: EarlyServer) -> Parity:
    name, tolerance = run.config.name, run.record.tolerance()
    sample = read_published_sample(run.record.directory.sample_path(run.record.version))
    server.load(name)
    with triton_inference(server.grpc_url, name) as infer:
        parity = verify(infer, run.config, sample, tolerance=tolerance)
    require_parity(parity, model=name, framework="version as it was published", tolerance=tolerance)
    return parity
