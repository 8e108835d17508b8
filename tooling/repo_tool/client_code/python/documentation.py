# SPDX-License-Identifier: Apache-2.0
"""What a generated class says of itself: tensors in words, and an example made of the model's own sample."""

__all__ = ["about_model", "describe", "docstring", "example"]

import math
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from repo_tool.client_code.description import Example, ModelDescription
from repo_tool.client_code.python.layout import bytes_literal, string_literal, wrapped
from repo_tool.client_code.python.members import Member, Side
from repo_tool.datatypes import DataType
from repo_tool.printable import printable_lines
from repo_tool.samples import Array

_MOST_WORDS = 12  # named one by one
_MOST_NUMBERS = 100  # written into an example
_MOST_BYTES = 400
_URL = "grpc://127.0.0.1:8001"


def docstring(text: str, *, indent: int) -> str:
    """A docstring of several lines, or of one; its quotes and backslashes mean what they look like."""
    safe = printable_lines(text).replace('"""', "'''")
    prefix = 'r"""' if "\\" in safe else '"""'
    if "\n" not in safe:
        return f'{prefix}{safe}"""'
    body = textwrap.indent(safe, " " * indent, predicate=lambda line: bool(line.strip())).lstrip(" ")
    return f'{prefix}{body}\n{" " * indent}"""'


def about_model(model: ModelDescription, *, indent: int) -> str:
    """What the model is, in a line or two."""
    facts = [
        f"version {model.version}" if model.version is not None else "",
        model.made_with,
        f"proven for Triton {model.release}" if model.release else "",
        f"in batches of up to {model.max_batch_size} rows" if model.batches else "without batching",
    ]
    line = ", ".join(filter(None, facts))
    told = [
        f"The model ``{model.name}``.",
        _paragraph(model.about, indent),
        _paragraph(f"{line[0].upper()}{line[1:]}.", indent),
    ]
    return "\n\n".join(filter(None, told))


def _paragraph(text: str, indent: int) -> str:
    safe = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return wrapped(safe, indent=indent)


def describe(member: Member, side: Side, *, indent: int) -> str:
    """One tensor in words, as a line of ``Args:`` that hangs by its name."""
    facts = [_kind(member, side), *_remarks(member)]
    text = f"{member.name}: {'; '.join(facts)}."
    return wrapped("".join(sign if sign.isprintable() else " " for sign in text), indent=indent, hanging=4)


def _kind(member: Member, side: Side) -> str:
    sizes = member.sizes(side)
    name = member.tensor.datatype.wire_name
    return f"{name} [{', '.join(map(str, sizes))}]" if sizes else f"one value of {name}"


def _remarks(member: Member) -> Iterator[str]:
    tensor = member.tensor
    if member.name != tensor.name:
        yield f"the tensor '{tensor.name}'"
    if tensor.datatype is DataType.BF16:
        yield "float32 here, bfloat16 on the wire"
    if -1 in tensor.shape:
        yield "-1 is any size"
    if tensor.columns:
        yield f"columns {_listed(tensor.columns)}"
    if tensor.classes:
        yield f"one for each of {_listed(tensor.classes)}"
    if tensor.words:
        yield f"one of {_listed(tensor.words)}"
    if tensor.optional:
        yield "may be left out"


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(words[:_MOST_WORDS])
    return f"{shown} and {len(words) - _MOST_WORDS} more" if len(words) > _MOST_WORDS else shown


# --- the example -----------------------------------------------------------------------------------------------------


def example(model: ModelDescription, name: str, inputs: Sequence[Member], outputs: Sequence[Member]) -> str:
    """A session with the first row of the published sample, whose answers were recorded; empty without a sample."""
    if model.example is None or model.is_decoupled:
        return ""
    arguments = _arguments(inputs, model.example)
    if arguments is None:
        return ""
    lines = [">>> from repo_client import Client", *_imports(arguments), f'>>> client = Client("{_URL}")']
    if any("sample[" in argument for argument in arguments):
        lines.append(f'>>> sample = np.load("{model.example.path}")')
    lines += _call(model, name, arguments)
    return "\n".join([*lines, *_answers(outputs, model.example)])


def _imports(arguments: Sequence[str]) -> list[str]:
    uses_numpy = any("np." in argument or "sample[" in argument for argument in arguments)
    return [">>> import numpy as np"] if uses_numpy else []


def _call(model: ModelDescription, name: str, arguments: Sequence[str]) -> Iterator[str]:
    shown = textwrap.indent("\n".join(f"{argument}," for argument in arguments), "    ").splitlines()
    if not model.is_sequence:
        yield f">>> result = {name}(client).predict("
        yield from (f"... {line}" for line in (*shown, ")"))
        return
    yield f">>> with {name}(client).sequence() as sequence:"
    yield "...     result = sequence.predict("
    yield from (f"...     {line}" for line in (*shown, "    last=True,", ")"))


def _arguments(inputs: Sequence[Member], found: Example) -> list[str] | None:
    """The arguments of the call; None where one would be too long to read."""
    sources = {member.name: _value(member, found) for member in inputs if member.tensor.name in found.inputs}
    if any(source is None for source in sources.values()):
        return None
    return [f"{name}={source}" for name, source in sources.items()]


def _value(member: Member, found: Example) -> str | None:
    array = found.inputs[member.tensor.name]
    if member.tensor.datatype is DataType.BYTES:
        return _bytes_value(member, array)
    if member.is_single:
        return repr(array.item())
    if array.size <= _MOST_NUMBERS and np.isfinite(array).all():
        return _array_value(array)
    row = "[0]" if member.batches else ""
    return f'sample["inputs/{member.tensor.name}"]{row}' if '"' not in member.tensor.name else None


def _bytes_value(member: Member, array: Array) -> str | None:
    values = array.reshape(-1).tolist()
    if sum(map(len, values)) > _MOST_BYTES or array.ndim > 1:
        return None
    literals = [_wrapped_bytes(value) for value in values]
    return literals[0] if member.is_single else f"[{', '.join(literals)}]"


def _wrapped_bytes(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        return string_literal(text)
    pieces = [bytes_literal(value[start : start + 16]) for start in range(0, len(value), 16)] or ['b""']
    return pieces[0] if len(pieces) == 1 else "(\n" + "\n".join(f"    {piece}" for piece in pieces) + "\n)"


def _array_value(array: Array) -> str:
    numbers = ", ".join(_number(value) for value in array.reshape(-1))
    dtype = f"np.{'bool_' if array.dtype.kind == 'b' else array.dtype.name}"
    shape = f".reshape({', '.join(map(str, array.shape))})" if array.ndim != 1 else ""
    line = f"np.array([{numbers}], dtype={dtype}){shape}"
    if len(line) <= 50:
        return line
    shown = textwrap.indent("\n".join(textwrap.wrap(numbers, 60)), "        ")
    return f"np.array(\n    [\n{shown}\n    ],\n    dtype={dtype},\n){shape}"


def _number(value: np.generic) -> str:
    """The shortest text that gives the number again, in its own type."""
    return str(value.item()) if value.dtype.kind in "biu" else str(value)


def _answers(outputs: Sequence[Member], found: Example) -> Iterator[str]:
    for member in outputs:
        array = found.outputs.get(member.tensor.name)
        if array is None:
            continue
        yield f">>> {_shown(member)}"
        yield _expected(member, array)
        if member.labels_name:
            yield f">>> result.{member.labels_name}"
            yield repr(member.tensor.classes[int(array.argmax())])


def _shown(member: Member) -> str:
    if member.is_array:
        return f"result.{member.name}.shape"
    if member.is_single and member.tensor.datatype.is_float:
        return f'print(f"{{result.{member.name}:.3g}}")'
    return f"result.{member.name}"


def _expected(member: Member, array: Array) -> str:
    if member.is_array:
        return repr(array.shape)
    if member.is_single and member.tensor.datatype.is_float:
        value = float(array.item())
        return f"{value:.3g}" if math.isfinite(value) else str(value)
    if member.tensor.datatype is not DataType.BYTES:
        return repr(array.item())
    words = tuple(value.decode() if member.tensor.is_text else value for value in array.reshape(-1).tolist())
    return repr(words[0]) if member.is_single else repr(words)
