# SPDX-License-Identifier: Apache-2.0
"""What a person types for a field, as protobuf text and as the message that holds it."""

__all__ = ["TypedValue", "typed_value"]

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repo_tool.config.field_paths import Step
from repo_tool.config.prototext import as_python_reads
from repo_tool.errors import ConfigError

_OPENING = ("{", "<")


@dataclass(frozen=True, slots=True)
class TypedValue:
    """A value as it is to be written, and a message of the type around it with nothing but the field."""

    words: str
    holder: Any


def typed_value(step: Step, value: str, *, path: str) -> TypedValue:
    """``value`` for the field of ``step``: protobuf text, or a string, or the items of a list without more ado.

    Raises:
        ConfigError: the field does not take it.
    """
    for words in _readings(step, value.strip()):
        holder = _held(step, words)
        if holder is not None:
            return TypedValue(words, holder)
    raise _not_taken(step, value, path)


def _readings(step: Step, value: str) -> Iterator[str]:
    """What ``value`` may stand for, as protobuf text, the plainest first."""
    if step.descriptor.is_repeated and step.is_whole:
        items = value if value.startswith("[") else f"[ {value} ]"
        yield items
        if step.descriptor.message_type is None:
            yield f"[ {', '.join(map(_quoted, _items(value)))} ]"
        return
    yield value
    message_type = step.message_type
    if message_type is None:
        yield _quoted(value)
    elif step.key is not None and len(message_type.fields) == 1 and not value.startswith(_OPENING):
        only = message_type.fields[0].name  # what a parameter is: a message of one string
        yield f"{{ {only}: {value} }}"
        yield f"{{ {only}: {_quoted(value)} }}"


def _items(value: str) -> list[str]:
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    return [item.strip() for item in inner.split(",")] if inner.strip() else []


def _quoted(value: str) -> str:
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(value.encode(errors="replace"), as_utf8=True)}"'


def _held(step: Step, words: str) -> Any:
    """A message of the type around the field that holds the value and nothing else; None if there is none such."""
    from google.protobuf import message_factory, text_format

    field = step.value_descriptor
    holder: Any = message_factory.GetMessageClass(field.containing_type)()
    try:
        text_format.Parse(as_python_reads(f"{field.name}: {words}\n"), holder)
    except (text_format.ParseError, ConfigError, ValueError, RecursionError):
        return None
    if any(found.name != field.name for found, _ in holder.ListFields()) or _ends_early(words):
        return None
    is_one_of_many = step.index is not None
    return None if is_one_of_many and len(getattr(holder, field.name)) != 1 else holder


def _ends_early(words: str) -> bool:
    """Whether more than one value is written, e.g. ``1 name: "x"``, or a comment hides what follows."""
    from repo_tool.config.syntax import read

    root, comments = read(f"value: {words}")
    if len(root.fields) != 1 or (comments and comments[-1].span.end == len(words) + len("value: ")):
        return True
    return root.fields[0].span.end != len(f"value: {words}")


def _not_taken(step: Step, value: str, path: str) -> ConfigError:
    field = step.value_descriptor
    if field.enum_type is not None:
        names = list(field.enum_type.values_by_name)
        near = difflib.get_close_matches(re.sub(r"[\[\]\s]", "", value).upper(), names, n=3, cutoff=0.5)
        return ConfigError(
            f"'{path}' does not take {value!r}",
            cause=f"it is one of {', '.join(names)}",
            next_step=f"did you mean {' or '.join(near)}?" if near else "write one of them",
        )
    kind, example = _kind(step)
    return ConfigError(f"'{path}' does not take {value!r}", cause=f"it is {kind}", next_step=f"write e.g. {example}")


def _kind(step: Step) -> tuple[str, str]:
    """The field's type in words, and a value that it takes."""
    field = step.value_descriptor
    is_list = field.is_repeated and step.is_whole
    if field.message_type is not None:
        only = field.message_type.fields[0].name if field.message_type.fields else ""
        words, example = f"a message {field.message_type.name}", f"'{{ {only}: … }}'" if only else "'{ }'"
        return (f"a list of {field.message_type.name}", f"'[ {{ {only}: … }} ]'") if is_list else (words, example)
    kinds = {
        field.CPPTYPE_BOOL: ("true or false", "true"),
        field.CPPTYPE_STRING: ("a string", '"text"'),
        field.CPPTYPE_FLOAT: ("a number", "0.5"),
        field.CPPTYPE_DOUBLE: ("a number", "0.5"),
        field.CPPTYPE_UINT32: ("a whole number from 0 to 4294967295", "1"),
        field.CPPTYPE_UINT64: ("a whole number from 0 to 18446744073709551615", "1"),
        field.CPPTYPE_INT32: ("a whole number from -2147483648 to 2147483647", "1"),
    }
    words, example = kinds.get(field.cpp_type, ("a whole number", "1"))
    return (f"a list, each {words}", f"'[ {example} ]'") if is_list else (words, example)
