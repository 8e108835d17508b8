# SPDX-License-Identifier: Apache-2.0
"""A field's path, as diagnostics write it, read step by step by what the messages' descriptors say."""

__all__ = ["Step", "read_path"]

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from repo_tool.config.places import is_map
from repo_tool.config.proto import model_config_file
from repo_tool.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"\[(?P<key>\"[^\"]*\"|'[^']*'|.*?)\](?=[.\[]|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """One field on the way: of a repeated one the ``index`` of a value, of a map the ``key``, or None for all of it."""

    descriptor: Any
    index: int | None = None
    key: str | None = None

    @property
    def name(self) -> str:
        """The field's name."""
        return str(self.descriptor.name)

    @property
    def is_whole(self) -> bool:
        """Whether it is the field, not one of its values."""
        return self.index is None and self.key is None

    @property
    def has_string_key(self) -> bool:
        """Whether the keys of the map are strings, not numbers."""
        of_key = self.descriptor.message_type.fields_by_name["key"]
        return bool(of_key.cpp_type == of_key.CPPTYPE_STRING)

    @property
    def value_descriptor(self) -> Any:
        """The descriptor of one value: of a map's entry the one of what it maps to."""
        return self.descriptor if self.key is None else self.descriptor.message_type.fields_by_name["value"]

    @property
    def message_type(self) -> Any:
        """What is inside; None for a plain value."""
        return self.value_descriptor.message_type

    def held_in(self, message: Any) -> Any:
        """What ``message`` has there, the default where nothing is set; the value that is called for must exist."""
        held = getattr(message, self.name)
        if self.index is not None:
            return held[self.index]
        if self.key is not None:
            return held[self.key if self.has_string_key else int(self.key)]
        return held


def read_path(path: str) -> tuple[Step, ...]:
    """The steps of a path such as ``input[0].dims`` or ``parameters[key].string_value``.

    Raises:
        ConfigError: there is no such field; ``next_step`` names those that are near.
    """
    message_type, rest, steps = _root(), path, list[Step]()
    while True:
        step, rest = _read_step(path, rest, message_type)
        steps.append(step)
        if not rest:
            return tuple(steps)
        if not rest.startswith("."):
            raise ConfigError(f"'{path}' is no path of a field", next_step="write e.g. input[0].dims")
        _check_goes_on(path, step, rest)
        message_type, rest = step.message_type, rest[1:]


def _read_step(path: str, rest: str, message_type: Any) -> tuple[Step, str]:
    name = _NAME.match(rest)
    if name is None:
        raise ConfigError(f"'{path}' is no path of a field", next_step="write e.g. input[0].dims")
    field = message_type.fields_by_name.get(name.group())
    if field is None:
        raise _unknown(path, name.group(), message_type)
    rest = rest[name.end() :]
    if not rest.startswith("["):
        return Step(field), rest
    key = _KEY.match(rest)
    if key is None or not field.is_repeated:
        why = "its bracket is not closed" if key is None else f"{field.name} has one value, not several"
        raise ConfigError(f"'{path}' is no path of a field", cause=why, next_step="write e.g. input[0].dims")
    return _with_key(path, field, key["key"]), rest[key.end() :]


def _with_key(path: str, field: Any, key: str) -> Step:
    if is_map(field):
        is_quoted = len(key) > 1 and key[0] in "'\"" and key[-1] == key[0]
        step = Step(field, key=key[1:-1] if is_quoted else key)
        if step.has_string_key:
            return step
    if not (key.isascii() and key.isdigit()):
        raise ConfigError(
            f"'{path}' is no path of a field",
            cause=f"{key!r} is no number, and {field.name} has its values by number",
            next_step=f"write e.g. {field.name}[0]",
        )
    return Step(field, key=str(int(key))) if is_map(field) else Step(field, index=int(key))


def _check_goes_on(path: str, step: Step, rest: str) -> None:
    if step.descriptor.is_repeated and step.is_whole:
        example = f"{step.name}[{'key' if is_map(step.descriptor) else 0}]{rest}"
        raise ConfigError(
            f"'{path}' does not say which {step.name}",
            cause=f"{step.name} has several values",
            next_step=f"write e.g. {example}",
        )
    if step.message_type is None:
        raise ConfigError(
            f"'{path}' is no path of a field",
            cause=f"{step.name} is a plain value and has no fields",
            next_step=f"end the path with {step.name}",
        )


def _unknown(path: str, name: str, message_type: Any) -> ConfigError:
    before = path[: path.rfind(name)]
    near = difflib.get_close_matches(name, message_type.fields_by_name, n=3, cutoff=0.6)
    elsewhere = [found for found in _all_paths() if found.rpartition(".")[2] == name]
    here = [f"{before}{one}" for one in near]
    suggested = (here or elsewhere[:3]) if before else (elsewhere[:3] or here)
    if not suggested:
        known = [found.rpartition(".")[2] for found in _all_paths()]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        suggested = [found for found in _all_paths() if close and found.rpartition(".")[2] == close[0]][:3]
    return ConfigError(
        f"there is no field '{before}{name}'",
        cause=f"{message_type.name} has {', '.join(sorted(message_type.fields_by_name))}",
        next_step=f"did you mean {' or '.join(suggested)}?" if suggested else "take one of them",
    )


@cache
def _all_paths() -> tuple[str, ...]:
    """Every field there is, with 0 for an index and ``key`` for a key."""
    return tuple(_paths(_root(), ""))


def _paths(message_type: Any, before: str) -> Iterator[str]:
    for field in message_type.fields:
        yield f"{before}{field.name}"
        held = Step(field, key="key") if is_map(field) else Step(field)
        if held.message_type is not None:
            index = "[key]" if is_map(field) else "[0]" if field.is_repeated else ""
            yield from _paths(held.message_type, f"{before}{field.name}{index}.")


def _root() -> Any:

    return model_config_file().message_types_by_name["ModelConfig"]
