# SPDX-License-Identifier: Apache-2.0
"""A pipeline file into the repository: compile, stage with its members, validate, verify on a real Triton, publish."""

__all__ = ["AddPipelineRequest", "AddedPipeline", "add_pipeline"]

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import repo_tool
from repo_tool.columns import read_columns
from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.errors import PipelineError, SampleError
from repo_tool.pipelines.compiler import CompiledPipeline, compile_pipeline
from repo_tool.pipelines.spec import PipelineFile, read_pipeline
from repo_tool.pipelines.stages import ModelStage, StepStage
from repo_tool.releases import DEFAULT_RELEASE, release
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.provenance import digest_of, digests_of, write_provenance
from repo_tool.repository.publish import StagedModel, Staging, next_version, publish, staging, translating_disk_errors
from repo_tool.samples import Array, RawSample, Sample, bind, read_raw_sample, write_published_sample
from repo_tool.signature import TensorSpec
from repo_tool.verification import Infer, Parity, Tolerance, require_parity, verify
from repo_tool.workflows.config_overrides import interface_digest
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import EarlyServer, published_rows, require_valid, triton_inference

_IMAGES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPipelineRequest:
    """What ``repo-tool add-pipeline`` was asked for."""

    file: Path
    sample: Path
    repository: Path = Path("model_repository")
    release: str = DEFAULT_RELEASE
    tolerance: Tolerance = field(default_factory=Tolerance)
    dry_run: bool = False
    by: str = "add-pipeline"  # the command that is recorded
    owner: str | None = None  # whose repo-tool.yaml lists it: who may remove it


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPipeline:
    """What came of it; ``models`` are the names in the order of the steps, the ensemble last."""

    directory: ModelDirectory
    version: int
    ensemble: ModelConfig
    models: tuple[str, ...]
    parity: Parity
    published: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.ensemble.name,
            "version": self.version,
            "path": str(self.directory.path),
            "published": self.published,
            "models": list(self.models),
            "max_batch_size": self.ensemble.max_batch_size,
            "parity": self.parity.to_dict(),
        }


def add_pipeline(request: AddPipelineRequest, progress: Progress) -> AddedPipeline:
    """Publish an ensemble whose served answers equal its steps run one by one; on failure nothing is published.

    Raises:
        PipelineError: the file does not describe a pipeline that can work.
        SampleError: the sample does not fit the pipeline's inputs.
        ParityError: the ensemble answers otherwise than its steps.
        LoadRefusedError: Triton does not load it.
    """
    repository = ModelRepository(request.repository)
    triton_release = release(request.release)
    with progress.step("compile") as step:
        pipeline = read_pipeline(request.file)
        target = repository.model(pipeline.name)
        compiled = compile_pipeline(pipeline, repository)
        inputs = _read_inputs(request.sample, pipeline, read_columns(compiled.ensemble.parameters))
        step.detail = f"{len(compiled.stages)} steps in {len(compiled.ensemble.ensemble_steps)} models"
    generated = [repository.model(model.config.name) for model in compiled.step_models]
    _refuse_foreign_models(pipeline.name, generated)
    version = max(next_version(model) for model in (target, *generated))
    with staging(repository) as stage, EarlyServer(stage.repository.path, triton_release) as server:
        with progress.step("write the models"), translating_disk_errors(repository.path):
            staged = _stage(stage, compiled, version)
            _stage_members(stage, repository, compiled)
        with progress.step(f"validate for Triton {triton_release.name}") as step:
            step.detail = require_valid(stage.repository, triton_release)
        with progress.step("verify on Triton") as step:
            server.load(pipeline.name)
            parity, sample = _verify(compiled, inputs, server.grpc_url, request.tolerance)
            require_parity(parity, model=pipeline.name, framework="its steps run alone", tolerance=request.tolerance)
            step.detail = parity.summary
        with translating_disk_errors(repository.path):
            facts = _facts(request, compiled, pipeline, repository, parity, sample)
            _write_proof(stage.repository, version, compiled, facts, sample)
        if not request.dry_run:
            with progress.step("publish"):
                require = partial(_refuse_foreign_models, pipeline.name, generated)  # again: some may be new
                version = publish(staged, repository, renumber=True, require=require)
    return AddedPipeline(
        directory=target,
        version=version,
        ensemble=compiled.ensemble,
        models=(*(step.model_name for step in compiled.ensemble.ensemble_steps), pipeline.name),
        parity=parity,
        published=not request.dry_run,
    )


def _refuse_foreign_models(pipeline: str, generated: Sequence[ModelDirectory]) -> None:
    """A generated model may replace one of the same making only."""
    for model in generated:
        if model.path.exists() and "steps" not in model.read_config().parameters:
            raise PipelineError(
                f"the repository has a model '{model.name}' that no pipeline made",
                cause=f"'{pipeline}' needs that name for its own steps",
                next_step="give the pipeline or the model another name",
            )


def _stage(stage: Staging, compiled: CompiledPipeline, version: int) -> list[StagedModel]:
    """Write the generated models and the ensemble; all of them carry the ensemble's version."""
    staged = []
    for model in compiled.step_models:
        directory = _write_model(stage, model.config, version)
        for relative, source in model.files.items():
            target = directory.version_path(version) / relative
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
        staged.append(StagedModel(directory=directory, version=version))
    directory = _write_model(stage, compiled.ensemble, version)
    staged.append(StagedModel(directory=directory, version=version))
    return staged


def _write_model(stage: Staging, config: ModelConfig, version: int) -> ModelDirectory:
    directory = stage.repository.model(config.name)
    directory.version_path(version).mkdir(parents=True)
    # Nothing of the stage is published before the whole pipeline has answered on a server.
    directory.config_path.write_text(pbtxt.render(config, verified=True), encoding="utf-8")
    return directory


def _stage_members(stage: Staging, repository: ModelRepository, compiled: CompiledPipeline) -> None:
    """Put the repository's own models beside the new ones, as hard links, so that the ensemble is served whole."""
    for name in compiled.member_names:
        shutil.copytree(repository.model(name).path, stage.repository.model(name).path, copy_function=os.link)


def _read_inputs(path: Path, pipeline: PipelineFile, columns: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    specs = [
        TensorSpec(name=name, datatype=declared.wire.datatype, shape=(-1, *declared.wire.dims))
        for name, declared in pipeline.inputs.items()
    ]
    raw = _read_images(path) if path.is_dir() or path.suffix.lower() in _IMAGES else read_raw_sample(path)
    return bind(raw, specs, columns=columns)


def _read_images(path: Path) -> RawSample:
    """Every image file of a folder, or one file, each a row of one encoded image."""
    files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _IMAGES) if path.is_dir() else [path]
    if not files:
        raise SampleError(
            f"no image in '{path}'", cause=f"none ends in {', '.join(_IMAGES)}", next_step="pass a folder of images"
        )
    rows = np.empty((len(files), 1), dtype=object)
    rows[:, 0] = [file.read_bytes() for file in files]
    return RawSample(origin=path.name, array=rows)


def _verify(
    compiled: CompiledPipeline, inputs: Mapping[str, Array], grpc_url: str, tolerance: Tolerance
) -> tuple[Parity, Sample]:
    with ExitStack() as clients:
        members = {name: clients.enter_context(triton_inference(grpc_url, name)) for name in compiled.member_names}
        outputs = run_step_by_step(compiled, inputs, members)
        infer = clients.enter_context(triton_inference(grpc_url, compiled.ensemble.name))
        sample = Sample(inputs=inputs, outputs=outputs)
        return verify(infer, compiled.ensemble, sample, tolerance=tolerance), sample


def run_step_by_step(
    compiled: CompiledPipeline, inputs: Mapping[str, Array], members: Mapping[str, Infer]
) -> dict[str, Array]:
    """The pipeline's outputs with each shipped step run here and each model called alone.

    Raises:
        PipelineError: a step fails on a sample row.
    """
    tensors: dict[str, Array] = dict(inputs)
    for stage in compiled.stages:
        arrays = {own: tensors[wire] for own, wire in stage.inputs.items()}
        results = _run_step(stage, arrays) if isinstance(stage, StepStage) else _run_member(stage, arrays, members)
        tensors |= {wire: results[own] for own, wire in stage.outputs.items()}
    return {output.name: tensors[output.name] for output in compiled.ensemble.outputs}


def _run_step(stage: StepStage, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
    try:
        return stage.step.run(arrays)
    except ValueError as error:
        raise PipelineError(
            f"step '{stage.step.name}' fails on the sample", cause=str(error), next_step="mend the sample or the step"
        ) from error


def _run_member(stage: ModelStage, arrays: Mapping[str, Array], members: Mapping[str, Infer]) -> Mapping[str, Array]:
    size, infer = stage.config.max_batch_size, members[stage.config.name]
    rows = len(next(iter(arrays.values())))
    parts = [
        infer({name: array[start : start + size] for name, array in arrays.items()}) for start in range(0, rows, size)
    ]
    return {tensor: np.concatenate([part[tensor] for part in parts]) for tensor in stage.outputs}


def _facts(
    request: AddPipelineRequest,
    compiled: CompiledPipeline,
    pipeline: PipelineFile,
    repository: ModelRepository,
    parity: Parity,
    sample: Sample,
) -> dict[str, Any]:
    """What the provenance of the ensemble says beyond its files."""
    ensemble = compiled.ensemble
    members = [repository.model(name) for name in compiled.member_names]
    return {
        "by": request.by,
        "owner": request.owner,
        "source": request.file.name,
        "source_digest": digest_of(request.file),
        "pipeline_digest": pipeline.digest,
        "members": list(compiled.member_names),
        "member_versions": {member.name: member.latest_version() for member in members},
        "member_interfaces": {member.name: interface_digest(member.read_config()) for member in members},
        "release": request.release,
        "signature": {"inputs": _specs(ensemble.inputs), "outputs": _specs(ensemble.outputs)},
        "sample": {"origin": request.sample.name, "digest": digest_of(request.sample), "rows": sample.rows},
        "tolerance": asdict(request.tolerance),
        "verified": True,
        "parity": parity.to_dict(),
    }


def _write_proof(
    repository: ModelRepository, version: int, compiled: CompiledPipeline, facts: Mapping[str, Any], sample: Sample
) -> None:
    ensemble = compiled.ensemble
    directory = repository.model(ensemble.name)
    write_published_sample(directory.sample_path(version), published_rows(sample, ensemble))
    _write_facts(directory, version, facts)
    origin = {name: facts[name] for name in ("by", "owner", "source", "source_digest")}
    for model in compiled.step_models:
        _write_facts(repository.model(model.config.name), version, origin | {"pipeline": ensemble.name})


def _write_facts(directory: ModelDirectory, version: int, facts: Mapping[str, Any]) -> None:
    files = digests_of(directory.version_path(version))
    own = {
        "repo_tool": repo_tool.__version__,
        "model": directory.name,
        "backend": directory.read_config().backend,
        "config": directory.config_path.read_text(encoding="utf-8"),
    }
    write_provenance(directory.provenance_path(version), own | {**facts, "files": files})


def _specs(tensors: Sequence[ModelTensor]) -> list[dict[str, Any]]:
    return [
        {"name": tensor.name, "datatype": tensor.datatype and tensor.datatype.wire_name, "shape": [-1, *tensor.dims]}
        for tensor in tensors
    ]
