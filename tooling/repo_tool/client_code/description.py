# SPDX-License-Identifier: Apache-2.0
"""What a generated client needs to know of a model: one value, whatever it was read from and is rendered as."""

__all__ = ["Example", "ModelDescription", "TensorDescription"]

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.samples import Array

FREE = -1  # a dimension that a request chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDescription:
    """One tensor as a client sends or gets it.

    ``shape`` is one row's, without the batch dimension, for a model that batches; else the whole tensor's.
    """

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    optional: bool = False
    columns: tuple[str, ...] = ()  # of an input [n]: the names of its columns
    classes: tuple[str, ...] = ()  # of an output of numbers [n], n > 1: the word of each class, in order
    words: tuple[str, ...] = ()  # of an output of BYTES: all that it can say
    is_text: bool = False  # BYTES that are known to be UTF-8

    @property
    def is_single(self) -> bool:
        """Whether it holds exactly one value: ``dims: [ 1 ]``."""
        return self.shape == (1,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """The first row of the published sample (the whole tensors of a model without batching) and its answers."""

    inputs: Mapping[str, Array]  # BYTES are object arrays of bytes
    outputs: Mapping[str, Array]
    path: str  # of sample.npz, from the folder that the repository is in; its keys are "inputs/<name>"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelDescription:
    """A model as its generated client is made of it."""

    name: str
    max_batch_size: int  # 0: the model does not batch
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    is_decoupled: bool = False
    is_sequence: bool = False  # its requests belong to sequences
    version: int | None = None  # the newest that is served, where it is known
    made_with: str = ""  # framework or backend, for the documentation
    release: str = ""  # the Triton release that it was proven for
    about: str = ""  # what its publisher says of it
    example: Example | None = None

    @property
    def batches(self) -> bool:
        """Whether requests hold rows, the batch dimension first."""
        return self.max_batch_size > 0

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex digest of what a client depends on: tensors and their columns, batching, decoupling.

        The order of the tensors, the size of the largest batch and all words about the model count for nothing.
        """
        return f"sha256:{hashlib.sha256(json.dumps(self._facts(), sort_keys=True).encode()).hexdigest()}"

    def _facts(self) -> dict[str, Any]:
        return {
            "batches": self.batches,
            "decoupled": self.is_decoupled,
            "sequence": self.is_sequence,
            "inputs": {tensor.name: _tensor_facts(tensor) for tensor in self.inputs},
            "outputs": {tensor.name: _tensor_facts(tensor) for tensor in self.outputs},
        }


def _tensor_facts(tensor: TensorDescription) -> list[Any]:
    facts = [tensor.datatype.wire_name, list(tensor.shape), tensor.optional]
    return [*facts, list(tensor.columns)] if tensor.columns else facts
