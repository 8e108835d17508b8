# SPDX-License-Identifier: Apache-2.0
"""A described model in the words of TypeScript: names, types and an example, ready for the template."""

__all__ = ["ModelView", "TensorView", "view_models"]

from collections.abc import Sequence
from dataclasses import dataclass

from repo_tool.client_code.description import ModelDescription, TensorDescription
from repo_tool.client_code.naming import class_names, member_name, member_names, words_of
from repo_tool.client_code.typescript.examples import example_lines
from repo_tool.client_code.typescript.literals import quoted
from repo_tool.client_code.typescript.runtime_text import runtime_names
from repo_tool.datatypes import DataType

_ARRAYS = {
    DataType.BOOL: "Uint8Array",
    DataType.UINT8: "Uint8Array",
    DataType.UINT16: "Uint16Array",
    DataType.UINT32: "Uint32Array",
    DataType.UINT64: "BigUint64Array",
    DataType.INT8: "Int8Array",
    DataType.INT16: "Int16Array",
    DataType.INT32: "Int32Array",
    DataType.INT64: "BigInt64Array",
    DataType.FP16: "Float32Array",
    DataType.BF16: "Float32Array",
    DataType.FP32: "Float32Array",
    DataType.FP64: "Float64Array",
}
_SCALARS = {DataType.BOOL: "boolean", DataType.INT64: "bigint", DataType.UINT64: "bigint"}
_SUFFIXES = ("", "Input", "Batch", "Result", "BatchResult")
# Of every object: a property that is absent must not be found there.
_OF_OBJECTS = frozenset({"constructor", "hasOwnProperty", "isPrototypeOf", "prototype", "toString", "valueOf"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorView:
    """One tensor: its property, and the types of that in one call and in a batch."""

    tensor: TensorDescription
    member: str
    type: str
    batch_type: str
    label: str = ""  # the property that says the likeliest class
    words_name: str = ""  # of the constant with its words; the type of one is the same without the last letter

    @property
    def word_type(self) -> str:
        """The union of its words."""
        return self.words_name[:-1]

    @property
    def words(self) -> tuple[str, ...]:
        """All that it can say."""
        return self.tensor.classes or self.tensor.words


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One model."""

    model: ModelDescription
    name: str  # of the class
    inputs: tuple[TensorView, ...]
    outputs: tuple[TensorView, ...]
    example: tuple[str, ...]

    @property
    def generic(self) -> str:
        """The type parameter of the elements of BYTES, where there are any that may be no text."""
        return "<B>" if any(_is_raw(view.tensor) for view in self.outputs) else ""

    @property
    def has_batch(self) -> bool:
        """Whether batches can be passed as well as rows."""
        return self.model.batches and not self.model.is_decoupled and not self.model.is_sequence

    @property
    def base(self) -> str:
        """The class that it extends, with its types."""
        own = f"{self.name}Input, {self.name}Result{self.generic}"
        if self.model.is_decoupled:
            return f"StreamingModel<{own}>"
        if self.model.is_sequence:
            return f"SequenceModel<{own}>"
        if self.has_batch:
            return f"BatchingModel<{own}, {self.name}Batch, {self.name}BatchResult{self.generic}>"
        return f"WholeModel<{own}>"


def view_models(models: Sequence[ModelDescription]) -> tuple[ModelView, ...]:
    """The models by name, each with a class of its own."""
    suffixes = {
        *_SUFFIXES,
        *(f"{_pascal(tensor.name)}Word{s}" for m in models for tensor in m.outputs for s in ("", "s")),
    }
    names = class_names(
        (model.name for model in models),
        lambda stem: [f"{stem}{suffix}" for suffix in suffixes],
        taken=runtime_names(),
    )
    return tuple(_view(model, names[model.name]) for model in sorted(models, key=lambda model: model.name))


def _view(model: ModelDescription, name: str) -> ModelView:
    inputs, outputs = _inputs(model), _outputs(model, name)
    return ModelView(
        model=model, name=name, inputs=inputs, outputs=outputs, example=example_lines(model, name, inputs, outputs)
    )


def _inputs(model: ModelDescription) -> tuple[TensorView, ...]:
    members = member_names((tensor.name for tensor in model.inputs), taken=_OF_OBJECTS)
    return tuple(
        TensorView(
            tensor=tensor,
            member=members[tensor.name],
            type=_passed(tensor, len(tensor.shape)),
            batch_type=_passed_batch(tensor),
        )
        for tensor in model.inputs
    )


def _passed(tensor: TensorDescription, rank: int) -> str:
    wire = tensor.datatype.wire_name
    kinds = [f'Values<"{wire}", {rank}>']
    if tensor.is_single:
        kinds.insert(0, f'Value<"{wire}">')
    if tensor.columns:
        kinds.append(_columns(tensor))
    return " | ".join(kinds)


def _passed_batch(tensor: TensorDescription) -> str:
    wire = tensor.datatype.wire_name
    kinds = [f'Values<"{wire}", {len(tensor.shape) + 1}>']
    if tensor.is_single:
        kinds.insert(0, f'readonly Value<"{wire}">[]')
    if tensor.columns:
        kinds.append(f"readonly {_columns(tensor)}[]")
    return " | ".join(kinds)


def _columns(tensor: TensorDescription) -> str:
    return f"Columns<{' | '.join(map(quoted, dict.fromkeys(tensor.columns)))}>"


def _outputs(model: ModelDescription, name: str) -> tuple[TensorView, ...]:
    members = member_names((tensor.name for tensor in model.outputs), taken=_OF_OBJECTS)
    used, views = set(members.values()), []
    for tensor in model.outputs:
        label = member_name(f"{members[tensor.name]}_label", taken=used) if tensor.classes else ""
        used.add(label)
        words_name = f"{name}{_pascal(tensor.name)}Words" if tensor.classes or tensor.words else ""
        views.append(
            TensorView(
                tensor=tensor,
                member=members[tensor.name],
                type=_given(tensor, words_name[:-1]),
                batch_type=_given_batch(tensor, words_name[:-1]),
                label=label,
                words_name=words_name,
            )
        )
    return tuple(views)


def _pascal(name: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in words_of(name))


def _is_raw(tensor: TensorDescription) -> bool:
    return tensor.datatype is DataType.BYTES and not (tensor.words or tensor.is_text)


def _element(tensor: TensorDescription, word_type: str) -> str:
    if tensor.datatype is DataType.BYTES:
        return "B" if _is_raw(tensor) else (word_type if tensor.words else "string")
    return _SCALARS.get(tensor.datatype, "number")


def _array(tensor: TensorDescription, word_type: str) -> str:
    return _ARRAYS.get(tensor.datatype) or f"readonly {_element(tensor, word_type)}[]"


def _given(tensor: TensorDescription, word_type: str) -> str:
    if tensor.is_single or not tensor.shape:
        return _element(tensor, word_type)
    array = _array(tensor, word_type)
    return array if len(tensor.shape) == 1 else f"Tensor<{array}>"


def _given_batch(tensor: TensorDescription, word_type: str) -> str:
    array = _array(tensor, word_type)
    return array if tensor.is_single or not tensor.shape else f"Tensor<{array}>"
