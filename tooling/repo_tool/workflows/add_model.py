# SPDX-License-Identifier: Apache-2.0
"""A trained model into the repository: bring in, derive, stage, validate, verify on a real Triton, publish."""

__all__ = ["AddModelRequest", "AddedModel", "add_model"]

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from repo_tool.config.variants import VARIANTS
from repo_tool.errors import SourceError
from repo_tool.releases import release
from repo_tool.repository.integrity import Marks, marks_of
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import write_provenance
from repo_tool.repository.publish import StagedModel, next_version, publish, staging, translating_disk_errors
from repo_tool.repository.settling import Settling
from repo_tool.verification import Parity, require_parity
from repo_tool.workflows.add_model_values import AddedModel, AddModelRequest
from repo_tool.workflows.kept_versions import KeptVersions
from repo_tool.workflows.model_attempt import Attempt, Tried, try_model
from repo_tool.workflows.model_provenance import provenance_of
from repo_tool.workflows.model_variants import prove_on_cpu, require_release_with_variants, variants_are_due
from repo_tool.workflows.model_writing import read_labels
from repo_tool.workflows.own_backend import own_backend_instead, what_differs
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import EarlyServer


def add_model(request: AddModelRequest, progress: Progress) -> AddedModel:
    """Publish a model whose served answers equal its framework's; on any failure the repository is untouched.

    Raises:
        UserMistakeError: the source, name, version, sample, labels or release do not fit.
        BackendUnprovenError: only a GPU server has its backend, and ``unverified`` was not asked for.
        ParityError: the served answers differ.
        LoadRefusedError: Triton does not load it.
    """
    repository = ModelRepository(request.repository)
    target = repository.model(request.name)
    with _prepared(request, target, progress) as attempt:
        tried = _by_either_backend(attempt)
        _require_parity(request, tried, tried.parity)
        if attempt.with_variants and tried.parity:
            _prove_on_cpu(attempt, tried)
        digested = _record(attempt, tried, repository)
        version = attempt.version if request.dry_run else _publish(attempt, tried, digested, repository)
    return _added(attempt, tried, target, version)


@contextmanager
def _prepared(request: AddModelRequest, target: ModelDirectory, progress: Progress) -> Iterator[Attempt]:
    """The first attempt, with a staging folder and a server that starts; what needs neither is refused before."""
    version = next_version(target, wanted=request.version)
    triton_release = release(request.release)
    with_variants = variants_are_due(target, asked=request.variants)
    if with_variants:
        require_release_with_variants(triton_release)
    labels = read_labels(request.labels)
    with (
        staging(ModelRepository(request.repository)) as stage,
        EarlyServer(stage.repository.path, triton_release) as server,
        Settling() as settling,
    ):
        settling.read(Path.cwd() / request.source)
        yield Attempt(
            request=request,
            stage=stage,
            server=server,
            settling=settling,
            release=triton_release,
            version=version,
            kept=KeptVersions.of(target),
            labels=labels,
            with_variants=with_variants,
            progress=progress,
        )


def _by_either_backend(attempt: Attempt) -> Tried:
    """As ONNX, or as was asked for; by the framework's own backend where the answers differ and nobody chose."""
    tried, request = try_model(attempt), attempt.request
    own = own_backend_instead(tried.imported, tried.parity, chosen=request.backend, refined=bool(request.refinement))
    return _try_instead(attempt, own, tried) if own else tried


def _try_instead(attempt: Attempt, own: str, tried: Tried) -> Tried:
    """The same by the framework's own backend; as it was where that cannot carry the model either."""
    reason = f"as ONNX its {what_differs(tried.parity)}" if tried.parity else ""
    shutil.rmtree(tried.written.directory.path)
    shutil.rmtree(tried.imported.artifact.parent)
    try:
        return try_model(replace(attempt, request=replace(attempt.request, backend=own), reason=reason))
    except SourceError:
        return tried


def _require_parity(request: AddModelRequest, tried: Tried, parity: Parity | None) -> None:
    if parity is not None:
        allowed = request.allowed_for(tried.imported)
        require_parity(parity, model=request.name, framework=tried.imported.framework, tolerance=allowed)


def _prove_on_cpu(attempt: Attempt, tried: Tried) -> None:
    request, written = attempt.request, tried.written
    with attempt.progress.step("verify configs/cpu.pbtxt") as step:
        parity = prove_on_cpu(
            attempt.stage.repository,
            written.config,
            written.sample,
            release=attempt.release,
            tolerance=request.allowed_for(tried.imported),
        )
        _require_parity(request, tried, parity)
        step.detail = parity.summary


def _record(attempt: Attempt, tried: Tried, repository: ModelRepository) -> Marks:
    """Write down what was proven; the files were read, and the disk got them, while it was."""
    directory = tried.written.directory
    with translating_disk_errors(repository.path):
        attempt.settling.finish()
        digested = marks_of(directory.version_path(attempt.version))
        facts = provenance_of(attempt, tried)
        write_provenance(directory.provenance_path(attempt.version), facts)
    return digested


def _publish(attempt: Attempt, tried: Tried, digested: Marks, repository: ModelRepository) -> int:
    with attempt.progress.step("publish"):
        model = StagedModel(directory=tried.written.directory, version=attempt.version, digested=digested)
        may_renumber = attempt.request.version is None and not attempt.kept  # which tells its number in config.pbtxt
        return publish([model], repository, renumber=may_renumber, require=attempt.kept.require_unchanged)


def _added(attempt: Attempt, tried: Tried, target: ModelDirectory, version: int) -> AddedModel:
    return AddedModel(
        directory=target,
        version=version,
        config=tried.written.config,
        config_text=tried.written.text,
        imported=tried.imported,
        parity=tried.parity,
        release=attempt.release,
        published=not attempt.request.dry_run,
        reasons=tried.written.reasons,
        variants=VARIANTS if attempt.with_variants else (),
        refined=tried.refined,
    )
