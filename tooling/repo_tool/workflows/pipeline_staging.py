# SPDX-License-Identifier: Apache-2.0
"""A compiled pipeline as model directories in a staging folder, with the repository's models that it needs."""

__all__ = ["require_own_names", "stage_members", "write_pipeline"]

import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, VersionPolicy
from repo_tool.config.served_versions import served_versions
from repo_tool.config.variants import CPU, VARIANTS
from repo_tool.errors import PipelineError, RepositoryError
from repo_tool.pipelines.compiled import CompiledModel, CompiledPipeline, Content
from repo_tool.pipelines.placement import PartKind
from repo_tool.pipelines.stages import ModelStage, flat
from repo_tool.repository.disk import link_tree
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.needed_models import needed_models
from repo_tool.repository.pins import PINS_PARAMETER, pinned_versions
from repo_tool.repository.provenance import read_provenance
from repo_tool.repository.publish import StagedModel


def write_pipeline(
    stage: ModelRepository, compiled: CompiledPipeline, version: int, repository: ModelRepository
) -> list[StagedModel]:
    """Write the generated models and the pipeline's own, all with one version, which those that call others pin.

    Args:
        stage: where.
        compiled: what.
        version: of all of them.
        repository: whose published files never change, so that a second name will do for a copy.
    """
    generated = {model.config.name for model in compiled.models}
    variants = _variants_in(repository)
    staged = []
    for model in (*compiled.models, compiled.own):
        directory = stage.model(model.config.name)
        called = _called_by(model.config.name, compiled)
        pinned = _pinned(model, called, generated, version)
        # Those that an earlier version has stay in the directory, and would go on saying what that one did.
        names = repository.model(model.config.name).variants() if model.config.is_ensemble else variants
        _write(directory, _with_variants(pinned, names), version, repository.path)
        staged.append(StagedModel(directory=directory, version=version))
    return staged


def _variants_in(repository: ModelRepository) -> tuple[str, ...]:
    """The hardware that the repository's models have configurations for."""
    if not repository.path.is_dir():
        return ()
    there = {name for model in repository.models() for name in model.variants()}
    return tuple(name for name in VARIANTS if name in there)


def _with_variants(model: CompiledModel, names: Sequence[str]) -> CompiledModel:
    """With a copy of its configuration where it has none for some hardware, which says that it is meant there too."""
    return replace(
        model, variants={name: model.variants.get(name, model.config) for name in names} | {**model.variants}
    )


def _called_by(name: str, compiled: CompiledPipeline) -> Mapping[str, int]:
    """The versions of the repository's models that a generated model calls itself."""
    stages = [part.stages for part in compiled.parts if part.kind is PartKind.CONTROL and part.name == name]
    models = [stage for inner in stages for stage in flat(inner) if isinstance(stage, ModelStage)]
    return {stage.config.name: stage.version for stage in models}


def _pinned(model: CompiledModel, called: Mapping[str, int], generated: Collection[str], version: int) -> CompiledModel:
    """The same, asking for ``version`` of each generated model, and telling which others it calls."""
    return replace(
        model,
        config=_with_pins(model.config, called, generated, version),
        variants={name: _with_pins(config, called, generated, version) for name, config in model.variants.items()},
    )


def _with_pins(config: ModelConfig, called: Mapping[str, int], generated: Collection[str], version: int) -> ModelConfig:
    if called:
        config = replace(config, parameters={**config.parameters, PINS_PARAMETER: json.dumps(called)})
    if config.ensemble_scheduling is None:
        return config
    steps = tuple(
        replace(step, model_version=version) if step.model_name in generated else step for step in config.ensemble_steps
    )
    return replace(config, ensemble_scheduling=replace(config.ensemble_scheduling, steps=steps))


def _write(directory: ModelDirectory, model: CompiledModel, version: int, linkable: Path) -> None:
    directory.version_path(version).mkdir(parents=True)
    # Nothing of the stage is published before the whole pipeline has answered on a server.
    directory.config_path.write_text(pbtxt.render(model.config, verified=True), encoding="utf-8")
    if model.variants:
        directory.variants_path.mkdir()
    for name, config in model.variants.items():
        text = pbtxt.render(config, verified=name == CPU, variant=name)
        directory.variant_path(name).write_text(text, encoding="utf-8")
    _put(model.files, directory.version_path(version), linkable)
    _put(model.directory_files, directory.path, linkable)


def _put(files: Mapping[str, Content], folder: Path, linkable: Path) -> None:
    for relative, content in files.items():
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif content.resolve().is_relative_to(linkable.resolve()):
            _link_or_copy(content.resolve(), target)
        else:
            shutil.copyfile(content, target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def stage_members(stage: ModelRepository, repository: ModelRepository, compiled: CompiledPipeline) -> None:
    """Put the repository's own models beside the new ones, as hard links, so that the pipeline is served whole.

    Raises:
        PipelineError: a model's policy does not load the version that the pipeline asks for.
    """
    for name, version in compiled.member_versions.items():
        model = repository.model(name)
        config = model.read_config()
        served = served_versions(config.version_policy, model.versions())
        if version not in served and name in compiled.called_versions:
            raise PipelineError(
                f"version {version} of '{name}' is not loaded",
                cause=f"the version_policy in its config.pbtxt loads {', '.join(map(str, served)) or 'none'}",
                next_step=f"let it load that one too: repo-tool config set {name} version_policy ..., "
                "or name another version in the pipeline",
            )
        link_tree(model.path, stage.model(name).path)
        if version not in served:  # it is merged, and must answer here alone
            path = stage.model(name).config_path
            path.unlink()
            policy = VersionPolicy(specific=(version,))
            path.write_text(pbtxt.render(replace(config, version_policy=policy), verified=True), encoding="utf-8")
    for name in needed_models(repository, compiled.member_names):
        if not stage.model(name).path.exists():
            link_tree(repository.model(name).path, stage.model(name).path)


def require_own_names(pipeline: str, generated: Iterable[str], repository: ModelRepository) -> None:
    """See that the names are free, or those of an earlier version of the pipeline which no other one relies on.

    Raises:
        PipelineError: a model has one that was not made for this pipeline.
        RepositoryError: another pipeline asks for an earlier version of this one by number.
    """
    own = repository.model(pipeline)
    if own.path.exists() and "pipeline_digest" not in _facts(own):
        raise PipelineError(
            f"the repository has a model '{pipeline}' that is no pipeline",
            cause="a pipeline's own model has the pipeline's name",
            next_step="give the pipeline another name",
        )
    for name in generated:
        model = repository.model(name)
        if model.path.exists() and _facts(model).get("pipeline") != pipeline:
            raise PipelineError(
                f"the repository has a model '{name}' that was not made for this pipeline",
                cause=f"'{pipeline}' needs that name for its own steps",
                next_step="give the pipeline or the model another name",
            )
    askers = sorted({by for askers in pinned_versions(repository, pipeline).values() for by in askers})
    if askers:
        raise RepositoryError(
            f"'{askers[0]}' was proven with the '{pipeline}' that there is",
            cause="a pipeline has one config.pbtxt for all its versions, so a further one would change what it answers",
            next_step="add it under another name, or take that pipeline out of the repository first",
        )


def _facts(model: ModelDirectory) -> Mapping[str, object]:
    """The provenance of the newest version; empty where repo-tool has published none."""
    versions = model.versions()
    try:
        return read_provenance(model.provenance_path(versions[-1])) if versions else {}
    except RepositoryError:
        return {}
