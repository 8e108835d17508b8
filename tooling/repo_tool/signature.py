# SPDX-License-Identifier: Apache-2.0
"""What a model takes and gives, free of any framework: the value that importers hand over."""

__all__ = ["ModelSignature", "TensorSpec"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repo_tool.datatypes import DataType

FREE = -1  # a dimension that a request chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor with its whole shape, the batch dimension included: ``[-1, 30]`` for a batch of 30 floats a row."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]  # -1 where a request chooses; () for a scalar

    @property
    def has_free_first_dimension(self) -> bool:
        """Whether rows can be stacked along the first dimension."""
        return bool(self.shape) and self.shape[0] == FREE

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for provenance and for ``--json``."""
        return {"name": self.name, "datatype": self.datatype.wire_name, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TensorSpec":
        """The tensor that ``to_dict`` described."""
        return cls(name=values["name"], datatype=DataType.from_wire(values["datatype"]), shape=tuple(values["shape"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """A model's inputs and outputs, in the order that the framework gives them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: bool = True  # False where a row's answer was seen to depend on the rows beside it

    @property
    def can_batch(self) -> bool:
        """Whether every tensor has a free first dimension, which Triton asks for when ``max_batch_size`` > 0."""
        return self.batches and all(tensor.has_free_first_dimension for tensor in (*self.inputs, *self.outputs))

    def input(self, name: str) -> TensorSpec:
        """The input called ``name``.

        Raises:
            KeyError: there is none.
        """
        return _by_name(self.inputs, name)

    def output(self, name: str) -> TensorSpec:
        """The output called ``name``.

        Raises:
            KeyError: there is none.
        """
        return _by_name(self.outputs, name)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for provenance and for ``--json``."""
        return {
            "inputs": [tensor.to_dict() for tensor in self.inputs],
            "outputs": [tensor.to_dict() for tensor in self.outputs],
            **({} if self.batches else {"batches": False}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelSignature":
        """The signature that ``to_dict`` described."""
        return cls(
            inputs=tuple(TensorSpec.from_dict(tensor) for tensor in values["inputs"]),
            outputs=tuple(TensorSpec.from_dict(tensor) for tensor in values["outputs"]),
            batches=values.get("batches", True),
        )


def _by_name(tensors: Sequence[TensorSpec], name: str) -> TensorSpec:
    found = {tensor.name: tensor for tensor in tensors}
    return found[name]
