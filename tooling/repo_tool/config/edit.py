# SPDX-License-Identifier: Apache-2.0
"""Change one field of a ``config.pbtxt`` and leave the rest, comments and layout, as its writer left it."""

__all__ = ["parse_message", "remove_field", "set_field"]

from collections.abc import Sequence
from typing import Any

from repo_tool.config import pbtxt
from repo_tool.config.field_paths import Step, read_path
from repo_tool.config.layout_edits import (
    Change,
    Level,
    changed,
    inserted,
    removed_fields,
    removed_remarks,
    removed_value,
    replaced,
)
from repo_tool.config.places import map_key
from repo_tool.config.proto import new_model_config
from repo_tool.config.prototext import as_python_reads
from repo_tool.config.syntax import Message, Value, WrittenField, read
from repo_tool.config.typed_values import TypedValue, typed_value
from repo_tool.errors import ConfigError


def set_field(text: str, path: str, value: str) -> str:
    """``text`` with the field at ``path`` set to ``value``, proven to differ in nothing else.

    A field of which nothing is written is added with all that it lies in; the index behind the last appends. Of
    fields that exclude each other the new one takes the place of the old.

    Raises:
        ConfigError: the text does not parse; there is no such field; it does not take the value; or the text is
            written so that no small edit does it.
    """
    steps = read_path(path)
    expected = parse_message(text)
    typed = typed_value(steps[-1], value, path=path)
    root, _ = read(text)
    found = _Found(text, root, _levels(steps, typed))
    _check_indexes(path, steps, expected)
    _assign(expected, steps, typed)
    return _proven(changed(text, found.setting()), expected, path)


def remove_field(text: str, path: str) -> str:
    """``text`` without the field at ``path``, or without one value of a repeated one or of a map.

    What it lies in stays, if empty.

    Raises:
        ConfigError: as ``set_field``, or nothing of the field is written.
    """
    steps = read_path(path)
    expected = parse_message(text)
    root, _ = read(text)
    found = _Found(text, root, _levels(steps, None))
    changes = found.removing()
    if not changes:
        raise ConfigError(
            f"'{path}' is not written, so that it cannot be removed", next_step="look what is: repo-tool config MODEL"
        )
    _clear(expected, steps)
    return _proven(changed(text, changes), expected, path)


def parse_message(text: str) -> Any:
    """The message of a ``config.pbtxt``, read as Triton reads it.

    Raises:
        ConfigError: it does not parse.
    """
    from google.protobuf import text_format

    pbtxt.parse(text)  # says what is wrong
    return text_format.Parse(as_python_reads(text), new_model_config())


def _proven(text: str, expected: Any, path: str) -> str:
    try:
        found = parse_message(text)
    except ConfigError as error:
        raise _too_odd(path, error.cause) from error
    if found.SerializeToString(deterministic=True) != expected.SerializeToString(deterministic=True):
        raise _too_odd(path, "what came out says something else")
    return text


def _too_odd(path: str, cause: str) -> ConfigError:
    return ConfigError(
        f"'{path}' cannot be changed without touching the rest of the text",
        cause=cause,
        next_step="change it by hand; nothing has been written",
    )


def _levels(steps: Sequence[Step], typed: TypedValue | None) -> list[Level]:
    """The steps as the text has them: a map's entry is a message with the fields ``key`` and ``value``."""
    levels: list[Level] = []
    for step in steps:
        levels.append(Level(descriptor=step.descriptor, index=step.index, key=step.key))
        if step.key is not None and (step is not steps[-1] or typed is not None):
            levels.append(Level(descriptor=step.value_descriptor))
    if typed is not None:
        levels[-1] = Level(
            descriptor=levels[-1].descriptor, index=levels[-1].index, key=levels[-1].key, words=typed.words
        )
    return levels


class _Found:
    """How far a path is written in a text, and what must change there."""

    def __init__(self, text: str, root: Message, levels: Sequence[Level]) -> None:
        self._text = text
        self._message = root
        self._around: Value | None = None  # None: the text itself
        self._rest = list(levels)
        while len(self._rest) > 1:
            hits = self._hits()
            if not hits or (inner := hits[-1][1]).message is None:
                break
            self._message, self._around = inner.message, inner
            self._rest.pop(0)

    def setting(self) -> list[Change]:
        """What writes the field."""
        level = self._rest[0]
        hits = self._hits() if len(self._rest) == 1 else []
        if hits and level.is_one_value:
            return [replaced(hits[-1][1].span, level.words)]
        if hits:
            kept = hits[0][0] if level.descriptor.is_repeated else hits[-1][0]
            others = [written for written, _ in hits if written is not kept] if level.is_repeated else []
            return [replaced(kept.value_span, level.words), *removed_fields(self._text, others)]
        if rival := self._rival():
            return [replaced(rival.span, level.field_words(self._rest[1:])), *removed_remarks(self._text, rival.span)]
        siblings = [each for each in self._message.fields if each.name == level.name] if level.is_repeated else []
        return inserted(self._text, self._message, self._around, siblings, self._rest)

    def removing(self) -> list[Change]:
        """What takes the field out; nothing if it is not written."""
        if len(self._rest) > 1:
            return []
        hits = self._hits()
        if not self._rest[0].is_one_value:
            return removed_fields(self._text, [written for written, _ in hits])
        return [change for written, value in hits for change in removed_value(self._text, written, value)]

    def _hits(self) -> list[tuple[WrittenField, Value]]:
        """The values that the next level means, each with the writing that it is in; an empty list has none."""
        level = self._rest[0]
        writings = [written for written in self._message.fields if written.name == level.name]
        found = [(written, value) for written in writings for value in written.values]
        if level.index is not None:
            return found[level.index : level.index + 1]
        if level.key is not None:
            return [each for each in found if map_key(self._text, each[1], level.descriptor) == level.key]
        empty = [(written, Value(written.value_span)) for written in writings if not written.values]
        return sorted(found + empty, key=lambda each: each[1].span.start)

    def _rival(self) -> WrittenField | None:
        """A field that is written and that the next one excludes."""
        oneof = self._rest[0].descriptor.containing_oneof
        names = {field.name for field in oneof.fields} if oneof is not None else set()
        return next((written for written in self._message.fields if written.name in names), None)


def _check_indexes(path: str, steps: Sequence[Step], message: Any) -> None:
    """Refuse an index that would leave a gap."""
    for step in steps:
        held = getattr(message, step.name) if message is not None else ()
        if step.index is not None and step.index > len(held):
            last = f"{step.name}[{len(held)}]"
            raise ConfigError(
                f"'{path}' leaves a gap",
                cause=f"there are {len(held)} values of {step.name}",
                next_step=f"{last} is the next",
            )
        message = _below(step, held)


def _below(step: Step, held: Any) -> Any:
    """The message that a step leads to; None where there is none yet."""
    if step.message_type is None or held == ():
        return None
    if step.index is not None:
        return held[step.index] if step.index < len(held) else None
    if step.key is not None:
        return held.get(_api_key(step))
    return None if step.descriptor.is_repeated else held


def _api_key(step: Step) -> Any:
    return step.key if step.has_string_key else int(step.key or 0)


def _assign(message: Any, steps: Sequence[Step], typed: TypedValue) -> None:
    """The change as protobuf's own messages have it."""
    for step in steps[:-1]:
        held = getattr(message, step.name)
        if step.index is not None:
            message = held[step.index] if step.index < len(held) else held.add()
        elif step.key is not None:
            message = held[_api_key(step)]
        else:
            held.SetInParent()
            message = held
    last = steps[-1]
    held, new = getattr(message, last.name), getattr(typed.holder, last.value_descriptor.name)
    if last.index is None and last.key is None:
        message.ClearField(last.name)
        message.MergeFrom(typed.holder)
    elif last.key is not None:
        _put(held, _api_key(last), new)
    elif last.index == len(held):
        held.MergeFrom(new)
    elif last.message_type is not None:
        held[last.index].CopyFrom(new[0])
    else:
        held[last.index] = new[0]


def _put(held: Any, key: Any, new: Any) -> None:
    if hasattr(new, "CopyFrom"):
        held[key].CopyFrom(new)
    else:
        held[key] = new


def _clear(message: Any, steps: Sequence[Step]) -> None:
    for step in steps[:-1]:
        held = getattr(message, step.name)
        message = held if step.is_whole else held[step.index if step.index is not None else _api_key(step)]
    last = steps[-1]
    if last.is_whole:
        message.ClearField(last.name)
    else:
        del getattr(message, last.name)[last.index if last.index is not None else _api_key(last)]
