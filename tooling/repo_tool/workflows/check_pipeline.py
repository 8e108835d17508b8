# SPDX-License-Identifier: Apache-2.0
"""What a pipeline does with every wire typed, for ``repo-tool pipeline check``; nothing is written."""

__all__ = ["CheckedPipeline", "check_pipeline"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repo_tool.pipelines.spec import PipelineFile
from repo_tool.pipelines.stages import BlockStage, Stage, StepStage, TypedPipeline
from repo_tool.pipelines.wire import Wire
from repo_tool.pipelines.wiring import type_pipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.pipeline_source import read_pipeline_source


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPipeline:
    """A pipeline that can work."""

    pipeline: PipelineFile
    typed: TypedPipeline

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        typed = self.typed
        return {
            "pipeline": self.pipeline.name,
            "max_batch_size": typed.max_batch_size,
            "inputs": _types(typed.inputs, typed.wires),
            "stages": [_stage(stage, typed.wires) for stage in typed.stages],
            "outputs": _types(typed.outputs, typed.wires),
            "members": dict(typed.members),
        }


def check_pipeline(source: str, repository: ModelRepository) -> CheckedPipeline:
    """Type every wire of a pipeline against the models of the repository.

    Raises:
        PipelineError: there is no such pipeline, or it cannot work; the message shows the spot.
    """
    pipeline = read_pipeline_source(source, repository)
    return CheckedPipeline(pipeline=pipeline, typed=type_pipeline(pipeline, repository))


def _types(names: Sequence[str], wires: Mapping[str, Wire]) -> dict[str, Any]:
    return {name: {"datatype": wires[name].datatype.wire_name, "dims": list(wires[name].dims)} for name in names}


def _stage(stage: Stage, wires: Mapping[str, Wire]) -> dict[str, Any]:
    maps = {"name": stage.name, "inputs": dict(stage.inputs), "outputs": dict(stage.outputs)}
    types = {"types": _types(list(stage.outputs.values()), wires)}
    if isinstance(stage, BlockStage):
        control = stage.control.model_dump(mode="json", exclude_defaults=True)
        inner = [_stage(nested, stage.wires) for nested in stage.stages]
        return {"block": stage.kind, "control": control, **maps, **types, "stages": inner}
    if isinstance(stage, StepStage):
        return {"use": stage.step.name, **maps, **types}
    return {"model": stage.config.name, "version": stage.version, **maps, **types}
