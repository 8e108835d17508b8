# SPDX-License-Identifier: Apache-2.0
"""What a comparison with training code cannot have seen, because no row of the sample asks for it."""

__all__ = ["untried"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from repo_tool.errors import RepoToolError
from repo_tool.pipelines.stages import StepStage, TypedPipeline
from repo_tool.verification import Infer
from repo_tool.workflows.pipeline_rows import PipelineRows
from repo_tool.workflows.skew_diagnosis import needed_for
from repo_tool.workflows.step_by_step import Rows, as_values, run_stages, run_step

_ROWS_TRIED = 256


def untried(typed: TypedPipeline, rows: PipelineRows, members: Mapping[str, Infer]) -> tuple[str, ...]:
    """A sentence for each step that resizes pictures and found none of another size."""
    sizers = [stage for stage in typed.stages if isinstance(stage, StepStage) and stage.step.name in _RESIZES]
    return tuple(
        f"no row of the sample is resized by step '{stage.name}', so that how it does it was not compared: "
        "add pictures of other sizes"
        for stage in sizers
        if _may_resize(stage) and not any(_resized(typed, stage, rows, members))
    )


def _may_resize(stage: StepStage) -> bool:
    return stage.step.name != "decode_image" or stage.step.parameters.get("height") is not None


def _resized(
    typed: TypedPipeline, stage: StepStage, rows: PipelineRows, members: Mapping[str, Infer]
) -> Iterator[bool]:
    """Whether each row is, as far as it can be told: what fails here is told where it is served."""
    before = needed_for(typed.stages, *stage.inputs.values())
    for row in range(min(rows.count, _ROWS_TRIED)):
        try:
            given = run_stages(before, typed.wires, as_values(rows.take(row, row + 1), typed.wires), members)
            yield _RESIZES[stage.step.name](stage, {own: given[wire] for own, wire in stage.inputs.items()})
        except RepoToolError:
            yield True


def _by_decoding(stage: StepStage, given: Mapping[str, Rows]) -> bool:
    """Whether the picture has another size before."""
    parameters = {**stage.step.parameters, "height": None, "width": None}
    as_it_is = replace(stage, step=stage.step.kind.with_parameters(parameters))
    before, after = (run_step(each, given)["pixels"][0].shape for each in (as_it_is, stage))
    return before != after


def _by_resize(stage: StepStage, given: Mapping[str, Rows]) -> bool:
    return given["pixels"][0].shape != run_step(stage, given)["resized"][0].shape


_RESIZES: Mapping[str, Callable[[StepStage, Mapping[str, Rows]], bool]] = {
    "decode_image": _by_decoding,
    "resize": _by_resize,
}
