# SPDX-License-Identifier: Apache-2.0
"""A described model in the words of TypeScript: names, types and an example, ready for the template."""

__all__ = ["ModelView", "TensorView", "view_models"]

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from repo_tool.client_code.description import ModelDescription, TensorDescription
from repo_tool.client_code.naming import class_names, member_name, member_names
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
    labels: "Labels | None" = None  # all that it can say


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Words that an output can say: the constant that holds them, and the type of one."""

    words: tuple[str, ...]
    constant: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One model."""

    model: ModelDescription
    name: str  # of the class
    inputs: tuple[TensorView, ...]
    outputs: tuple[TensorView, ...]
    example: tuple[str, ...]

    @property
    def labels(self) -> tuple[Labels, ...]:
        """All lists of words, each once."""
        return tuple(dict.fromkeys(view.labels for view in self.outputs if view.labels))

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
    most = max((len(_word_lists(model)) for model in models), default=0)
    suffixes = (*_SUFFIXES, *(f"{plural}{number}" for number in _numbers(most) for plural in ("Label", "Labels")))
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
    names = " | ".join(map(quoted, dict.fromkeys(tensor.columns)))
    return f'Columns<{names}, Value<"{tensor.datatype.wire_name}">>'


def _outputs(model: ModelDescription, name: str) -> tuple[TensorView, ...]:
    members = member_names((tensor.name for tensor in model.outputs), taken=_OF_OBJECTS)
    labels, used, views = _labels(model, name), set(members.values()), []
    for tensor in model.outputs:
        own = labels.get(tensor.classes or tensor.words)
        label = _label_name(members[tensor.name], used) if tensor.classes else ""
        used.update({label, f"{label}s"})
        views.append(
            TensorView(
                tensor=tensor,
                member=members[tensor.name],
                type=_given(tensor, own),
                batch_type=_given_batch(tensor, own),
                label=label,
                labels=own,
            )
        )
    return tuple(views)


def _label_name(member: str, used: Collection[str]) -> str:
    """The property of a label, which is free in the plural as well."""
    name = member_name(f"{member}_label", taken=used)
    return name if f"{name}s" not in used else member_name(f"{name}_of_row", taken=used)


def _labels(model: ModelDescription, name: str) -> dict[tuple[str, ...], Labels]:
    lists = _word_lists(model)
    return {
        words: Labels(words=words, constant=f"{name}Labels{number}", type=f"{name}Label{number}")
        for words, number in zip(lists, _numbers(len(lists)), strict=True)
    }


def _word_lists(model: ModelDescription) -> Sequence[tuple[str, ...]]:
    """All lists of words that outputs say, each once."""
    return list(dict.fromkeys(words for tensor in model.outputs if (words := tensor.classes or tensor.words)))


def _numbers(size: int) -> Sequence[str]:
    """What so many names of one kind end with: nothing, 2, 3 ..."""
    return ["" if number == 1 else str(number) for number in range(1, size + 1)]


def _is_raw(tensor: TensorDescription) -> bool:
    return tensor.datatype is DataType.BYTES and not (tensor.words or tensor.is_text)


def _element(tensor: TensorDescription, labels: Labels | None) -> str:
    if tensor.datatype is DataType.BYTES:
        return "B" if _is_raw(tensor) else (labels.type if labels and tensor.words else "string")
    return _SCALARS.get(tensor.datatype, "number")


def _array(tensor: TensorDescription, labels: Labels | None) -> str:
    return _ARRAYS.get(tensor.datatype) or f"readonly {_element(tensor, labels)}[]"


def _given(tensor: TensorDescription, labels: Labels | None) -> str:
    if tensor.is_single or not tensor.shape:
        return _element(tensor, labels)
    array = _array(tensor, labels)
    return array if len(tensor.shape) == 1 else f"Tensor<{array}>"


def _given_batch(tensor: TensorDescription, labels: Labels | None) -> str:
    array = _array(tensor, labels)
    return array if tensor.is_single or not tensor.shape else f"Tensor<{array}>"
