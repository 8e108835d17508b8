# SPDX-License-Identifier: Apache-2.0
"""A plan carried out: each model is proven and published by itself; one that fails stops only those that need it."""

__all__ = ["Applied", "Audience", "Outcome", "Result", "apply_plan"]

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from repo_tool.errors import RepositoryError, RepoToolError
from repo_tool.releases import DEFAULT_RELEASE, release
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.publish import Staging, replace_config, sole_changer, staging, withdraw
from repo_tool.rules import Diagnostic, validate
from repo_tool.samples import read_published_sample
from repo_tool.verification import Tolerance, require_parity, verify
from repo_tool.workflows.add_model import AddModelRequest, add_model
from repo_tool.workflows.add_pipeline import AddPipelineRequest, add_pipeline
from repo_tool.workflows.plan_actions import DEFAULT_PIPELINE_TOLERANCE, Action, ActionKind
from repo_tool.workflows.plan_desired import DesiredModel, DesiredPipeline
from repo_tool.workflows.plan_found import uses_in, uses_of
from repo_tool.workflows.plan_repository import RepositoryPlan
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import EarlyServer, require_valid, triton_inference
from repo_tool.workflows.show_model import ModelRecord, read_record

_SAME_NAME = (
    *("source", "name", "framework", "backend", "method", "signature", "task", "weights", "weights_inside", "sample"),
    *("labels", "max_batch_size", "instances", "cores", "precision", "optimize", "unverified", "variants", "config"),
)


class Result(Enum):
    """How one action came out."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # a model that it needs failed, or it cannot be done at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one action."""

    action: Action
    result: Result
    version: int | None = None
    error: RepoToolError | None = None
    why: str = ""  # it was skipped
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            **self.action.to_dict(),
            "result": self.result.value,
            "version": self.version,
            "seconds": round(self.seconds, 3),
            "error": self.error.to_dict() if self.error else None,
            "why": self.why or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of the whole: each action, and what the rules say about the repository as it is now."""

    outcomes: tuple[Outcome, ...]
    diagnostics: tuple[Diagnostic, ...]
    published: bool  # False: it was a dry run

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "published": self.published,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
            "diagnostics": [diagnostic.to_dict() for diagnostic in self.diagnostics],
        }


class Audience(Protocol):
    """Who hears how it goes."""

    @property
    def progress(self) -> Progress:
        """Where the steps of one action are shown."""
        ...

    def begins(self, action: Action) -> None:
        """An action is tried."""
        ...

    def ends(self, outcome: Outcome) -> None:
        """It is over, or was not even tried."""
        ...


def apply_plan(planned: RepositoryPlan, audience: Audience, *, dry_run: bool = False) -> Applied:
    """Do all of it and validate the repository; what goes does so last, and only if all else was done.

    A dry run does the same to a copy, which shares its files with the repository and is gone afterwards.

    Raises:
        RepositoryError: the repository is not as it was when it was planned, another command applies a file to it, or
            it cannot be written. Nothing is changed.
    """
    here = ModelRepository(planned.repository.path.absolute())
    place = _copy_of(here) if dry_run else _held(here)
    with place as repository:
        _require_as_planned(planned)
        with chdir(planned.file.folder):
            outcomes = _Work(planned=planned, repository=repository, audience=audience).do(planned.plan.actions)
        target = release(planned.file.declared.options.release or DEFAULT_RELEASE)
        diagnostics = validate(repository, release=target) if repository.path.is_dir() else []
    return Applied(outcomes=tuple(outcomes), diagnostics=tuple(diagnostics), published=not dry_run)


def _require_as_planned(planned: RepositoryPlan) -> None:
    """Somebody may have published between the plan and the yes to it."""
    if (name := planned.differs_from(planned.again())) is not None:
        raise RepositoryError(
            f"'{name}' has been changed since this was planned",
            cause="another command or person works on the repository; nothing was changed by this one",
            next_step="look at the plan again: repo-tool plan",
        )


@contextmanager
def _held(repository: ModelRepository) -> Iterator[ModelRepository]:
    with sole_changer(repository):
        yield repository


@contextmanager
def _copy_of(repository: ModelRepository) -> Iterator[ModelRepository]:
    with staging(repository) as stage:
        copy = ModelRepository(stage.work_path / repository.path.name)
        if repository.path.is_dir():
            _copy_folder(repository.path, copy.path)
        yield copy


def _copy_folder(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, copy_function=_link_or_copy)
    except shutil.Error as error:
        name, _, cause = error.args[0][0]
        raise RepositoryError(
            f"'{name}' cannot be copied",
            cause=str(cause),
            next_step="look at that file: it must be readable to be served too",
        ) from error


def _link_or_copy(source: str, target: str) -> None:
    """Published files are never written to, only replaced: a second name is as good as a copy."""
    if not Path(source).exists():  # a link that leads nowhere: what that means is for the rules to say
        Path(target).symlink_to(Path(source).readlink())
        return
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # a link out of the repository to another file system
        shutil.copyfile(source, target)


def _not_removals(failed: Mapping[str, ActionKind]) -> list[str]:
    return [name for name, kind in failed.items() if kind is not ActionKind.REMOVE]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """The actions of one plan on one repository."""

    planned: RepositoryPlan
    repository: ModelRepository
    audience: Audience

    def do(self, actions: Sequence[Action]) -> list[Outcome]:
        """One after the other; what fails is told, and what needs it is not tried."""
        outcomes: list[Outcome] = []
        failed: dict[str, ActionKind] = {}
        for action in actions:
            outcome = self._try(action, failed)
            if outcome.result is not Result.DONE:
                failed[action.model] = action.kind
            outcomes.append(outcome)
            self.audience.ends(outcome)
        return outcomes

    def _try(self, action: Action, failed: Mapping[str, ActionKind]) -> Outcome:
        if action.obstacle:
            return Outcome(action=action, result=Result.SKIPPED, why=action.obstacle)
        if missing := [name for name in action.needs if name in failed]:
            return Outcome(action=action, result=Result.SKIPPED, why=f"'{missing[0]}' comes first, and failed")
        if action.kind is ActionKind.REMOVE and (undone := _not_removals(failed)):
            why = f"'{undone[0]}' failed, and nothing goes before all else is done"  # it may be what takes its place
            return Outcome(action=action, result=Result.SKIPPED, why=why)
        self.audience.begins(action)
        started = perf_counter()
        try:
            version = self._perform(action)
        except RepoToolError as error:
            return Outcome(action=action, result=Result.FAILED, error=error, seconds=perf_counter() - started)
        return Outcome(action=action, result=Result.DONE, version=version, seconds=perf_counter() - started)

    def _perform(self, action: Action) -> int | None:
        if action.kind is ActionKind.REMOVE:
            self._remove(action.model)
            return None
        if action.kind is ActionKind.CONFIGURE:
            self._configure(action)
            return None
        pipeline = next((entry for entry in self.planned.desired.pipelines if entry.name == action.model), None)
        if pipeline is not None:
            return self._add_pipeline(pipeline)
        return self._add_model(next(entry for entry in self.planned.desired.models if entry.name == action.model))

    def _add_model(self, model: DesiredModel) -> int:
        declared = self.planned.file.declared.models[model.index]
        request = AddModelRequest(
            **{name: getattr(declared, name) for name in _SAME_NAME},
            trusted_types=declared.trust_types,
            trusted_source=declared.trust_source,
            tolerance=model.options.get("tolerance"),
            repository=self.repository.path,
            release=model.release or DEFAULT_RELEASE,
            by="apply",
            owner=self.planned.desired.owner,
        )
        return add_model(request, self.audience.progress).version

    def _add_pipeline(self, pipeline: DesiredPipeline) -> int:
        declared = self.planned.file.declared.pipelines[pipeline.index]
        tolerance = DEFAULT_PIPELINE_TOLERANCE if pipeline.tolerance is None else pipeline.tolerance
        request = AddPipelineRequest(
            file=declared.file,
            sample=declared.sample,
            reference=declared.reference,
            tolerances=declared.tolerate,
            repository=self.repository.path,
            release=pipeline.release or DEFAULT_RELEASE,
            tolerance=Tolerance(absolute=tolerance, relative=tolerance),
            by="apply",
            owner=self.planned.desired.owner,
        )
        return add_pipeline(request, self.audience.progress).version

    def _remove(self, model: str) -> None:
        seen = self.planned.found[model].version
        with self.audience.progress.step("remove") as step, staging(self.repository) as stage:
            kept = withdraw(self.repository.existing_model(model), stage, expected_version=seen)
            step.detail = f"kept for some days: {kept}"

    def _configure(self, action: Action) -> None:
        """Give a model another ``config.pbtxt``, proven as a new version would be.

        Raises:
            ConfigError: a rule finds an error in it.
            LoadRefusedError: Triton does not load the model with it.
            ParityError: the answers differ from those published with the model.
        """
        record = read_record(self.repository.path, action.model)
        target = release(str(record.facts.get("release") or DEFAULT_RELEASE))
        with staging(self.repository) as stage, EarlyServer(stage.repository.path, target) as server:
            staged = self._stage(action, stage)
            with self.audience.progress.step(f"validate for Triton {target.name}") as step:
                step.detail = require_valid(stage.repository, target)
            if record.unproven:
                step.detail += "; not loaded: " + record.unproven
            else:
                self._prove(record, staged, server)
            with self.audience.progress.step("publish"):
                seen = self.planned.found[action.model].config_text
                replace_config(staged, self.repository, expected=None if seen is None else seen.encode())

    def _stage(self, action: Action, stage: Staging) -> ModelDirectory:
        """The model with its new configuration, and for an ensemble all that it uses."""
        staged = stage.repository.model(action.model)
        for name in self._with_members(action):
            source, copy = self.repository.existing_model(name), stage.repository.model(name)
            _copy_folder(source.path, copy.path)
        staged.config_path.unlink(missing_ok=True)
        staged.config_path.write_text(action.config_text or "", encoding="utf-8")
        return staged

    def _with_members(self, action: Action) -> list[str]:
        there, wanted = {model.name: model for model in self.repository.models()}, [action.model]
        uses = uses_in(action.config_text)
        for name in wanted:  # grows while it is walked
            uses = uses if name == action.model else uses_of(there[name])
            wanted += [used for used in uses if used not in wanted and used in there]
        return wanted

    def _prove(self, record: ModelRecord, staged: ModelDirectory, server: EarlyServer) -> None:
        name = staged.name
        with self.audience.progress.step("verify on Triton") as step:
            server.load(name)
            path = staged.sample_path(record.version)
            if not path.is_file():
                step.detail = "it loads; no rows were published to compare with"
                return
            with triton_inference(server.grpc_url, name) as infer:
                parity = verify(infer, staged.read_config(), read_published_sample(path), tolerance=record.tolerance())
            require_parity(parity, model=name, framework="the published answers", tolerance=record.tolerance())
            step.detail = parity.summary
