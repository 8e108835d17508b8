# SPDX-License-Identifier: Apache-2.0
"""Every wire of a pipeline typed before anything is written; what cannot work is refused with a drawing of the spot."""

__all__ = ["type_pipeline"]

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError, RepoToolError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.blocks import block_outputs, given_inside, required_outside
from repo_tool.pipelines.catalogue import Step, StepKind, step_kind
from repo_tool.pipelines.endings import renamed, told
from repo_tool.pipelines.scope import Scope
from repo_tool.pipelines.sizes import batching
from repo_tool.pipelines.spec import BlockDeclaration, PipelineFile, StepDeclaration
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage, TypedPipeline, flat
from repo_tool.pipelines.step_parameters import with_files
from repo_tool.pipelines.unread import numbered, unread_before
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.repository.stamps import without_stamps

_REPEAT = "a `repeat:` block"


def type_pipeline(pipeline: PipelineFile, repository: ModelRepository) -> TypedPipeline:
    """Type every wire, in the order of the file.

    Raises:
        PipelineError: a wire is missing, unused, written twice, or of another type than a step takes.
        RepositoryError: a model is not there.
    """
    scope = Scope.outermost(pipeline)
    stages = _type_stages(scope, repository)
    _check_versions(stages)
    typed = told(scope, stages)
    return renamed(replace(typed, **batching(scope, typed)), pipeline)


def _check_versions(stages: Iterable[Stage]) -> None:
    found: dict[str, int] = {}
    for stage in flat(stages):
        if isinstance(stage, ModelStage) and found.setdefault(stage.config.name, stage.version) != stage.version:
            raise PipelineError(
                f"model '{stage.config.name}' is used in the versions {found[stage.config.name]} and {stage.version}",
                cause="a pipeline pins one version of each model, so that it is proven and rolled back as a whole",
                next_step="write the same `version:` both times, or add one of the versions under a name of its own",
            )


def _type_stages(scope: Scope, repository: ModelRepository) -> tuple[Stage, ...]:
    return tuple(_type_stage(scope, at, repository) for at in range(len(scope.steps)))


def _type_stage(scope: Scope, at: int, repository: ModelRepository) -> Stage:
    """Check one step against the wires so far, and add those it writes."""
    declaration = scope.steps[at]
    if isinstance(declaration, BlockDeclaration):
        return _type_block(scope, at, declaration, repository)
    if declaration.use is not None:
        return _type_step(scope, at, declaration, declaration.use, repository)
    return _type_model(scope, at, declaration, repository)


def _type_step(scope: Scope, at: int, declaration: StepDeclaration, use: str, repository: ModelRepository) -> StepStage:
    kind = _kind(use, scope.pipeline)
    parameters = with_files(declaration.parameters, kind.parameters, scope.pipeline, declaration.title)
    step = _with_parameters(scope, at, kind, parameters)
    inputs = _wired(scope, at, dict.fromkeys(step.inputs), declaration.inputs, "input")
    read = _known(scope, at, inputs, repository)
    try:
        found = step.output_wires(read)
    except PipelineError as error:
        raise _unfit(scope, at, inputs, error) from error
    outputs = _wired(scope, at, found, declaration.outputs, "output")
    scope.write(at, outputs, found, inputs.values())
    name = scope.own_name(declaration.name or step.name)
    return StepStage(step=step, inputs=inputs, outputs=outputs, name=name, merge=_merges(scope, declaration))


def _with_parameters(scope: Scope, at: int, kind: StepKind, parameters: Mapping[str, Any]) -> Step:
    """The step, its number being told where they do not fit: a pipeline may have several of its kind."""
    try:
        return kind.with_parameters(parameters)
    except PipelineError as error:
        raise PipelineError(
            f"the parameters of {numbered(scope.spot(at))} do not fit",
            cause=error.cause.removeprefix("together: "),
            next_step=error.next_step.replace("it takes ", "mend them: it takes ", 1)
            if error.next_step.startswith("it takes ")
            else error.next_step,
        ) from error


def _kind(use: str, pipeline: PipelineFile) -> StepKind:
    if ":" not in use:
        return step_kind(use)
    from repo_tool.pipelines.foreign import foreign_kind

    return foreign_kind(use, pipeline.folder)


def _merges(scope: Scope, declaration: StepDeclaration) -> bool:
    return scope.pipeline.merge and declaration.merge


def _unfit(scope: Scope, at: int, inputs: Mapping[str, str], error: PipelineError) -> PipelineError:
    """What a step says of its inputs, with their types and the drawing."""
    named = [wire for tensor, wire in inputs.items() if f"'{tensor}'" in error.cause] or list(inputs.values())
    unread, meant = unread_before(scope, at, inputs.values())
    got = ", ".join(f"'{tensor}' {scope.wires[wire]}" for tensor, wire in inputs.items() if wire in named)
    return PipelineError(
        f"{scope.steps[at].title} cannot work on its inputs: it gets {got}",
        cause=f"{unread}; {error.cause}" if unread else error.cause,
        next_step=meant
        or (f"change {_writer_of(scope, named[0])}, or wire another tensor" if named else error.next_step),
        drawing=scope.down_to(at, named, error.cause),
    )


def _writer_of(scope: Scope, wire: str) -> str:
    writer = scope.writers[wire]
    return f"what writes '{wire}', {writer.title}" if writer.place else f"the input '{wire}'"


def _type_model(scope: Scope, at: int, declaration: StepDeclaration, repository: ModelRepository) -> ModelStage:
    if declaration.model == scope.pipeline.name:
        raise PipelineError(
            f"pipeline '{scope.pipeline.name}' calls itself",
            cause="a model of that name is replaced by the pipeline",
            next_step="give the pipeline another name",
        )
    member = repository.existing_model(declaration.model or "")
    config = without_stamps(member.read_config())  # what is generated from it is made of other bytes
    _refuse_decoupled(declaration, config)
    version = _version(declaration, member)
    wanted = {tensor.name: _row_wire(declaration, config, tensor) for tensor in _read_of(config, declaration, scope)}
    inputs = _wired(scope, at, wanted, declaration.inputs, "input")
    _check_model_inputs(scope, at, wanted, inputs, _known(scope, at, inputs, repository))
    found = {tensor.name: _row_wire(declaration, config, tensor) for tensor in config.outputs}
    outputs = _wired(scope, at, found, declaration.outputs, "output")
    scope.write(at, outputs, found, inputs.values())
    return ModelStage(
        config=config,
        version=version,
        inputs=inputs,
        outputs=outputs,
        name=scope.own_name(declaration.name or config.name),
        merge=_merges(scope, declaration),
        is_pinned=declaration.version is not None,
    )


def _refuse_decoupled(declaration: StepDeclaration, config: ModelConfig) -> None:
    if config.decoupled:
        raise PipelineError(
            f"{declaration.title} is decoupled",
            cause="it may answer a request several times or never, and the steps after it wait for one answer",
            next_step="use a model that answers each request once",
        )


def _read_of(config: ModelConfig, declaration: StepDeclaration, scope: Scope) -> list[ModelTensor]:
    """The inputs that are wired: optional ones only where the file wires them or a wire is called so."""
    wired = {*declaration.inputs, *scope.wires}
    return [tensor for tensor in config.inputs if not tensor.optional or tensor.name in wired]


def _version(declaration: StepDeclaration, member: ModelDirectory) -> int:
    newest = member.latest_version()
    if declaration.version is None or declaration.version in member.versions():
        return declaration.version or newest
    raise PipelineError(
        f"{declaration.title} has no version {declaration.version}",
        cause=f"there are {', '.join(map(str, member.versions()))}",
        next_step="write one of them, or leave `version:` out for the newest",
    )


def _row_wire(declaration: StepDeclaration, config: ModelConfig, tensor: ModelTensor) -> Wire:
    """The dims of one row; a model that does not batch has the rows as its first dimension."""
    datatype = tensor.datatype or DataType.BYTES
    if config.max_batch_size > 0:
        return Wire(datatype, tensor.dims)
    if len(tensor.dims) > 1:
        return Wire(datatype, tensor.dims[1:])
    whole = Wire(datatype, tensor.dims)
    raise PipelineError(
        f"{declaration.title} does not batch",
        cause=f"its max_batch_size is 0, and its '{tensor.name}' {whole} has no dimension for rows",
        next_step="add the model again with a free first dimension",
    )


def _wired(
    scope: Scope, at: int, tensors: Mapping[str, Wire | None], given: Mapping[str, str], kind: str
) -> dict[str, str]:
    unknown = sorted(set(given) - set(tensors))
    if unknown:
        lines = [f"{name}: {wire}" if wire else name for name, wire in tensors.items()]
        broken = f"no {kind} '{unknown[0]}'"
        raise PipelineError(
            f"{scope.steps[at].title} has no {kind} '{unknown[0]}'",
            cause=f"its {kind}s are {', '.join(tensors)}",
            next_step=did_you_mean(unknown[0], tensors) or f"use one of them on the left side of `{kind}s:`",
            drawing=scope.after(at, lines, broken) if kind == "output" else scope.before(at, lines, broken),
        )
    return {name: given.get(name, name) for name in tensors}


def _known(scope: Scope, at: int, inputs: Mapping[str, str], repository: ModelRepository) -> dict[str, Wire]:
    for tensor, wire in inputs.items():
        if wire not in scope.wires:
            if scope.is_ahead:
                raise scope.missing(at, wire, tensor)
            why, next_step, later = _written_later(scope, at, wire, repository)
            raise scope.missing(at, wire, tensor, why=why, next_step=next_step, later=later)
    return {tensor: scope.wires[wire] for tensor, wire in inputs.items()}


def _written_later(scope: Scope, at: int, wire: str, repository: ModelRepository) -> tuple[str, str, int | None]:
    """Whether a step further down writes the wire, as far as these can be typed without it, and which."""
    ahead = scope.ahead()
    own, reader = _promised(scope.steps[at], repository), scope.steps[at].title
    if wire in own:
        return "it writes itself: a step cannot wait for its own answer", f"wire another, or use {_REPEAT}", None
    for later in range(at + 1, len(scope.steps)):
        step = scope.steps[later]
        if _can_type(ahead, later, repository) and wire in ahead.wires:
            return f"{step.title} writes after it", f"move {step.title} above {reader}", later
        if wire in _promised(step, repository):
            why = f"{step.title} writes, which waits for {reader}: a circle"
            return why, f"wire one of them to a step above both, or use {_REPEAT}", later
    return "", "", None


def _can_type(ahead: Scope, at: int, repository: ModelRepository) -> bool:
    step = ahead.steps[at]
    if isinstance(step, StepDeclaration) and not set(step.inputs.values()) <= ahead.wires.keys():
        return False
    try:
        _type_stage(ahead, at, repository)
    except (RepoToolError, RecursionError):
        return False
    return True


def _promised(step: StepDeclaration | BlockDeclaration, repository: ModelRepository) -> set[str]:
    """The wires that a step says itself that it writes, and a model's own outputs."""
    if isinstance(step, BlockDeclaration) or step.model is None:
        return set(step.told.values() if isinstance(step, BlockDeclaration) else step.outputs.values())
    try:
        config = repository.existing_model(step.model).read_config()
    except RepoToolError:
        return set(step.outputs.values())
    return {step.outputs.get(tensor.name, tensor.name) for tensor in config.outputs}


def _check_model_inputs(
    scope: Scope, at: int, wanted: Mapping[str, Wire], inputs: Mapping[str, str], read: Mapping[str, Wire]
) -> None:
    title = scope.steps[at].title
    for tensor, wish in wanted.items():
        wire = read[tensor]
        if wire.datatype is not wish.datatype or not _fit(scope, inputs[tensor], wire, wish):
            unread, meant = unread_before(scope, at, inputs.values())
            raise PipelineError(
                f"{title} takes {wish} as '{tensor}' and gets {wire}",
                cause=unread or "datatype and dims of one row must be equal along a wire",
                next_step=meant or f"change {_writer_of(scope, inputs[tensor])}, or wire another",
                drawing=scope.down_to(at, [inputs[tensor]], f"'{tensor}' takes {wish}"),
            )


def _fit(scope: Scope, name: str, wire: Wire, wanted: Wire) -> bool:
    """Whether dims agree. A free one fits a fixed one only where a model wrote it: models often do not tell theirs."""
    if len(wire.dims) != len(wanted.dims):
        return False
    is_model_s = scope.writers[name].title.startswith("model ")
    return all(
        want in (-1, dim) or (dim == -1 and is_model_s) for dim, want in zip(wire.dims, wanted.dims, strict=True)
    )


def _type_block(scope: Scope, at: int, block: BlockDeclaration, repository: ModelRepository) -> BlockStage:
    own = required_outside(scope, at, block)
    given = given_inside(scope, at, block)
    inside = scope.inside(block, at, given)
    stages = _type_stages(inside, repository)
    outputs = block.told
    found = block_outputs(inside, scope, at, block)
    read = {wire for stage in stages for wire in stage.inputs.values()} | own
    scope.write(at, outputs, found, [wire for wire in scope.wires if wire in read])
    outside = [wire for wire in scope.wires if wire in read and wire not in given and wire not in outputs.values()]
    seen = [*outside, *given, *(wire for stage in stages for wire in stage.outputs.values())]
    return BlockStage(
        kind=block.kind,
        control=block.control,
        stages=stages,
        wires={wire: inside.wires[wire] for wire in seen},
        inputs={wire: wire for wire in outside},
        outputs=dict(outputs),
        name=scope.own_name(block.name or block.kind),
    )
