# SPDX-License-Identifier: Apache-2.0
"""What a pipeline does, one stage after another, once every wire has its type."""

__all__ = ["ModelStage", "Stage", "StepStage", "TypedPipeline"]

from collections.abc import Mapping
from dataclasses import dataclass

from repo_tool.config.model import ModelConfig
from repo_tool.pipelines.catalogue import Step
from repo_tool.pipelines.wire import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStage:
    """A step with its parameters; both maps go from its own tensors to wires."""

    step: Step
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStage:
    """A model of the repository; both maps go from its own tensors to wires."""

    config: ModelConfig
    version: int  # which of its versions answers
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


Stage = StepStage | ModelStage


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedPipeline:
    """The stages in their order, and every wire there is, the client's inputs included."""

    stages: tuple[Stage, ...]
    wires: Mapping[str, Wire]
