# SPDX-License-Identifier: Apache-2.0
"""A pipeline file and the repository's models, compiled to an ensemble and the models it needs.

Neighbouring shipped steps become one Python-backend model, never one each: every model of an ensemble is a hop.
"""

__all__ = ["CompiledModel", "CompiledPipeline", "compile_pipeline"]

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from repo_tool.columns import columns_parameters, read_columns
from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.model import EnsembleScheduling, EnsembleStep, ModelConfig, ModelTensor, VersionPolicy
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.compiled import CompiledModel, CompiledPipeline
from repo_tool.pipelines.spec import BlockDeclaration, PipelineFile, StepDeclaration, file_reference
from repo_tool.pipelines.stages import ModelStage, Stage, StepStage, TypedPipeline
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.layout import ModelRepository

DEFAULT_MAX_BATCH_SIZE = 32
_STEP_MODEL = (
    Path(__file__).parent / "step_model.py"
)  # runs in Triton's stub and imports its module: never imported here


def compile_pipeline(pipeline: PipelineFile, repository: ModelRepository) -> CompiledPipeline:
    """Type every wire, then cut the steps into models.

    Raises:
        PipelineError: a wire is missing, unused, written twice, or of another type than a step takes.
        RepositoryError: a model is not there.
    """
    wires = {name: declared.wire for name, declared in pipeline.inputs.items()}
    stages = tuple(_type_stage(declaration, wires, repository, pipeline) for declaration in pipeline.steps)
    _check_use(pipeline, stages, wires)
    max_batch_size = _max_batch_size(pipeline, stages)
    step_models: list[CompiledModel] = []
    ensemble_steps: list[EnsembleStep] = []
    for index, run in enumerate(_runs(stages)):
        if isinstance(run, ModelStage):
            ensemble_steps.append(_member_step(run, _read_later(run, stages, pipeline)))
            continue
        compiled = _step_model(pipeline, index, run, wires, max_batch_size, _read_later(run[-1], stages, pipeline))
        step_models.append(compiled)
        ensemble_steps.append(_generated_step(compiled.config))
    typed = TypedPipeline(
        stages=stages,
        wires=wires,
        inputs=tuple(pipeline.inputs),
        outputs=tuple(pipeline.outputs),
        max_batch_size=max_batch_size,
        columns=_columns(pipeline, stages),
    )
    return CompiledPipeline(
        own=CompiledModel(config=_ensemble(pipeline, wires, max_batch_size, ensemble_steps, typed.columns)),
        models=tuple(step_models),
        parts=(),
        typed=typed,
    )


def _step_model_name(pipeline: str, *, place: int) -> str:
    """What the model is called that is generated for the steps at ``place`` of the ensemble's steps."""
    return f"{pipeline}_{'pre' if place == 0 else f'post{place}' if place > 2 else 'post'}"


def _type_stage(
    declaration: StepDeclaration | BlockDeclaration,
    wires: dict[str, Wire],
    repository: ModelRepository,
    pipeline: PipelineFile,
) -> Stage:
    """Check one step against the wires so far, and add those it writes."""
    if isinstance(declaration, BlockDeclaration):
        raise PipelineError(f"{declaration.title} cannot be compiled yet")
    if declaration.use is not None:
        given = {key: _with_lines(value, pipeline) for key, value in declaration.parameters.items()}
        shipped = step_kind(declaration.use).with_parameters(given)
        inputs = _wired(declaration, shipped.inputs, declaration.inputs, "input")
        found = shipped.output_wires(_known(declaration, inputs, wires))
        outputs = _wired(declaration, found, declaration.outputs, "output")
        _write(declaration, outputs, found, wires)
        return StepStage(step=shipped, inputs=inputs, outputs=outputs)
    member = repository.existing_model(declaration.model or "")
    config = member.read_config()
    inputs = _wired(declaration, [tensor.name for tensor in config.inputs], declaration.inputs, "input")
    _check_model_inputs(declaration, config, _known(declaration, inputs, wires))
    found = {tensor.name: _tensor_wire(tensor) for tensor in config.outputs}
    outputs = _wired(declaration, found, declaration.outputs, "output")
    _write(declaration, outputs, found, wires)
    return ModelStage(config=config, version=member.latest_version() or 1, inputs=inputs, outputs=outputs)


def _with_lines(value: Any, pipeline: PipelineFile) -> Any:
    name = file_reference(value)
    if name is None:
        return value
    return [line.strip() for line in pipeline.file(name).read_text(encoding="utf-8").splitlines() if line.strip()]


def _tensor_wire(tensor: ModelTensor) -> Wire:
    return Wire(tensor.datatype or DataType.BYTES, tensor.dims)


def _wired(declaration: StepDeclaration, tensors: Iterable[str], given: Mapping[str, str], kind: str) -> dict[str, str]:
    names = list(tensors)
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise PipelineError(
            f"{declaration.title} has no {kind} '{unknown[0]}'",
            cause=f"its {kind}s are {', '.join(names)}",
            next_step=f"use one of them on the left side of `{kind}s:`",
        )
    return {name: given.get(name, name) for name in names}


def _known(declaration: StepDeclaration, inputs: Mapping[str, str], wires: Mapping[str, Wire]) -> dict[str, Wire]:
    for tensor, wire in inputs.items():
        if wire not in wires:
            raise PipelineError(
                f"{declaration.title} reads '{wire}' for its input '{tensor}', which nothing before it writes",
                cause=f"so far there are {', '.join(wires)}",
                next_step=f"wire it: inputs: {{{tensor}: <one of them>}}",
            )
    return {tensor: wires[wire] for tensor, wire in inputs.items()}


def _write(
    declaration: StepDeclaration, outputs: Mapping[str, str], found: Mapping[str, Wire], wires: dict[str, Wire]
) -> None:
    for tensor, wire in outputs.items():
        if wire in wires:
            raise PipelineError(
                f"{declaration.title} writes '{wire}', which is written before",
                cause="a wire of an ensemble is written once",
                next_step=f"give it another name: outputs: {{{tensor}: {wire}_2}}",
            )
        wires[wire] = found[tensor]


def _check_model_inputs(declaration: StepDeclaration, config: ModelConfig, inputs: Mapping[str, Wire]) -> None:
    for tensor in config.inputs:
        wire, wanted = inputs[tensor.name], _tensor_wire(tensor)
        same_rank = len(wire.dims) == len(wanted.dims)
        fits = same_rank and all(-1 in (a, b) or a == b for a, b in zip(wire.dims, wanted.dims, strict=True))
        if wire.datatype is not wanted.datatype or not fits:
            raise PipelineError(
                f"{declaration.title} takes {wanted} as '{tensor.name}' and gets {wire}",
                cause="datatype and dims of one row must be equal along a wire",
                next_step="change the step that writes it, or wire another",
            )


def _check_use(pipeline: PipelineFile, stages: Sequence[Stage], wires: Mapping[str, Wire]) -> None:
    missing = [name for name in pipeline.outputs if name not in wires or name in pipeline.inputs]
    if missing:
        raise PipelineError(
            f"output '{missing[0]}' of the pipeline is written by no step",
            cause=f"the steps write {', '.join(wire for wire in wires if wire not in pipeline.inputs)}",
            next_step="name one of them under `outputs:`",
        )
    read = {wire for stage in stages for wire in stage.inputs.values()}
    unread = [name for name in pipeline.inputs if name not in read]
    if unread:
        raise PipelineError(
            f"input '{unread[0]}' of the pipeline is read by no step",
            cause="Triton refuses an ensemble with an unused input",
            next_step="wire it to a step, or leave it out",
        )


def _max_batch_size(pipeline: PipelineFile, stages: Sequence[Stage]) -> int:
    members = {stage.config.name: stage.config.max_batch_size for stage in stages if isinstance(stage, ModelStage)}
    unbatched = [name for name, size in members.items() if size == 0]
    if unbatched:
        raise PipelineError(
            f"model '{unbatched[0]}' does not batch",
            cause="the steps of a pipeline work on rows, and its max_batch_size is 0",
            next_step="add the model again with a free first dimension",
        )
    smallest = min(members.values(), default=DEFAULT_MAX_BATCH_SIZE)
    if pipeline.max_batch_size is None or pipeline.max_batch_size <= smallest:
        return pipeline.max_batch_size or smallest
    name = min(members, key=lambda member: members[member])
    raise PipelineError(
        f"max_batch_size {pipeline.max_batch_size} is more than model '{name}' takes",
        cause=f"its own max_batch_size is {smallest}, and an ensemble may not exceed its members",
        next_step=f"write at most {smallest}, or leave it out",
    )


def _runs(stages: Sequence[Stage]) -> Iterable[ModelStage | list[StepStage]]:
    """Neighbouring steps together, models alone."""
    for is_step, group in groupby(stages, key=lambda stage: isinstance(stage, StepStage)):
        if is_step:
            yield [stage for stage in group if isinstance(stage, StepStage)]
        else:
            yield from (stage for stage in group if isinstance(stage, ModelStage))


def _read_later(last: Stage, stages: Sequence[Stage], pipeline: PipelineFile) -> set[str]:
    """The wires that somebody after ``last`` reads, the client included."""
    after = stages[stages.index(last) + 1 :]
    return {wire for stage in after for wire in stage.inputs.values()} | set(pipeline.outputs)


def _member_step(stage: ModelStage, needed: set[str]) -> EnsembleStep:
    # Triton refuses an output_map entry that nobody reads.
    outputs = {tensor: wire for tensor, wire in stage.outputs.items() if wire in needed}
    return EnsembleStep(model_name=stage.config.name, input_map=dict(stage.inputs), output_map=outputs)


def _generated_step(config: ModelConfig) -> EnsembleStep:
    return EnsembleStep(
        model_name=config.name,
        input_map={tensor.name: tensor.name for tensor in config.inputs},
        output_map={tensor.name: tensor.name for tensor in config.outputs},
    )


def _step_model(
    pipeline: PipelineFile,
    index: int,
    run: Sequence[StepStage],
    wires: Mapping[str, Wire],
    max_batch_size: int,
    needed: set[str],
) -> CompiledModel:
    written = [wire for stage in run for wire in stage.outputs.values()]
    read = dict.fromkeys(wire for stage in run for wire in stage.inputs.values() if wire not in written)
    config = ModelConfig(
        name=_step_model_name(pipeline.name, place=index),
        backend="python",
        max_batch_size=max_batch_size,
        inputs=tuple(_model_tensor(wire, wires) for wire in read),
        outputs=tuple(_model_tensor(wire, wires) for wire in written if wire in needed),
        dynamic_batching=DynamicBatching(),
        instance_groups=(InstanceGroup(kind=InstanceKind.KIND_CPU, count=1),),
        version_policy=VersionPolicy(latest=1),
        parameters={
            "steps": json.dumps([_runtime(stage) for stage in run]),
            "wires": json.dumps(
                {name: (wires[name].datatype.wire_name, wires[name].dims) for name in (*read, *written)}
            ),
        },
    )
    files = {f"steps/{stage.step.name}.py": stage.step.kind.source for stage in run}
    return CompiledModel(config=config, files={"model.py": _STEP_MODEL, **files})


def _runtime(stage: StepStage) -> dict[str, Any]:
    return {
        "step": stage.step.name,
        "file": f"steps/{stage.step.name}.py",
        "class": stage.step.kind.code.__name__,
        "parameters": stage.step.parameters,
        "inputs": dict(stage.inputs),
        "outputs": dict(stage.outputs),
    }


def _model_tensor(name: str, wires: Mapping[str, Wire]) -> ModelTensor:
    return ModelTensor(name=name, datatype=wires[name].datatype, dims=wires[name].dims)


def _columns(pipeline: PipelineFile, stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """The names of the columns of inputs that go unchanged into one model alone which tells them."""
    models = [stage for stage in stages if isinstance(stage, ModelStage)]
    told = {name: [names for model in models for names in _columns_of(model, name)] for name in pipeline.inputs}
    return {name: found[0] for name, found in told.items() if len(found) == 1}


def _columns_of(stage: ModelStage, wire: str) -> Iterator[tuple[str, ...]]:
    """The columns of each input of a model that reads the wire; none where it does not tell them."""
    named = read_columns(stage.config.parameters)
    yield from (named[tensor] for tensor, read in stage.inputs.items() if read == wire and named.get(tensor))


def _ensemble(
    pipeline: PipelineFile,
    wires: Mapping[str, Wire],
    max_batch_size: int,
    steps: Sequence[EnsembleStep],
    columns: Mapping[str, Sequence[str]],
) -> ModelConfig:
    return ModelConfig(
        name=pipeline.name,
        platform="ensemble",
        max_batch_size=max_batch_size,
        inputs=tuple(_model_tensor(name, wires) for name in pipeline.inputs),
        outputs=tuple(_model_tensor(name, wires) for name in pipeline.outputs),
        version_policy=VersionPolicy(latest=1),
        ensemble_scheduling=EnsembleScheduling(steps=tuple(steps)),
        parameters=columns_parameters(columns),
    )
