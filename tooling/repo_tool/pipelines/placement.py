# SPDX-License-Identifier: Apache-2.0
"""A part of a pipeline: neighbouring stages that become one Triton model of the result."""

__all__ = ["Part", "PartKind", "title_of"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from repo_tool.config.model import ModelTensor
from repo_tool.pipelines.stages import ModelStage, Stage, StepStage, model_tensor
from repo_tool.pipelines.wire import Wire


class PartKind(StrEnum):
    """What a part becomes."""

    GRAPH = "graph"  # one ONNX graph of models and arithmetic steps
    PYTHON = "python"  # one Python-backend model of neighbouring steps
    CONTROL = "control"  # one Python-backend model that calls others: blocks, and the steps beside them
    MEMBER = "member"  # a model of the repository as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Neighbouring stages that are one Triton model, whose tensors are called like the wires (a member's apart)."""

    kind: PartKind
    stages: tuple[Stage, ...]
    name: str  # of the model
    reason: str  # one sentence
    reads: tuple[str, ...]  # wires of before
    writes: tuple[str, ...]  # wires that somebody after it reads, the client included
    max_batch_size: int
    rows: int | None = None  # the first dimension of its tensors where max_batch_size is 0, as in `TypedPipeline`
    # What one part hands another unchanged, by what the ensemble calls it, so that the other begins after it.
    passes: Mapping[str, str] = field(default_factory=dict)  # of what it reads, beside what it writes
    takes: Mapping[str, str] = field(default_factory=dict)  # of what it reads: from there, and not from who writes it

    def inputs(self, wires: Mapping[str, Wire]) -> tuple[ModelTensor, ...]:
        """As its configuration declares them."""
        return tuple(model_tensor(name, wires, rows=self.rows) for name in self.reads)

    def outputs(self, wires: Mapping[str, Wire]) -> tuple[ModelTensor, ...]:
        """As its configuration declares them."""
        written = [model_tensor(name, wires, rows=self.rows) for name in self.writes]
        passed = [replace(model_tensor(name, wires, rows=self.rows), name=told) for name, told in self.passes.items()]
        return (*written, *passed)


def title_of(stage: Stage) -> str:
    """How a stage is called in sentences."""
    kind = "step" if isinstance(stage, StepStage) else "model" if isinstance(stage, ModelStage) else "block"
    return f"{kind} '{stage.name}'"
