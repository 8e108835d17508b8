# SPDX-License-Identifier: Apache-2.0
"""What ``add_pipeline`` is asked for, and what it answers."""

__all__ = ["AddPipelineRequest", "AddedPipeline", "unentered"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from repo_tool.config.model import ModelConfig
from repo_tool.datatypes import DataType
from repo_tool.releases import DEFAULT_RELEASE
from repo_tool.repository.layout import ModelDirectory
from repo_tool.verification import Parity, Tolerance
from repo_tool.workflows.skew import SkewReport
from repo_tool.workflows.step_by_step import BlockVisits


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPipelineRequest:
    """What ``repo-tool add-pipeline`` was asked for."""

    file: Path  # or file.py:name
    sample: Path
    repository: Path = Path("model_repository")
    release: str = DEFAULT_RELEASE
    tolerance: Tolerance = field(default_factory=Tolerance)
    reference: str | None = None  # the training code's own: package.module:function or file.py:function
    tolerances: Mapping[str, float] = field(default_factory=dict)  # of single wires, to the reference
    dry_run: bool = False
    by: str = "add-pipeline"  # the command that is recorded
    owner: str | None = None  # whose repo-tool.yaml lists it: who may remove it

    @property
    def source(self) -> Path:
        """The file itself, without the name of a pipeline in it."""
        place, found, _ = str(self.file).rpartition(".py:")
        return Path(f"{place}.py") if found else self.file

    def allowed_for(self, wire: str, datatype: DataType) -> Tolerance:
        """How far a wire may be from the reference: what was said of it, or what its type can hold."""
        if wire not in self.tolerances:
            return self.tolerance.for_type(datatype)
        return replace(self.tolerance, absolute=self.tolerances[wire], relative=self.tolerances[wire])


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedPipeline:
    """What came of it; ``models`` are the names in the order in which they answer, the pipeline's own last."""

    directory: ModelDirectory
    version: int
    config: ModelConfig  # under the pipeline's name
    models: tuple[str, ...]
    parity: Parity
    skew: SkewReport | None  # None: there was no reference
    blocks: Mapping[str, BlockVisits] = field(default_factory=dict)  # by which ways the rows of the sample went
    published: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the sample has not proven."""
        return unentered(self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.config.name,
            "version": self.version,
            "path": str(self.directory.path),
            "published": self.published,
            "models": list(self.models),
            "max_batch_size": self.config.max_batch_size,
            "parity": self.parity.to_dict(),
            "blocks": {name: asdict(visits) for name, visits in self.blocks.items()},
            "warnings": list(self.warnings),
            "reference": self.skew.to_dict() if self.skew else None,
        }


def unentered(blocks: Mapping[str, BlockVisits]) -> tuple[str, ...]:
    """The blocks whose steps never ran, which nothing is known of."""
    return tuple(
        f"0 of {visits.rows} rows entered block '{name}': what is inside is not proven"
        for name, visits in blocks.items()
        if not visits.entered
    )
