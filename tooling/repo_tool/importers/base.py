# SPDX-License-Identifier: Apache-2.0
"""What an importer is: it recognises a source without its framework, and brings it in as signature and artifact."""

__all__ = ["ImportRequest", "ImportedModel", "Importer"]

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from repo_tool.datatypes import DataType
from repo_tool.samples import RawSample, Tensors
from repo_tool.signature import ModelSignature
from repo_tool.verification import Tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What a person asks to be brought in."""

    source: str  # a path, or package.module:factory
    framework: str | None = None  # None: recognised from the source
    weights: Path | None = None  # for package.module:factory
    weights_inside: bool = False  # a person's word that package.module:factory fills the module itself
    sample: Path | None = None
    backend: str | None = None  # None: the importer's own choice
    max_opset: int  # of ai.onnx, what the Triton release can load
    max_ir_version: int
    release: str = ""  # the name of the release that has these limits, for messages
    method: str | None = None  # of a scikit-learn estimator: predict, predict_proba, decision_function, transform
    signature: str | None = None  # of a SavedModel; None: serving_default
    task: str | None = None  # of a Hugging Face folder; None: as its config.json says
    tolerance: float = 1e-4  # absolute and relative: how far a conversion may be from the framework to be served
    trusted_types: tuple[str, ...] = ()  # package.Class that a pickle or skops file may bring, by a person's word
    trusted_source: bool = False  # a person's word for a source that is code: TorchScript, .pt2, SavedModel

    @property
    def allowed(self) -> Tolerance:
        """How far a conversion's answers may be from the framework's, as those of the server later."""
        return Tolerance(absolute=self.tolerance, relative=self.tolerance)

    @property
    def target(self) -> str:
        """How messages call what the model must load on."""
        return f"Triton {self.release}" if self.release else "the Triton release"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedModel:
    """A model that left its framework.

    ``inputs`` are the sample's rows bound to the signature (or generated ones), ``reference`` the framework's own
    answers to exactly those rows: what the served model is later held to.
    """

    framework: str
    backend: str  # Triton's name: onnxruntime, pytorch, tensorflow
    signature: ModelSignature
    artifact: Path  # a file or folder named as the backend expects it: model.onnx, model.pt, model.savedmodel
    inputs: Tensors
    inputs_were_generated: bool
    reference: Tensors
    labels: tuple[str, ...] = ()  # class names that the framework knows, in output order
    tool_versions: Mapping[str, str] = field(default_factory=dict)  # framework, converter
    notes: tuple[str, ...] = ()  # what a person should know about the conversion
    fallback_reason: str = ""  # why it is not served by ONNX Runtime, where that would be the first choice
    parameters: Mapping[str, str] = field(default_factory=dict)  # of config.pbtxt, what the backend must be told
    trusted: tuple[str, ...] = ()  # what was loaded on a person's word only, for the provenance
    computes_in: DataType | None = None  # FP16 or BF16, where weights are of that type and outputs need not show it
    own_backend: str = ""  # that serves it as it is, where ``backend`` is ONNX Runtime: what is left if that differs
    unproven: str = ""  # why the embedded server cannot show that it answers as the framework does


class Importer(Protocol):
    """One framework's way in. Its module imports the framework inside ``bring_in`` only."""

    framework: str  # the word for --framework
    extra: str  # of this distribution, that installs it

    def recognises(self, source: str) -> bool:
        """Whether the source is this framework's, judged by name and first bytes; nothing is loaded or executed."""
        ...

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load the source, convert it, write the artifact into ``folder``, answer the sample rows in the framework.

        Runs in a worker process of its own.

        Raises:
            SourceError: not loadable, or not a model.
            SampleError: the rows do not fit, or are needed and absent.
            ReleaseError: it needs a newer opset or IR than allowed.
        """
        ...
