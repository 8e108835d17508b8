# SPDX-License-Identifier: Apache-2.0
"""What a typed pipeline tells its client: outputs that are there, and nothing that nobody reads."""

__all__ = ["renamed", "told"]

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from repo_tool.columns import read_columns
from repo_tool.errors import PipelineError
from repo_tool.near_names import did_you_mean
from repo_tool.pipelines.scope import Scope
from repo_tool.pipelines.spec import BlockDeclaration, PipelineFile, Repeat
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, TypedPipeline
from repo_tool.pipelines.unread import numbered, rewiring


def told(scope: Scope, stages: Sequence[Stage]) -> TypedPipeline:
    """The stages with what is read of them.

    Raises:
        PipelineError: an output is written by no step, or an input or a step is read by nobody.
    """
    pipeline = scope.pipeline
    _check_outputs(scope)
    _check_use(scope, stages, set(pipeline.outputs.values()))
    read = {wire for stage in stages for wire in stage.inputs.values()}
    unread = [name for name in pipeline.inputs if name not in read]
    if unread:
        raise PipelineError(
            f"input '{unread[0]}' of the pipeline is read by no step",
            cause="Triton refuses an ensemble with an unused input",
            next_step="wire it to a step, or leave it out",
            drawing=scope.down_to(0, [unread[0]], f"nobody reads '{unread[0]}'"),
        )
    inputs = tuple(name for name in pipeline.inputs if name in read)
    written = {wire for stage in stages for wire in stage.outputs.values()}
    return TypedPipeline(
        stages=tuple(stages),
        wires={name: wire for name, wire in scope.wires.items() if name in inputs or name in written},
        inputs=inputs,
        outputs=tuple(pipeline.outputs.values()),
        columns=_columns(inputs, stages),
    )


def _check_outputs(scope: Scope) -> None:
    pipeline = scope.pipeline
    wires = list(pipeline.outputs.values())
    for name, wire in pipeline.outputs.items():
        written = [each for each in scope.wires if each not in pipeline.inputs]
        if wire not in written:
            is_input = wire in pipeline.inputs
            what = "is what the client sends" if is_input else "is written by no step"
            raise PipelineError(
                f"output '{wire}' of the pipeline {what}",
                cause=f"the steps write {', '.join(written)}",
                next_step=did_you_mean(wire, written) or "name one of them under `outputs:`",
                drawing=scope.up_to_client(None, f"'{wire}' came from here" if is_input else f"no '{wire}'"),
            )
        if wires.count(wire) > 1:
            raise PipelineError(
                f"the pipeline tells '{wire}' under two names",
                cause="a tensor of an ensemble has one name",
                next_step="tell it once",
            )
        if name != wire and name in scope.wires and name not in wires:
            raise PipelineError(
                f"the pipeline tells '{wire}' as '{name}', which is the name of another wire",
                cause=f"there is '{name}' {scope.wires[name]} already",
                next_step="choose another name under `outputs:`",
            )


def _check_use(scope: Scope, stages: Sequence[Stage], wanted: Collection[str]) -> None:
    """Whether somebody reads something of every stage, inside blocks too."""
    for at, stage in enumerate(stages):
        read = {wire for later in stages[at + 1 :] for wire in later.inputs.values()} | {*wanted}
        if not read & {*stage.outputs.values()}:
            outputs = ", ".join(f"'{wire}'" for wire in stage.outputs.values())
            meant = rewiring(scope, at)
            raise PipelineError(
                f"nobody reads what {numbered(scope.spot(at))} writes",
                cause=f"it writes {outputs}, which no step after it reads and the pipeline does not tell",
                next_step=f"{f'did you mean {meant}? Otherwise ' if meant else ''}leave the step out, "
                "or name what it writes under `outputs:`",
                drawing=scope.after(at, map(scope.shown, stage.outputs.values()), "nobody reads it"),
            )
        block = scope.steps[at]
        if isinstance(stage, BlockStage) and isinstance(block, BlockDeclaration):
            inside = replace(
                scope.inside(block, at, {}),
                wires=dict(stage.wires),
                writers=dict.fromkeys(stage.wires, scope.spot(at)),
            )
            _check_use(inside, stage.stages, wanted_inside(stage))


def wanted_inside(block: BlockStage) -> set[str]:
    """The wires written inside that the block itself reads."""
    own = {*block.outputs}
    if isinstance(block.control, Repeat):
        own |= {*block.control.carry, *filter(None, [block.control.until])}
    return own


def _columns(inputs: Sequence[str], stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """The names of the columns of inputs that go unchanged into one model alone which tells them."""
    models = [stage for stage in stages if isinstance(stage, ModelStage)]
    named = {name: [names for model in models for names in _columns_of(model, name)] for name in inputs}
    return {name: found[0] for name, found in named.items() if len(found) == 1}


def _columns_of(stage: ModelStage, wire: str) -> Iterator[tuple[str, ...]]:
    """The columns of each input of a model that reads the wire; none where it does not tell them."""
    named = read_columns(stage.config.parameters)
    yield from (named[tensor] for tensor, read in stage.inputs.items() if read == wire and named.get(tensor))


def renamed(typed: TypedPipeline, pipeline: PipelineFile) -> TypedPipeline:
    """With the wires that the client reads called as the file tells them."""
    names = {wire: name for name, wire in pipeline.outputs.items()}
    if all(wire == name for wire, name in names.items()):
        return typed
    return replace(
        typed,
        stages=tuple(_with_names(stage, names) for stage in typed.stages),
        wires={names.get(name, name): wire for name, wire in typed.wires.items()},
        outputs=tuple(names[wire] for wire in typed.outputs),
    )


def _with_names(stage: Stage, names: Mapping[str, str]) -> Stage:
    inputs = {own: names.get(wire, wire) for own, wire in stage.inputs.items()}
    outputs = {own: names.get(wire, wire) for own, wire in stage.outputs.items()}
    return replace(stage, inputs=inputs, outputs=outputs)
