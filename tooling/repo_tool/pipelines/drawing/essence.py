# SPDX-License-Identifier: Apache-2.0
"""What a node or a box says about a stage: its parameters and its condition, as short as they can be told."""

__all__ = ["block_condition", "block_details", "parameter_lines"]

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from repo_tool.pipelines.spec import ForEach, OtherWire, Repeat, When
from repo_tool.pipelines.stages import BlockStage

_SHOWN_ITEMS, _LINE_SIGNS, _LINES = 3, 44, 4
_COMPARISONS = {"is_below": "<", "is_at_most": "≤", "is_at_least": "≥", "is_above": ">", "equals": "="}


def parameter_lines(code: Any) -> tuple[str, ...]:
    """The parameters of a step that are not at their defaults, in a few lines."""
    words = [f"{name}={_value(value)}" for name, value in _given(code)]
    return tuple(_filled(words))


def _given(code: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(code):
        value = getattr(code, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if value != default:
            yield field.name, value


def _value(value: Any) -> str:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return "{" + _items([f"{key}: {_value(inner)}" for key, inner in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + _items([_value(inner) for inner in value]) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _items(values: list[str]) -> str:
    """All of a few, else the first ones, the last, and how many there are."""
    if len(values) <= _SHOWN_ITEMS + 1:
        return ", ".join(values)
    return f"{', '.join(values[: _SHOWN_ITEMS - 1])}, … {values[-1]}; {len(values)}"


def _filled(words: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= _LINE_SIGNS:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], "…"]


def block_condition(control: When | ForEach | Repeat) -> tuple[str, str] | None:
    """The wire that a block looks at, and what about it; None where it looks at none."""
    match control:
        case When():
            name, value = control.comparison
            return (
                control.wire,
                control.wire if value is True else f"{control.wire} {_COMPARISONS[name]} {_value(value)}",
            )
        case ForEach(count=str(count)):
            return count, f"the first {count}"
        case Repeat(until=str(until)):
            return until, f"until {until}"
    return None


def block_details(stage: BlockStage) -> str:
    """What else a block says, as prose."""
    match stage.control:
        case When(otherwise=otherwise):
            told = {stage.outputs.get(name, name): _otherwise(value) for name, value in otherwise.items()}
            return "; ".join(f"otherwise {name} = {value}" for name, value in told.items())
        case ForEach(items=items, pad=pad):
            padded = "".join(f"; {name} is padded with {_value(value)}" for name, value in pad.items())
            return ", ".join(f"{inside} of {outside}" for inside, outside in items.items()) + padded
        case Repeat(carry=carry, at_most=at_most):
            carried = ", ".join(f"{written} becomes {read}" for written, read in carry.items())
            return f"at most {at_most} times; {carried}"


def _otherwise(value: Any) -> str:
    return value.wire if isinstance(value, OtherWire) else _value(value)
