# SPDX-License-Identifier: Apache-2.0
"""What ``repo-tool add-model`` is asked for, and what came of it."""

__all__ = ["AddModelRequest", "AddedModel"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repo_tool.config.model import ModelConfig
from repo_tool.importers.base import ImportedModel
from repo_tool.refinement.plan import Refinement, RefinementResult, default_tolerance
from repo_tool.refinement.precision import Precision
from repo_tool.releases import DEFAULT_RELEASE, Release
from repo_tool.repository.layout import ModelDirectory
from repo_tool.verification import Parity, Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class AddModelRequest:
    """What ``repo-tool add-model`` was asked for."""

    source: str
    name: str
    repository: Path = Path("model_repository")
    version: int | None = None  # None: one more than the highest
    framework: str | None = None
    backend: str | None = None
    method: str | None = None
    signature: str | None = None
    task: str | None = None
    trusted_types: tuple[str, ...] = ()
    trusted_source: bool = False
    weights: Path | None = None
    weights_inside: bool = False  # the factory fills the module itself
    sample: Path | None = None
    labels: Path | None = None
    max_batch_size: int | None = None
    instances: int = 1
    cores: int | None = None  # None: those of this machine
    release: str = DEFAULT_RELEASE
    precision: Precision | None = None
    optimize: bool = False
    tolerance: float | None = None  # None: 1e-4, or what suits the precision
    unverified: bool = False  # lets a backend in that the embedded Triton has not
    variants: bool = False  # writes configs/cpu.pbtxt and configs/gpu.pbtxt; those that are there are always renewed
    config: Mapping[str, str] = field(default_factory=dict)  # fields of config.pbtxt by path, set over what is derived
    by: str = "add-model"  # the command that is recorded
    owner: str | None = None  # whose repo-tool.yaml lists it: who may remove it
    dry_run: bool = False

    @property
    def refinement(self) -> Refinement:
        """What is to be done to the artifact before it is staged."""
        return Refinement(precision=self.precision, optimize=self.optimize)

    @property
    def allowed(self) -> Tolerance:
        """How far the served answers may be from the framework's."""
        return default_tolerance(self.precision, self.tolerance)

    def allowed_for(self, imported: ImportedModel) -> Tolerance:
        """The same for what computes in types of its own."""
        return self.allowed.for_type(imported.computes_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedModel:
    """What came of it."""

    directory: ModelDirectory
    version: int
    config: ModelConfig
    config_text: str
    imported: ImportedModel
    parity: Parity | None  # None: not proven, since the embedded Triton lacks the backend
    release: Release
    published: bool
    reasons: Mapping[str, str]  # why each derived value is so, by field of config.pbtxt
    variants: tuple[str, ...] = ()  # names of files in configs/ that were written
    refined: RefinementResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.config.name,
            "version": self.version,
            "path": str(self.directory.path),
            "published": self.published,
            "framework": self.imported.framework,
            "backend": self.config.backend,
            "max_batch_size": self.config.max_batch_size,
            "release": self.release.name,
            "signature": self.imported.signature.to_dict(),
            "verified": self.parity is not None,
            "parity": self.parity.to_dict() if self.parity else None,
            "largest_absolute_difference": self.parity.largest_absolute if self.parity else None,
            "fallback_reason": self.imported.fallback_reason,
            "notes": list(self.imported.notes),
            "reasons": dict(self.reasons),
            "variants": list(self.variants),
            "refinement": self.refined.to_dict() if self.refined else None,
        }
