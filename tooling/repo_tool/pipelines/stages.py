# SPDX-License-Identifier: Apache-2.0
"""What a pipeline does, one stage after another, once every wire has its type."""

__all__ = ["BlockStage", "ModelStage", "Stage", "StepStage", "TypedPipeline"]

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.pipelines.catalogue import Step
from repo_tool.pipelines.spec import ForEach, Repeat, When
from repo_tool.pipelines.wire import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStage:
    """A step with its parameters; both maps go from its own tensors to wires."""

    step: Step
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    name: str = ""  # as the file calls it, or its kind; no two stages of a pipeline share one
    merge: bool = True  # whether it may become part of one ONNX graph with its neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStage:
    """A model of the repository; both maps go from its own tensors to wires."""

    config: ModelConfig
    version: int  # which of its versions answers
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    name: str = ""
    merge: bool = True
    is_pinned: bool = False  # whether the file says the version; else it was the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStage:
    """Stages under a condition, for each item, or again and again; ``control`` is as the file says it.

    Inside, wires of outside keep the names that they have in the file. ``inputs`` map those that are read, by the
    stages or by ``control``, to the wires outside; ``outputs`` map wires written inside to wires outside. ``wires``
    types all that are seen inside: the ones of ``inputs``, the items of ``for_each``, and what the stages write. The
    outputs of ``for_each`` have inside the dims of one item.
    """

    kind: Literal["when", "for_each", "repeat"]
    control: When | ForEach | Repeat
    stages: "tuple[Stage, ...]"
    wires: Mapping[str, Wire]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    name: str = ""


Stage = StepStage | ModelStage | BlockStage


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedPipeline:
    """The stages in their order, and every wire there is, the client's inputs included.

    Wires that the file tells under another name have that name here. ``rows`` is the first dimension of every tensor
    where ``max_batch_size`` is 0 (-1: any), because Triton then adds none; None where it is not.
    """

    stages: tuple[Stage, ...]
    wires: Mapping[str, Wire]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    max_batch_size: int = 0
    rows: int | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of inputs that take a table

    def all_stages(self) -> "Iterator[StepStage | ModelStage]":
        """Steps and models, those inside blocks included."""
        yield from flat(self.stages)

    @property
    def members(self) -> Mapping[str, int]:
        """The models of the repository that it uses, and the version of each."""
        return {stage.config.name: stage.version for stage in self.all_stages() if isinstance(stage, ModelStage)}


def flat(stages: Iterable[Stage]) -> "Iterator[StepStage | ModelStage]":
    """Steps and models in their order, those inside blocks included."""
    for stage in stages:
        if isinstance(stage, BlockStage):
            yield from flat(stage.stages)
        else:
            yield stage


def model_tensor(name: str, wires: Mapping[str, Wire], *, rows: int | None = None) -> ModelTensor:
    """A wire as a tensor in a configuration; ``rows`` is what `TypedPipeline` has."""
    lead = () if rows is None else (rows,)
    return ModelTensor(name=name, datatype=wires[name].datatype, dims=(*lead, *wires[name].dims))
