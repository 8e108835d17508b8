# SPDX-License-Identifier: Apache-2.0
"""A pipeline file and the repository's models, compiled to one model or to an ensemble and the models it needs.

Every model of an ensemble is a hop, so there are as few as can be: ONNX models and arithmetic beside one another are
one graph, and neighbouring steps that need Python are one model.
"""

__all__ = ["CompiledModel", "CompiledPipeline", "compile_pipeline"]

from collections.abc import Mapping, Sequence
from dataclasses import replace

from repo_tool.columns import columns_parameters
from repo_tool.config.model import EnsembleScheduling, EnsembleStep, ModelConfig, VersionPolicy
from repo_tool.errors import PipelineError
from repo_tool.pipelines.compiled import CompiledModel, CompiledPipeline
from repo_tool.pipelines.cutting import place
from repo_tool.pipelines.graphs import compiled_graph
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.published import published_files
from repo_tool.pipelines.python_part import control_model, python_model
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import ModelStage, TypedPipeline, model_tensor
from repo_tool.pipelines.turns import in_turn
from repo_tool.pipelines.wiring import type_pipeline
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelRepository


def compile_pipeline(
    pipeline: PipelineFile, repository: ModelRepository, *, release: Release | None = None
) -> CompiledPipeline:
    """Type every wire, cut the steps into parts, and make a model of each; what ``release`` loads not is not merged.

    Raises:
        PipelineError: a wire is missing, unused, written twice, or of another type than a step takes.
        RepositoryError: a model is not there.
    """
    typed = type_pipeline(pipeline, repository)
    parts, models = _made(typed, pipeline, repository, release)
    generated = [model for model in models if model is not None]
    _check_names(pipeline, generated, typed)
    if len(parts) == 1 and generated:
        (own,), generated = generated, []
        own = replace(own, config=_with_columns(own.config, typed.columns))
    else:
        own = CompiledModel(config=_ensemble(pipeline, typed, parts))
    models_of = (stage for stage in typed.all_stages() if isinstance(stage, ModelStage))
    newest = {stage.config.name: stage.version for stage in models_of if not stage.is_pinned}
    own = own.with_files(published_files(pipeline, taken=own.files, newest=newest))
    return CompiledPipeline(own=own, models=tuple(generated), parts=parts, typed=typed)


def _made(
    typed: TypedPipeline, pipeline: PipelineFile, repository: ModelRepository, release: Release | None
) -> tuple[tuple[Part, ...], list[CompiledModel | None]]:
    """The parts and the models made for them, none for a member; what cannot be one graph is placed again."""
    unmerged: dict[str, str] = {}
    graphs: dict[tuple[tuple[str, ...], str], CompiledModel] = {}
    while True:
        parts = place(typed, pipeline, unmerged)
        try:
            for part in (part for part in parts if part.kind is PartKind.GRAPH):
                if _key(part) not in graphs:
                    graphs[_key(part)] = compiled_graph(part, typed.wires, repository, release=release)
        except NotImplementedError as error:
            unmerged |= _given_up(part, str(error))
            continue
        parts = in_turn(parts, typed.wires, pipeline.name)
        models = [_model(part, pipeline, typed, graphs) for part in parts]
        return tuple(_with_notes(*each) for each in zip(parts, models, strict=True)), models


def _with_notes(part: Part, model: CompiledModel | None) -> Part:
    """The part, its reason telling what was changed in the models that it is made of."""
    return replace(part, reason="; ".join([part.reason, *model.notes])) if model is not None else part


def _key(part: Part) -> tuple[tuple[str, ...], str]:
    return tuple(stage.name for stage in part.stages), part.name


def _given_up(part: Part, reason: str) -> dict[str, str]:
    """The stages that stay out of a graph from now on: its last model, or where it has none all of its steps."""
    models = [stage.name for stage in part.stages if isinstance(stage, ModelStage)]
    return dict.fromkeys(models[-1:] or [stage.name for stage in part.stages], f"merging it failed: {reason}")


def _model(
    part: Part,
    pipeline: PipelineFile,
    typed: TypedPipeline,
    graphs: Mapping[tuple[tuple[str, ...], str], CompiledModel],
) -> CompiledModel | None:
    if part.kind is PartKind.GRAPH:
        return graphs[_key(part)]
    if part.kind is PartKind.PYTHON:
        return python_model(part, pipeline, typed.wires)
    return control_model(part, pipeline, typed.wires) if part.kind is PartKind.CONTROL else None


def _check_names(pipeline: PipelineFile, generated: Sequence[CompiledModel], typed: TypedPipeline) -> None:
    taken = [model.config.name for model in generated if model.config.name in typed.members]
    if taken:
        raise PipelineError(
            f"pipeline '{pipeline.name}' makes a model '{taken[0]}' and uses one of that name",
            cause="the models that are made for a pipeline are called after it",
            next_step="give the pipeline another name",
        )


def _with_columns(config: ModelConfig, columns: Mapping[str, Sequence[str]]) -> ModelConfig:
    return replace(config, parameters={**config.parameters, **columns_parameters(columns)})


def _ensemble(pipeline: PipelineFile, typed: TypedPipeline, parts: Sequence[Part]) -> ModelConfig:
    return ModelConfig(
        name=pipeline.name,
        platform="ensemble",
        max_batch_size=typed.max_batch_size,
        inputs=tuple(model_tensor(name, typed.wires, rows=typed.rows) for name in typed.inputs),
        outputs=tuple(model_tensor(name, typed.wires, rows=typed.rows) for name in typed.outputs),
        version_policy=VersionPolicy(latest=1),
        ensemble_scheduling=EnsembleScheduling(steps=tuple(_ensemble_step(part) for part in parts)),
        parameters=columns_parameters(typed.columns),
    )


def _ensemble_step(part: Part) -> EnsembleStep:
    """A model of the repository in the version that was typed; one that is made here in the newest, until published."""
    stage = part.stages[0] if part.kind is PartKind.MEMBER else None
    if not isinstance(stage, ModelStage):
        told = (*part.writes, *part.passes.values())
        return EnsembleStep(
            model_name=part.name,
            input_map={wire: part.takes.get(wire, wire) for wire in part.reads},
            output_map={name: name for name in told},
        )
    return EnsembleStep(
        model_name=stage.config.name,
        model_version=stage.version,
        input_map={tensor: part.takes.get(wire, wire) for tensor, wire in stage.inputs.items()},
        # Triton refuses an output_map entry that nobody reads.
        output_map={tensor: wire for tensor, wire in stage.outputs.items() if wire in part.writes},
    )
