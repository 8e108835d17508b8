# SPDX-License-Identifier: Apache-2.0
"""One attempt at a model: bring in, refine, stage, validate, ask a real Triton."""

__all__ = ["Attempt", "Tried", "try_model"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repo_tool.config.model import ModelConfig
from repo_tool.errors import BackendUnprovenError
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.child import import_in_child
from repo_tool.refinement.plan import RefinementResult, default_tolerance
from repo_tool.refinement.refine import refine
from repo_tool.releases import Release
from repo_tool.repository.publish import Staging, translating_disk_errors
from repo_tool.repository.settling import Settling
from repo_tool.verification import Parity, verify
from repo_tool.workflows.add_model_values import AddModelRequest
from repo_tool.workflows.kept_versions import KeptVersions, keep_versions
from repo_tool.workflows.model_variants import write_variants
from repo_tool.workflows.model_writing import WrittenModel, write_model
from repo_tool.workflows.own_backend import what_differs
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import EarlyServer, require_valid, triton_inference

# For a release without ONNX Runtime, which the rules refuse by name if the model turns out to need it.
_OLDEST_OPSET, _OLDEST_IR_VERSION = 17, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is tried, where and for what."""

    request: AddModelRequest
    stage: Staging
    server: EarlyServer
    settling: Settling
    release: Release
    version: int
    labels: tuple[str, ...]
    kept: KeptVersions
    with_variants: bool
    progress: Progress
    reason: str = ""  # why the backend is not the first choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A model that lies in the staging repository, and how far a real Triton's answers were from its framework's."""

    imported: ImportedModel
    refined: RefinementResult | None
    written: WrittenModel
    parity: Parity | None  # None: our Triton lacks the backend


def try_model(attempt: Attempt) -> Tried:
    """Bring in, stage, validate and ask; whether the answers agree is for the caller to judge.

    Raises:
        UserMistakeError: the source, the sample or the release do not fit.
        BackendUnprovenError: only a GPU server has the backend, and ``unverified`` was not asked for.
        LoadRefusedError: Triton does not load it.
    """
    progress = attempt.progress
    with progress.step("bring in and convert") as step:
        imported = _bring_in(attempt)
        step.detail = _served_by(imported)
        _require_provable(attempt.request, imported)
    imported, refined = _refine(attempt, imported)
    with progress.step("write config.pbtxt") as step, translating_disk_errors(attempt.request.repository):
        written = _stage(attempt, imported)
        step.detail = _batching_words(written.config)
    with progress.step(f"validate for Triton {attempt.release.name}") as step:
        step.detail = require_valid(attempt.stage.repository, attempt.release)
    with progress.step("leave unverified" if imported.unproven else "verify on Triton") as step:
        parity = _prove(attempt, imported, written)
        step.detail = what_differs(parity) if parity else imported.unproven
    return Tried(imported=imported, refined=refined, written=written, parity=parity)


def _bring_in(attempt: Attempt) -> ImportedModel:
    request = attempt.request
    imported = import_in_child(_import_request(request, _limits(attempt.release)), attempt.stage.work_path)
    return replace(imported, fallback_reason=attempt.reason or imported.fallback_reason)


def _require_provable(request: AddModelRequest, imported: ImportedModel) -> None:
    if imported.unproven and not request.unverified:
        raise BackendUnprovenError(
            f"'{request.name}' cannot be proven on the embedded Triton",
            cause=imported.unproven,
            next_step="leave --backend out; or pass --unverified to publish it unproven, and prove it on the GPU "
            f"server with repo-tool verify {request.name} --server URL",
        )


def _import_request(request: AddModelRequest, limits: Mapping[str, Any]) -> ImportRequest:
    return ImportRequest(
        source=request.source,
        framework=request.framework,
        weights=request.weights,
        weights_inside=request.weights_inside,
        sample=request.sample,
        backend=request.backend,
        method=request.method,
        signature=request.signature,
        task=request.task,
        tolerance=default_tolerance(None, None if request.precision else request.tolerance).relative,
        trusted_types=request.trusted_types,
        trusted_source=request.trusted_source,
        **limits,
    )


def _limits(target: Release) -> dict[str, Any]:
    """What an ``ImportRequest`` has to know of the release."""
    return {
        "max_opset": target.max_onnx_opset or _OLDEST_OPSET,
        "max_ir_version": target.max_onnx_ir or _OLDEST_IR_VERSION,
        "release": target.name,
    }


def _served_by(imported: ImportedModel) -> str:
    if imported.fallback_reason:
        return f"served by: {imported.backend} backend; reason: {imported.fallback_reason}"
    return f"{imported.framework} → {imported.backend}"


def _refine(attempt: Attempt, imported: ImportedModel) -> tuple[ImportedModel, RefinementResult | None]:
    request = attempt.request
    if not request.refinement:
        return imported, None
    with attempt.progress.step(request.refinement.words) as step:
        limits = _limits(attempt.release)
        refined, result = refine(imported, request.refinement, tolerance=request.allowed, limits=limits)
        step.detail = result.words
    return refined, result


def _stage(attempt: Attempt, imported: ImportedModel) -> WrittenModel:
    """Write the model's directory into the staging repository, and move the artifact there, from where it settles."""
    request = attempt.request
    directory = attempt.stage.repository.model(request.name)
    written = write_model(
        request, imported, directory, version=attempt.version, labels=attempt.labels, kept=attempt.kept
    )
    keep_versions(attempt.kept, directory, written.config)
    if attempt.with_variants:
        write_variants(
            directory,
            written.config,
            imported.artifact,
            precision=request.precision,
            release=attempt.release,
            reasons=written.reasons,
            is_proven=not imported.unproven,
        )
    _move_artifact(imported.artifact, directory.version_path(attempt.version))
    attempt.settling.settle(directory.version_path(attempt.version))  # while Triton loads and answers
    return written


def _move_artifact(artifact: Path, version_path: Path) -> None:
    """The artifact and what lies beside it: an ONNX graph knows its external data by name."""
    for entry in artifact.parent.iterdir():
        entry.rename(version_path / entry.name)


def _prove(attempt: Attempt, imported: ImportedModel, written: WrittenModel) -> Parity | None:
    if imported.unproven:
        return None
    name, server = attempt.request.name, attempt.server
    server.load(name)
    with triton_inference(server.grpc_url, name) as infer:
        return verify(infer, written.config, written.sample, tolerance=attempt.request.allowed_for(imported))


def _batching_words(config: ModelConfig) -> str:
    return f"batches up to {config.max_batch_size}" if config.max_batch_size else "no batching"
