# SPDX-License-Identifier: Apache-2.0
"""Whether a repository is whole, byte by byte, and what a command that was killed has left; told, and mended."""

__all__ = ["Checked", "FsckRequest", "fsck_repository"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repo_tool.errors import RepositoryError, UserMistakeError
from repo_tool.repository.disk import NOT_WRITABLE, sync
from repo_tool.repository.journal import Entry, Journal
from repo_tool.repository.labels import move
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.leftovers import leftovers
from repo_tool.repository.locks import changing, publishing
from repo_tool.repository.publish import rewrite
from repo_tool.repository.staging import put_in_order
from repo_tool.repository.stamps import provenance_digest, restamped
from repo_tool.workflows.fsck_findings import (
    RESTORABLE,
    Finding,
    Repair,
    beside_findings,
    journaled_versions,
    model_findings,
)
from repo_tool.workflows.fsck_restore import Place, restore
from repo_tool.workflows.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class FsckRequest:
    """Which repository; without ``models`` all of it."""

    repository: Path
    models: tuple[str, ...] = ()
    repair: bool = False
    source: str = ""  # where damaged files are fetched from: s3://BUCKET/FOLDER, or a folder's path
    endpoint_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is wrong, what was and is no more, and why some of it could not be mended."""

    repository: Path
    models: int
    versions: int
    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()
    failures: Mapping[Finding, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong now; a warning tells of what a person may have meant."""
        return all(found.severity == "warning" for found in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "repository": str(self.repository),
            "models": self.models,
            "versions": self.versions,
            "clean": self.clean,
            "findings": [found.to_dict() | {"failure": self.failures.get(found, "")} for found in self.findings],
            "repaired": [found.to_dict() for found in self.repaired],
        }


def fsck_repository(request: FsckRequest, progress: Progress) -> Checked:
    """Recompute every digest and hold journal, labels and pins against what is there; mend what is asked and can be.

    Without ``repair`` nothing is changed. Nothing that a person may have written is ever removed.

    Raises:
        RepositoryError: no such repository or model, or one cannot be read; there is nothing at the remote.
        MissingExtraError: boto3 is needed and not installed.
    """
    repository = ModelRepository(request.repository)
    models = _models(repository, request.models)
    place = Place.at(request.source, endpoint_url=request.endpoint_url) if request.source else None
    first = findings = _look(repository, models, request.models, progress)
    failures: dict[Finding, str] = {}
    if request.repair and place and any(finding.kind in RESTORABLE for finding in findings):
        failures |= restore(repository, place, findings, progress)
        findings = _look(repository, models, request.models, progress)
    if request.repair and any(finding.repair for finding in findings):
        waiting = [finding for finding in findings if finding not in failures]  # it may come back yet
        failures |= _repair(repository, waiting, progress)
        findings = _look(repository, models, request.models, progress)
    repaired = tuple(finding for finding in first if finding not in findings)
    return Checked(
        repository=request.repository,
        models=len(models),
        versions=sum(len(model.versions()) for model in models),
        findings=findings,
        repaired=repaired,
        failures=failures,
    )


def _models(repository: ModelRepository, names: Sequence[str]) -> list[ModelDirectory]:
    if names:
        return [repository.existing_model(name) for name in names]
    if not repository.path.exists() and repository.private_path.is_dir():  # a first publication was cut off
        return []
    return list(repository.models())


def _look(
    repository: ModelRepository, models: Sequence[ModelDirectory], only: Sequence[str], progress: Progress
) -> tuple[Finding, ...]:
    with progress.step("recompute digests") as step:
        found: list[Finding] = []
        for number, model in enumerate(models, start=1):
            step.detail = f"{model.name}, {number} of {len(models)}"
            found += _settled(repository, model)
        step.detail = f"{len(models)} model{'' if len(models) == 1 else 's'}"
    with progress.step("compare with what lies beside") as step, _nobody_publishes(repository):
        told = {(each.kind, each.path) for each in found}
        beside = [each for each in beside_findings(repository) if (each.kind, each.path) not in told]
        found += [each for each in beside if not only or each.model in ("", *only)]
        step.detail = f"{len(found)} finding{'' if len(found) == 1 else 's'}"
    return tuple(found)


def _settled(repository: ModelRepository, model: ModelDirectory) -> list[Finding]:
    """What is wrong with a model, and was not only because somebody published it at this moment."""
    found = list(model_findings(model))
    if found:
        with _nobody_publishes(repository):
            found = list(model_findings(model))
    return found


@contextmanager
def _nobody_publishes(repository: ModelRepository) -> Iterator[None]:
    """Have the lock, where there can be publishers and this user may have it."""
    with ExitStack() as held:
        if repository.private_path.is_dir():
            try:
                held.enter_context(publishing(repository))
            except OSError as error:
                if error.errno not in NOT_WRITABLE:
                    raise
        yield


def _repair(repository: ModelRepository, findings: Sequence[Finding], progress: Progress) -> dict[Finding, str]:
    """Mend one by one, and tell why some could not be: what was begun first, as the rest may be its consequence."""
    failures: dict[Finding, str] = {}
    with progress.step("repair") as step:
        for number, finding in enumerate(sorted(findings, key=lambda each: each.repair != "settle"), start=1):
            step.detail = f"{number} of {len(findings)}"
            if finding.repair:
                try:
                    _REPAIRS[finding.repair](repository, finding)
                except (OSError, UserMistakeError) as error:
                    failures[finding] = str(error)
        step.detail = f"{len(failures)} could not be mended" if failures else ""
    return failures


def _settle(repository: ModelRepository, finding: Finding) -> None:
    put_in_order(repository)
    with changing(repository):
        if finding.path.suffix == ".draft" and finding.path in {left.path for left in leftovers(repository)}:
            finding.path.unlink(missing_ok=True)
    if finding.path.exists():
        raise RepositoryError(f"'{finding.path}' cannot be put in order", next_step="look what it holds")


def _truncate(repository: ModelRepository, _: Finding) -> None:
    journal = Journal(repository).path
    with changing(repository):
        with journal.open("r+b") as stream:
            stream.truncate(stream.read().rfind(b"\n") + 1)
        sync(journal)


def _note(repository: ModelRepository, finding: Finding) -> None:
    """Tell in the journal what is there, so that its number is never given again, or what is gone."""
    model, version = repository.model(finding.model), finding.version or 0
    with changing(repository):
        is_there = version in model.versions()
        if is_there == (version in journaled_versions(Journal(repository).entries()).get(model.name, {})):
            return  # by now
        digest = (provenance_digest(model, version) or "") if is_there else ""
        action = "found" if is_there else "missing"
        Journal(repository).append([Entry(action=action, model=model.name, version=version, digest=digest)])


def _restamp(repository: ModelRepository, finding: Finding) -> None:
    model = repository.model(finding.model)
    old = finding.path.read_text(encoding="utf-8")
    rewrite(repository, {str(finding.path.relative_to(repository.path)): (old, restamped(old, model))})


def _unlabel(repository: ModelRepository, finding: Finding) -> None:
    move(repository, finding.model, finding.label, None)


def _chmod(repository: ModelRepository, finding: Finding) -> None:
    with changing(repository):
        mode = finding.path.lstat().st_mode & 0o7775
        finding.path.chmod(mode | (0o500 if finding.path.is_dir() else 0o400))


_REPAIRS: dict[Repair, Callable[[ModelRepository, Finding], None]] = {
    "settle": _settle,
    "truncate": _truncate,
    "note": _note,
    "restamp": _restamp,
    "unlabel": _unlabel,
    "chmod": _chmod,
}
