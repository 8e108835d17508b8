# SPDX-License-Identifier: Apache-2.0
"""A trained model into the repository: bring in, derive, stage, validate, verify on a real Triton, publish."""

__all__ = ["AddModelRequest", "AddedModel", "add_model"]

import getpass
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import repo_tool
from repo_tool.config import pbtxt
from repo_tool.config.derive import LABEL_FILENAME, DeriveOptions, derive, reasons_for
from repo_tool.config.model import ModelConfig
from repo_tool.config.variants import VARIANTS
from repo_tool.errors import BackendUnprovenError, SampleError, SourceError
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.child import import_in_child
from repo_tool.refinement.plan import Refinement, RefinementResult, default_tolerance
from repo_tool.refinement.precision import Precision
from repo_tool.refinement.refine import refine
from repo_tool.releases import DEFAULT_RELEASE, Release, release
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digest_of, digests_of, shared_digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, Staging, next_version, publish, staging, translating_disk_errors
from repo_tool.samples import Sample, write_published_sample
from repo_tool.verification import Parity, Tolerance, require_parity, verify
from repo_tool.workflows.config_overrides import overridden
from repo_tool.workflows.given_options import given_options
from repo_tool.workflows.model_variants import (
    prove_on_cpu,
    require_release_with_variants,
    variants_are_due,
    write_variants,
)
from repo_tool.workflows.own_backend import own_backend_instead, what_differs
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import (
    EarlyServer,
    published_rows,
    require_valid,
    sample_bytes,
    triton_inference,
    write_warmup,
)
from repo_tool.workflows.source_digests import digest_of_source

# For a release without ONNX Runtime, which the rules refuse by name if the model turns out to need it.
_OLDEST_OPSET, _OLDEST_IR_VERSION = 17, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class AddModelRequest:
    """What ``repo-tool add-model`` was asked for."""

    source: str
    name: str
    repository: Path = Path("model_repository")
    version: int | None = None  # None: one more than the highest
    framework: str | None = None
    backend: str | None = None
    method: str | None = None
    signature: str | None = None
    task: str | None = None
    trusted_types: tuple[str, ...] = ()
    trusted_source: bool = False
    weights: Path | None = None
    weights_inside: bool = False  # the factory fills the module itself
    sample: Path | None = None
    labels: Path | None = None
    max_batch_size: int | None = None
    instances: int = 1
    cores: int | None = None  # None: those of this machine
    release: str = DEFAULT_RELEASE
    precision: Precision | None = None
    optimize: bool = False
    tolerance: float | None = None  # None: 1e-4, or what suits the precision
    unverified: bool = False  # lets a backend in that the embedded Triton has not
    variants: bool = False  # writes configs/cpu.pbtxt and configs/gpu.pbtxt; those that are there are always renewed
    config: Mapping[str, str] = field(default_factory=dict)  # fields of config.pbtxt by path, set over what is derived
    by: str = "add-model"  # the command that is recorded
    dry_run: bool = False

    @property
    def refinement(self) -> Refinement:
        """What is to be done to the artifact before it is staged."""
        return Refinement(precision=self.precision, optimize=self.optimize)

    @property
    def allowed(self) -> Tolerance:
        """How far the served answers may be from the framework's."""
        return default_tolerance(self.precision, self.tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedModel:
    """What came of it."""

    directory: ModelDirectory
    version: int
    config: ModelConfig
    config_text: str
    imported: ImportedModel
    parity: Parity | None  # None: not proven, since the embedded Triton lacks the backend
    release: Release
    published: bool
    reasons: Mapping[str, str]  # why each derived value is so, by field of config.pbtxt
    variants: tuple[str, ...] = ()  # names of files in configs/ that were written
    refined: RefinementResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.config.name,
            "version": self.version,
            "path": str(self.directory.path),
            "published": self.published,
            "framework": self.imported.framework,
            "backend": self.config.backend,
            "max_batch_size": self.config.max_batch_size,
            "release": self.release.name,
            "signature": self.imported.signature.to_dict(),
            "verified": self.parity is not None,
            "parity": self.parity.to_dict() if self.parity else None,
            "largest_absolute_difference": self.parity.largest_absolute if self.parity else None,
            "fallback_reason": self.imported.fallback_reason,
            "notes": list(self.imported.notes),
            "reasons": dict(self.reasons),
            "variants": list(self.variants),
            "refinement": self.refined.to_dict() if self.refined else None,
        }


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
    version = next_version(target, wanted=request.version)
    triton_release = release(request.release)
    with_variants = variants_are_due(target, asked=request.variants)
    if with_variants:
        require_release_with_variants(triton_release)
    labels = _read_labels(request.labels)
    with staging(repository) as stage, EarlyServer(stage.repository.path, triton_release) as server:
        way = _Way(
            stage=stage,
            server=server,
            release=triton_release,
            version=version,
            labels=labels,
            with_variants=with_variants,
        )
        tried = _try(request, way, progress)
        if own := own_backend_instead(
            tried.imported, tried.parity, chosen=request.backend, refined=bool(request.refinement)
        ):
            tried = _try_instead(request, own, tried, way, progress)
        imported, refined, staged, parity = tried.imported, tried.refined, tried.staged, tried.parity
        _require_parity(request, imported, parity)
        if with_variants and parity:
            with progress.step("verify configs/cpu.pbtxt") as step:
                step.detail = _prove_on_cpu(request, imported, staged, stage.repository, triton_release).summary
        with translating_disk_errors(repository.path):
            facts = _provenance(request, imported, staged, parity, refined, triton_release)
            write_provenance(staged.directory.provenance_path(version), facts)
        if not request.dry_run:
            with progress.step("publish"):
                model = StagedModel(directory=staged.directory, version=version)
                version = publish([model], repository, renumber=request.version is None)
    return AddedModel(
        directory=target,
        version=version,
        config=staged.config,
        config_text=staged.text,
        imported=imported,
        parity=parity,
        release=triton_release,
        published=not request.dry_run,
        reasons=staged.reasons,
        variants=VARIANTS if with_variants else (),
        refined=refined,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Where and for what a model is tried."""

    stage: Staging
    server: EarlyServer
    release: Release
    version: int
    labels: tuple[str, ...]
    with_variants: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A model that lies in the staging repository, and how far a real Triton's answers were from its framework's."""

    imported: ImportedModel
    refined: RefinementResult | None
    staged: "_Staged"
    parity: Parity | None


def _try(request: AddModelRequest, way: _Way, progress: Progress, *, reason: str = "") -> _Tried:
    """Bring in, stage, validate and ask; ``reason`` is why the request's backend is not the first choice."""
    stage, target = way.stage, way.release
    imported = _bring_in(request, target, stage, progress, reason)
    imported, refined = _refine(request, imported, target, progress)
    with progress.step("write config.pbtxt") as step, translating_disk_errors(request.repository):
        staged = _stage(request, imported, stage, way.version, way.labels)
        if way.with_variants:
            _write_variants(request, imported, staged, target)
        _move_artifact(imported.artifact, staged.directory.version_path(way.version))
        step.detail = _batching_words(staged.config)
    with progress.step(f"validate for Triton {target.name}") as step:
        step.detail = require_valid(stage.repository, target)
    with progress.step("leave unverified" if imported.unproven else "verify on Triton") as step:
        parity = _prove(request, imported, staged, way.server)
        step.detail = what_differs(parity) if parity else imported.unproven
    return _Tried(imported=imported, refined=refined, staged=staged, parity=parity)


def _try_instead(request: AddModelRequest, own: str, tried: _Tried, way: _Way, progress: Progress) -> _Tried:
    """The same by the framework's own backend; as it was where that cannot carry the model either."""
    reason = f"as ONNX its {what_differs(tried.parity)}" if tried.parity else ""
    shutil.rmtree(tried.staged.directory.path)
    shutil.rmtree(tried.imported.artifact.parent)
    try:
        return _try(replace(request, backend=own), way, progress, reason=reason)
    except SourceError:
        return tried


def _bring_in(
    request: AddModelRequest, target: Release, stage: Staging, progress: Progress, reason: str
) -> ImportedModel:
    with progress.step("bring in and convert") as step:
        imported = import_in_child(
            ImportRequest(
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
                **_limits(target),
            ),
            stage.work_path,
        )
        imported = replace(imported, fallback_reason=reason or imported.fallback_reason)
        step.detail = f"{imported.framework} → {imported.backend}"
        if imported.unproven and not request.unverified:
            raise BackendUnprovenError(
                f"'{request.name}' cannot be proven on the embedded Triton",
                cause=imported.unproven,
                next_step="leave --backend out; or pass --unverified to publish it unproven, and prove it on the GPU "
                f"server with repo-tool verify {request.name} --server URL",
            )
        if imported.fallback_reason:
            step.detail = f"served by: {imported.backend} backend; reason: {imported.fallback_reason}"
    return imported


def _limits(target: Release) -> dict[str, Any]:
    """What an ``ImportRequest`` has to know of the release."""
    return {
        "max_opset": target.max_onnx_opset or _OLDEST_OPSET,
        "max_ir_version": target.max_onnx_ir or _OLDEST_IR_VERSION,
        "release": target.name,
    }


def _refine(
    request: AddModelRequest, imported: ImportedModel, target: Release, progress: Progress
) -> tuple[ImportedModel, RefinementResult | None]:
    if not request.refinement:
        return imported, None
    with progress.step(request.refinement.words) as step:
        refined, result = refine(imported, request.refinement, tolerance=request.allowed, limits=_limits(target))
        step.detail = result.words
    return refined, result


def _options(
    request: AddModelRequest, imported: ImportedModel, sample: Sample, labels: tuple[str, ...]
) -> DeriveOptions:
    batching = imported.signature.can_batch and request.max_batch_size != 0
    return DeriveOptions(
        name=request.name,
        backend=imported.backend,
        cores=request.cores or os.cpu_count() or 1,
        instances=request.instances,
        max_batch_size=request.max_batch_size,
        labels=labels or imported.labels,
        labels_are_required=bool(labels),
        backend_parameters=imported.parameters,
        warmup_shapes={name: array.shape[1:] if batching else array.shape for name, array in sample.inputs.items()},
        row_bytes=sample_bytes(sample) // (max(sample.rows, 1) if batching else 1),
        weights_bytes=sum(entry.stat().st_size for entry in imported.artifact.parent.rglob("*") if entry.is_file()),
    )


def _read_labels(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(
            f"the labels at '{path}' cannot be read", cause=str(error), next_step="give a text file, one label a line"
        ) from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise SampleError(f"'{path}' holds no label", next_step="give a text file, one label a line")
    return labels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """A model as it lies in the staging repository."""

    directory: ModelDirectory
    version: int
    config: ModelConfig
    text: str  # of config.pbtxt
    derived_text: str  # the same before what the request sets over it
    reasons: Mapping[str, str]  # why what was derived is so, by field
    sample: Sample


def _stage(
    request: AddModelRequest, imported: ImportedModel, stage: Staging, version: int, labels: tuple[str, ...]
) -> _Staged:
    """Write the model's directory: configuration, artifact, warm-up, labels and the sample that is published."""
    directory = stage.repository.model(request.name)
    sample = Sample(inputs=imported.inputs, outputs=imported.reference)
    options = _options(request, imported, sample, labels)
    config = derive(imported.signature, options)
    reasons = reasons_for(config, imported.signature, options)
    derived_text = pbtxt.render(config, verified=not imported.unproven, reasons=reasons)
    text = overridden(derived_text, request.config)
    config = pbtxt.parse(text) if request.config else config
    version_path = directory.version_path(version)
    version_path.mkdir(parents=True)
    directory.config_path.write_text(text, encoding="utf-8")
    write_warmup(directory, config, sample.inputs)
    if any(tensor.label_filename for tensor in config.outputs):
        words = "\n".join(labels or imported.labels)
        (directory.path / LABEL_FILENAME).write_text(words + "\n", encoding="utf-8")
    write_published_sample(directory.sample_path(version), published_rows(sample, config))
    return _Staged(
        directory=directory,
        version=version,
        config=config,
        text=text,
        derived_text=derived_text,
        reasons=reasons,
        sample=sample,
    )


def _prove(request: AddModelRequest, imported: ImportedModel, staged: _Staged, server: EarlyServer) -> Parity | None:
    """How far a real Triton's answers are from the framework's; None where ours lacks the backend.

    Raises:
        LoadRefusedError: Triton does not load it.
    """
    if imported.unproven:
        return None
    server.load(request.name)
    with triton_inference(server.grpc_url, request.name) as infer:
        return verify(infer, staged.config, staged.sample, tolerance=_allowed(request, imported))


def _require_parity(request: AddModelRequest, imported: ImportedModel, parity: Parity | None) -> None:
    if parity is not None:
        allowed = _allowed(request, imported)
        require_parity(parity, model=request.name, framework=imported.framework, tolerance=allowed)


def _allowed(request: AddModelRequest, imported: ImportedModel) -> Tolerance:
    return request.allowed.for_type(imported.computes_in)


def _write_variants(request: AddModelRequest, imported: ImportedModel, staged: _Staged, target: Release) -> None:
    write_variants(
        staged.directory,
        staged.config,
        imported.artifact,
        precision=request.precision,
        release=target,
        reasons=staged.reasons,
        is_proven=not imported.unproven,
    )


def _prove_on_cpu(
    request: AddModelRequest, imported: ImportedModel, staged: _Staged, repository: ModelRepository, target: Release
) -> Parity:
    allowed = _allowed(request, imported)
    parity = prove_on_cpu(repository, staged.config, staged.sample, release=target, tolerance=allowed)
    _require_parity(request, imported, parity)
    return parity


def _move_artifact(artifact: Path, version_path: Path) -> None:
    """The artifact and what lies beside it: an ONNX graph knows its external data by name."""
    for entry in artifact.parent.iterdir():
        entry.rename(version_path / entry.name)


def _provenance(
    request: AddModelRequest,
    imported: ImportedModel,
    staged: _Staged,
    parity: Parity | None,
    refined: RefinementResult | None,
    target: Release,
) -> dict[str, Any]:
    return {
        "repo_tool": repo_tool.__version__,
        "by": request.by,
        "source": Path(request.source).name,
        "source_digest": digest_of_source(request.source, Path.cwd()),
        "weights_digest": digest_of(request.weights) if request.weights else None,
        "labels_digest": digest_of(request.labels) if request.labels else None,
        "options": given_options({option.name: getattr(request, option.name) for option in fields(request)}),
        "framework": imported.framework,
        "backend": imported.backend,
        "fallback_reason": imported.fallback_reason,
        "trusted": list(imported.trusted),
        "trusted_by": _person() if imported.trusted else None,
        "tools": dict(imported.tool_versions),
        "release": target.name,
        "signature": imported.signature.to_dict(),
        "sample": {
            "origin": _sample_origin(request, imported),
            "digest": digest_of(request.sample) if request.sample else None,
            "rows": staged.sample.rows if imported.signature.can_batch else 1,
        },
        "tolerance": asdict(_allowed(request, imported)),
        "verified": parity is not None,
        "unproven": imported.unproven,
        "parity": parity.to_dict() if parity else None,
        "refinement": refined.to_dict() if refined else None,
        "config": staged.derived_text,
        "overrides": dict(request.config),
        "config_digest": digest_of(staged.directory.config_path),
        "files": digests_of(staged.directory.version_path(staged.version)),
        "shared_files": shared_digests_of(staged.directory.path),
    }


def _person() -> str:
    """Who runs this: the name of the account, or its number where it has none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of the two hangs on Python's version
        return f"user {os.getuid()}"


def _sample_origin(request: AddModelRequest, imported: ImportedModel) -> str:
    if request.sample:
        return request.sample.name
    return "generated" if imported.inputs_were_generated else "the package's own example"


def _batching_words(config: ModelConfig) -> str:
    return f"batches up to {config.max_batch_size}" if config.max_batch_size else "no batching"
