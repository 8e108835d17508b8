# SPDX-License-Identifier: Apache-2.0
"""A call to show in a model's documentation, made of its published sample where there is one."""

__all__ = ["example_lines"]

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from repo_tool.client_code.description import FREE, Example, ModelDescription, TensorDescription
from repo_tool.client_code.typescript.literals import array_literal, key_text, quoted, value_literal
from repo_tool.datatypes import DataType
from repo_tool.samples import Array

_LONGEST = 1200  # characters of one value; what is longer is shown by its size alone
_MOST_SHOWN = 16  # values of one answer
_WIDTH = 110


class Named(Protocol):
    """A tensor and the property that holds it."""

    @property
    def tensor(self) -> TensorDescription:
        """The tensor."""

    @property
    def member(self) -> str:
        """Its property."""

    @property
    def label(self) -> str:
        """The property of its likeliest class; empty for none."""


def example_lines(
    model: ModelDescription, name: str, inputs: Iterable[Named], outputs: Iterable[Named]
) -> tuple[str, ...]:
    """The lines of the example, without indentation beyond their own."""
    values = [(view, _input_text(view.tensor, model.example)) for view in inputs]
    passed = [f"  {key_text(view.member)}: {text}," for view, text in values if text is not None]
    known = {view.tensor.name for view, text in values if text is not None and _is_from(model.example, view.tensor)}
    is_whole = model.example is not None and known >= model.example.inputs.keys()
    shown = list(_answer_lines(model.example, outputs)) if is_whole and model.example else []
    opened = [f'const model = new {name}(new Client("http://localhost:8000"));']
    rows = [line for text in passed for line in _wrapped(text)]
    if model.is_decoupled:
        return (*opened, "for await (const answer of model.predict({", *rows, "})) {", "  console.log(answer);", "}")
    if model.is_sequence:
        calls = ("const sequence = model.sequence();", "const answer = await sequence.predict({", *rows)
        return (*opened, *calls, "}, { last: true });", *shown)
    return (*opened, "const answer = await model.predict({", *rows, "});", *shown)


def _is_from(example: Example | None, tensor: TensorDescription) -> bool:
    if example is None or tensor.name not in example.inputs:
        return False
    return len(_literal(example.inputs[tensor.name], tensor)) <= _LONGEST


def _input_text(tensor: TensorDescription, example: Example | None) -> str | None:
    """The value to pass; ``None`` where the input can be left out."""
    if example is not None and _is_from(example, tensor):
        return _literal(example.inputs[tensor.name], tensor)
    return None if tensor.optional else _placeholder(tensor)


def _literal(array: Array, tensor: TensorDescription) -> str:
    if tensor.is_single:
        return value_literal(array.reshape(-1)[0], tensor.datatype)
    return array_literal(array, tensor.datatype)


def _placeholder(tensor: TensorDescription) -> str:
    shape = tuple(1 if size == FREE else size for size in tensor.shape)
    fill = b"..." if tensor.datatype is DataType.BYTES else 0
    array = np.full(shape, fill, dtype=tensor.datatype.numpy)
    if array.size <= _MOST_SHOWN or tensor.datatype is DataType.BYTES:
        return _literal(array, tensor)
    kind = _FLAT.get(tensor.datatype, f"{tensor.datatype.numpy.name.capitalize()}Array")
    values = f"new {kind}({array.size})"
    return values if tensor.shape.count(FREE) < 2 else f"new Tensor({values}, [{', '.join(map(str, shape))}])"


_FLAT = {
    DataType.BOOL: "Uint8Array",
    DataType.INT64: "BigInt64Array",
    DataType.UINT64: "BigUint64Array",
    DataType.FP16: "Float32Array",
    DataType.BF16: "Float32Array",
}


def _wrapped(line: str) -> Iterator[str]:
    """A long line of values, broken behind commas."""
    indent = "  "
    while len(line) > _WIDTH and ", " in line[:_WIDTH].strip():
        cut = line.rindex(", ", 0, _WIDTH) + 1
        yield line[:cut]
        indent = "    "
        line = indent + line[cut + 1 :]
    yield line


def _answer_lines(example: Example, outputs: Iterable[Named]) -> Iterator[str]:
    for view in outputs:
        array = example.outputs.get(view.tensor.name)
        if array is None or array.size > _MOST_SHOWN or array.size == 0:
            continue
        yield f"{_member(view.member)}; // {_shown(array, view.tensor)}"
        if view.label:
            word = view.tensor.classes[int(np.argmax(array))]
            yield f"{_member(view.label)}; // {quoted(word)}"


def _member(name: str) -> str:
    return f"answer.{name}" if name.isidentifier() else f"answer[{quoted(name)}]"


def _shown(array: Array, tensor: TensorDescription) -> str:
    if tensor.is_single:
        return _rounded(array.reshape(-1)[0], tensor.datatype)
    is_bits = tensor.datatype is DataType.BOOL  # an array of them is a Uint8Array
    texts = (str(int(value)) if is_bits else _rounded(value, tensor.datatype) for value in array.reshape(-1))
    return f"[{', '.join(texts)}]"


def _rounded(value: Any, datatype: DataType) -> str:
    return f"{value:.4g}" if datatype.is_float and np.isfinite(value) else value_literal(value, datatype)
