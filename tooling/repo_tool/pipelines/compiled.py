# SPDX-License-Identifier: Apache-2.0
"""What a pipeline is compiled to: model directories to be written."""

__all__ = ["CompiledModel", "CompiledPipeline"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from repo_tool.config.model import ModelConfig
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.stages import ModelStage, Stage, TypedPipeline, flat
from repo_tool.pipelines.wire import Wire

Content = Path | bytes  # a file to copy or hard-link, or what stands in it


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledModel:
    """A model directory to be written, the paths relative."""

    config: ModelConfig
    files: Mapping[str, Content] = field(default_factory=dict)  # of its version folder
    variants: Mapping[str, ModelConfig] = field(default_factory=dict)  # its `configs/`, by name
    directory_files: Mapping[str, Content] = field(default_factory=dict)  # beside `config.pbtxt`
    notes: tuple[str, ...] = ()  # what was changed in a model that it is made of

    def with_files(self, more: Mapping[str, Content]) -> "CompiledModel":
        """The same with more files in its version folder."""
        return replace(self, files={**self.files, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPipeline:
    """The model that has the pipeline's name (an ensemble, or the one part there is), and those made for it."""

    own: CompiledModel
    models: tuple[CompiledModel, ...]  # that the ensemble needs beside the repository's own
    parts: tuple[Part, ...]
    typed: TypedPipeline

    @property
    def is_ensemble(self) -> bool:
        """Whether there is more than one part, or only a member."""
        return self.own.config.is_ensemble

    @property
    def member_names(self) -> tuple[str, ...]:
        """The models of the repository that it is made of, also inside blocks and merged ones."""
        return tuple(self.typed.members)

    @property
    def member_versions(self) -> Mapping[str, int]:
        """The version of each of them."""
        return self.typed.members

    @property
    def called_versions(self) -> Mapping[str, int]:
        """Those of the ``member_versions`` that must be served beside it, because they are not merged."""
        kept = [part.stages for part in self.parts if part.kind is not PartKind.GRAPH]
        models = [stage for stages in kept for stage in flat(stages) if isinstance(stage, ModelStage)]
        return {stage.config.name: stage.version for stage in models}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What it does, in order."""
        return self.typed.stages

    @property
    def wires(self) -> Mapping[str, Wire]:
        """Every wire outside blocks."""
        return self.typed.wires
