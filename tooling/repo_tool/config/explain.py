# SPDX-License-Identifier: Apache-2.0
"""What a client must send to a model and what it gets, said in words."""

__all__ = ["ModelExplanation", "TensorExplanation", "explain"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.config.scheduling import ControlKind, SequenceBatching
from repo_tool.datatypes import DataType

_CONTROL_WORDS = {
    ControlKind.START: "set at the start of a sequence",
    ControlKind.READY: "set where the slot holds a request",
    ControlKind.END: "set at the end of a sequence",
    ControlKind.CORRID: "the sequence's ID",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorExplanation:
    """One tensor of a request or response; ``shape`` has the batch dimension in front as ``batch 1..n``."""

    name: str
    datatype: str  # as on the wire, e.g. FP32 or BYTES
    shape: str  # e.g. `[batch 1..32, 4, any]`
    is_optional: bool = False
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--format json``."""
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": self.shape,
            "optional": self.is_optional,
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelExplanation:
    """What passes between a client and a model, and what Triton does in between."""

    model: str
    sends: tuple[TensorExplanation, ...]
    gets: tuple[TensorExplanation, ...]
    fills: tuple[TensorExplanation, ...] = ()  # inputs of the model that no client sends
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--format json``."""
        return {
            "model": self.model,
            "send": [tensor.to_dict() for tensor in self.sends],
            "get": [tensor.to_dict() for tensor in self.gets],
            "filled_by_triton": [tensor.to_dict() for tensor in self.fills],
            "remarks": list(self.remarks),
        }


def explain(config: ModelConfig, *, name: str) -> ModelExplanation:
    """What ``config``, of the model called ``name``, means for a client."""
    states = {state.output_name for state in _sequence(config).states}
    return ModelExplanation(
        model=name,
        sends=tuple(_tensor(config, tensor, tuple(_input_remarks(tensor))) for tensor in config.inputs),
        gets=tuple(
            _tensor(config, tensor, tuple(_output_remarks(tensor)))
            for tensor in config.outputs
            if tensor.name not in states
        ),
        fills=tuple(_fills(config)),
        remarks=tuple(_model_remarks(config)),
    )


def _sequence(config: ModelConfig) -> SequenceBatching:
    return config.sequence_batching or SequenceBatching()


def _tensor(config: ModelConfig, tensor: ModelTensor, remarks: tuple[str, ...]) -> TensorExplanation:
    return TensorExplanation(
        name=tensor.name,
        datatype=_wire_name(tensor.datatype),
        shape=_shape_words(config, tensor),
        is_optional=tensor.optional,
        remarks=remarks,
    )


def _wire_name(datatype: DataType | None) -> str:
    return datatype.wire_name if datatype is not None else "?"


def _shape_words(config: ModelConfig, tensor: ModelTensor) -> str:
    is_batched = config.max_batch_size > 0 and not tensor.is_shape_tensor
    batch = [f"batch 1..{config.max_batch_size}"] if is_batched else []
    return f"[{', '.join([*batch, *_dims_words(tensor.dims)])}]"


def _dims_words(dims: tuple[int, ...]) -> list[str]:
    return ["any" if size == -1 else str(size) for size in dims]


def _input_remarks(tensor: ModelTensor) -> Iterator[str]:
    if tensor.optional:
        yield "optional"
    if tensor.allow_ragged_batch:
        yield "ragged: requests that share a batch may differ in shape"
    if tensor.format not in ("", "FORMAT_NONE"):
        yield f"format {tensor.format.removeprefix('FORMAT_')}"
    if tensor.is_shape_tensor:
        yield "shape tensor"


def _output_remarks(tensor: ModelTensor) -> Iterator[str]:
    if tensor.label_filename:
        yield f"classes are named in {tensor.label_filename}"
    if tensor.is_shape_tensor:
        yield "shape tensor"


def _fills(config: ModelConfig) -> Iterator[TensorExplanation]:
    for control in _sequence(config).control_inputs:
        remarks = tuple(_CONTROL_WORDS[each.kind] for each in control.controls)
        types = [_control_type(each) for each in control.controls]
        yield TensorExplanation(name=control.name, datatype=types[0] if types else "?", shape="[1]", remarks=remarks)
    for state in _sequence(config).states:
        yield TensorExplanation(
            name=state.input_name,
            datatype=_wire_name(state.datatype),
            shape=f"[{', '.join(_dims_words(state.dims))}]",
            remarks=(f"the sequence's state: {state.output_name} of the request before",),
        )
    for made in config.batch_inputs:
        for target in made.target_names:
            words = f"{made.kind.removeprefix('BATCH_').lower().replace('_', ' ')} of {', '.join(made.source_inputs)}"
            yield TensorExplanation(
                name=target,
                datatype=_wire_name(made.datatype),
                shape="[any]",
                remarks=(f"made from the batch: {words}",),
            )


def _control_type(control: Any) -> str:
    if control.datatype is not None:
        return str(control.datatype.wire_name)
    if control.fp32_false_true:
        return "FP32"
    return "BOOL" if control.bool_false_true else "INT32"


def _model_remarks(config: ModelConfig) -> Iterator[str]:
    if not config.inputs or not config.outputs:
        yield "tensors that are not declared are left to the server: ask it for the model's metadata"
    if config.sequence_batching is not None:
        yield "sequences: each request needs sequence_id, the first sequence_start and the last sequence_end"
    if config.decoupled:
        yield "decoupled: a request gets any number of responses, over gRPC streaming or /generate_stream only"
    if config.dynamic_batching is not None and config.dynamic_batching.priority_levels > 0:
        yield f"priority: 1 (first) to {config.dynamic_batching.priority_levels}"
    if config.response_cache:
        yield "equal requests may be answered from the response cache"
