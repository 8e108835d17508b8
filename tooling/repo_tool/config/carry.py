# SPDX-License-Identifier: Apache-2.0
"""A change of ``config.pbtxt`` carried into a file of ``configs/`` that says the same about the fields. Pure."""

__all__ = ["Carried", "carry"]

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.edit import parse_message, remove_field, set_field
from repo_tool.config.field_paths import Step, read_path
from repo_tool.config.places import is_map, locate
from repo_tool.config.variants import TENSORRT_PARAMETERS, renewed_tensorrt_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a variant is to say, and the paths of those fields of which it keeps a value of its own."""

    text: str
    kept: tuple[str, ...] = ()


def carry(text: str, before: str, after: str) -> Carried:
    """The variant ``text`` with each field of ``config.pbtxt`` that differs between ``before`` and ``after``.

    A field counts where the variant has the value that ``before`` has; any other is the variant's own, and stays. What
    the variant derives from such fields, as TensorRT's shapes from the largest batch, is derived again.

    Raises:
        ConfigError: a text does not parse, or the variant is written so that no small edit does it.
    """
    old, new, written = parse_message(before), parse_message(after), locate(after).by_path
    kept, carried = [], text
    for path in _differences(old, new, prefix=""):
        steps = read_path(path)
        own = _state(parse_message(carried), steps)
        if own == _state(new, steps):
            continue
        if own != _state(old, steps):
            kept.append(path)
        elif path in written:
            carried = set_field(carried, path, _words(new, steps))
        else:
            carried = remove_field(carried, path)
    return Carried(text=_derived_again(text, carried), kept=tuple(kept))


def _derived_again(text: str, carried: str) -> str:
    """``carried`` with the TensorRT parameters that follow from what it says, unless ``text`` had others."""
    if carried == text:
        return text
    for key, value in renewed_tensorrt_parameters(pbtxt.parse(text), pbtxt.parse(carried)).items():
        path = f"{TENSORRT_PARAMETERS}[{key}]"
        carried = remove_field(carried, path) if value is None else set_field(carried, path, value)
    return carried


def _differences(old: Any, new: Any, *, prefix: str) -> Iterator[str]:
    """The paths of the smallest fields that differ; fields that exclude each other are one."""
    for field in old.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        if is_map(field):
            keys = sorted({*getattr(old, field.name), *getattr(new, field.name)}, key=str)
            yield from (f"{path}[{key}]" for key in keys if _entry(old, field, key) != _entry(new, field, key))
        elif field.is_repeated:
            yield from _of_repeated(field, getattr(old, field.name), getattr(new, field.name), path)
        elif field.containing_oneof is not None and _chosen(old, field) != _chosen(new, field):
            if field.name == (_chosen(new, field) or _chosen(old, field)):
                yield path
        elif _own_bytes(old, field) != _own_bytes(new, field):
            yield from _of_one(field, old, new, path)


def _of_repeated(field: Any, old: Any, new: Any, path: str) -> Iterator[str]:
    if field.message_type is None or len(old) != len(new):
        if list(old) != list(new):
            yield path
        return
    for index, (was, now) in enumerate(zip(old, new, strict=True)):
        yield from _differences(was, now, prefix=f"{path}[{index}].")


def _of_one(field: Any, old: Any, new: Any, path: str) -> Iterator[str]:
    """Inside of a message, unless it is taken out, or put in without anything inside."""
    if field.message_type is None or not new.HasField(field.name):
        yield path
        return
    inside = list(_differences(getattr(old, field.name), getattr(new, field.name), prefix=f"{path}."))
    yield from inside or [path]


def _chosen(message: Any, field: Any) -> str | None:
    name: str | None = message.WhichOneof(field.containing_oneof.name)
    return name


def _entry(message: Any, field: Any, key: Any) -> Any:
    return getattr(message, field.name).get(key)


def _own_bytes(message: Any, field: Any) -> bytes:
    """The field alone, in protobuf's own form, which tells an empty message from none."""
    alone = type(message)()
    alone.CopyFrom(message)
    for other, _ in message.ListFields():
        if other.name != field.name:
            alone.ClearField(other.name)
    said: bytes = alone.SerializeToString(deterministic=True)
    return said


def _state(message: Any, steps: tuple[Step, ...]) -> tuple[Any, ...]:
    """All that tells whether two configurations say the same at a path, and of the same thing."""
    said: list[Any] = []
    for step in steps[:-1]:
        said.append(_whose(message, step))
        message = _below(message, step)
        if message is None:
            return tuple(said)
    last = steps[-1]
    said.append(_chosen(message, last.descriptor) if last.descriptor.containing_oneof is not None else None)
    if last.key is not None:
        return (*said, _value_of_key(message, last))
    return (*said, _own_bytes(message, last.descriptor))


def _whose(message: Any, step: Step) -> Any:
    """Which of several messages the step leads into: of how many, called what."""
    if step.descriptor.containing_oneof is not None:
        return _chosen(message, step.descriptor)
    if step.index is None:
        return None
    held = getattr(message, step.name)
    return len(held), getattr(held[step.index], "name", "") if step.index < len(held) else ""


def _below(message: Any, step: Step) -> Any:
    held = getattr(message, step.name)
    if step.index is None:
        return held
    return held[step.index] if step.index < len(held) else None


def _value_of_key(message: Any, step: Step) -> Any:
    key: Any = step.key if step.has_string_key else int(step.key or 0)
    found = _entry(message, step.descriptor, key)
    return found.SerializeToString(deterministic=True) if hasattr(found, "SerializeToString") else found


def _words(message: Any, steps: tuple[Step, ...]) -> str:
    """The value at a path as protobuf text."""
    for step in steps[:-1]:
        message = _below(message, step)
    last = steps[-1]
    held = getattr(message, last.name)
    if last.key is not None:
        held = held[last.key if last.has_string_key else int(last.key)]
        return _one(last.value_descriptor, held)
    if last.descriptor.is_repeated:
        return f"[ {', '.join(_one(last.descriptor, each) for each in held)} ]"
    return _one(last.descriptor, held)


def _one(field: Any, value: Any) -> str:
    from google.protobuf import text_format

    out = io.StringIO()
    text_format.PrintFieldValue(field, value, out, as_utf8=True, as_one_line=True)
    return out.getvalue().strip()
