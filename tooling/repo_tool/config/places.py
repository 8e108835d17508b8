# SPDX-License-Identifier: Apache-2.0
"""Where each field of a ``config.pbtxt`` is written."""

__all__ = ["Place", "Places", "Span", "entry_value", "is_map", "locate", "map_key"]

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from repo_tool.config.proto import model_config_file
from repo_tool.config.prototext import as_python_reads
from repo_tool.config.syntax import Comment, Message, Span, Value, WrittenField, read
from repo_tool.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a field is written: from its name to the end of its value; an element of a list has no name of its own.

    Lines and columns count from 1, offsets (``start``, ``end``) from 0 in characters; ends are exclusive.
    """

    path: str  # e.g. `input[0].dims`, `parameters[key]`
    span: Span
    name: Span | None
    value: Span  # of a map's entry what it maps to, where that is written

    @property
    def line(self) -> int:
        """The line of the first character."""
        return self.span.line

    @property
    def column(self) -> int:
        """The column of the first character."""
        return self.span.column

    @property
    def end_line(self) -> int:
        """The line of the last character."""
        return self.span.end_line

    @property
    def end_column(self) -> int:
        """The column behind the last character."""
        return self.span.end_column

    @property
    def start(self) -> int:
        """The offset of the first character."""
        return self.span.start

    @property
    def end(self) -> int:
        """The offset behind the last character."""
        return self.span.end


class Places:
    """The places of a text's fields and comments."""

    def __init__(self, fields: tuple[Place, ...], by_path: Mapping[str, Place], comments: tuple[Comment, ...]) -> None:
        # Every field that is written, as often as it is, in the order of the text, the outer before the inner; a
        # repeated one as a whole and value by value, of a map's entry also its key and its value, under its path.
        self.fields = fields
        self.by_path = by_path  # what counts: of a repeated field as a whole the first writing, of others the last
        self.written_comments = comments

    @property
    def comments(self) -> tuple[tuple[int, str], ...]:
        """The line and text, from ``#`` on, of each comment."""
        return tuple((comment.span.line, comment.text) for comment in self.written_comments)

    def find(self, path: str) -> Place | None:
        """The place of a field, or of its nearest ancestor that is written; None where nothing of it is."""
        while path:
            if place := self.by_path.get(path):
                return place
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return None


def locate(text: str) -> Places:
    """Where the fields of a ``config.pbtxt`` are; of a text that does not parse, those before the fault."""
    root, comments = read(text)
    locator = _Locator(text)
    locator.walk(root, model_config_file().message_types_by_name["ModelConfig"], prefix="", counts=True)
    in_order = sorted(locator.fields, key=lambda place: (place.start, -place.end))
    return Places(tuple(in_order), locator.by_path, comments)


class _Locator:
    """Names what is written by what the messages' descriptors say of it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.fields: list[Place] = []
        self.by_path: dict[str, Place] = {}

    def walk(self, message: Message, descriptor: Any, *, prefix: str, counts: bool) -> None:
        """Record the fields of a message; ``counts`` is False where a later writing takes the message's place."""
        named = list(self._named(message, descriptor, prefix))
        last = {path: value for _, _, items in named for path, value in items}
        for written, field, items in named:
            is_repeated = field is not None and field.is_repeated
            if is_repeated:
                self._record_whole(written, _joined(prefix, written.name), counts=counts)
            for path, value in items:
                stays = counts and last[path] is value
                self._record(written, field, path, value, counts=stays)

    def _named(
        self, message: Message, descriptor: Any, prefix: str
    ) -> Iterator[tuple[WrittenField, Any, list[tuple[str, Value]]]]:
        """Each writing with its descriptor, None where the message has no such field, and its values by path."""
        counted: Counter[str] = Counter()
        for written in message.fields:
            field = descriptor.fields_by_name.get(written.name) if descriptor is not None else None
            path = _joined(prefix, written.name)
            items = []
            for value in written.values:
                if is_map(field):
                    items.append((f"{path}[{map_key(self._text, value, field)}]", value))
                elif field is not None and field.is_repeated:
                    items.append((f"{path}[{counted[path]}]", value))
                    counted[path] += 1
                else:
                    items.append((path, value))
            yield written, field, items

    def _record_whole(self, written: WrittenField, path: str, *, counts: bool) -> None:
        place = Place(path=path, span=written.span, name=written.name_span, value=written.value_span)
        self.fields.append(place)
        if counts:
            self.by_path.setdefault(path, place)

    def _record(self, written: WrittenField, field: Any, path: str, value: Value, *, counts: bool) -> None:
        is_element = written.list_span is not None
        entry = entry_value(value) if is_map(field) else value
        place = Place(
            path=path,
            span=value.span if is_element else written.span,
            name=None if is_element else written.name_span,
            value=(entry or value).span,
        )
        self.fields.append(place)
        if counts:
            self.by_path[path] = place
        if is_map(field) and value.message is not None:
            self._record_entry(value.message, path)
        if entry is not None and entry.message is not None:
            self.walk(entry.message, _message_type(field), prefix=path, counts=counts)

    def _record_entry(self, entry: Message, path: str) -> None:
        for part in entry.fields:
            self.fields.append(Place(path=path, span=part.span, name=part.name_span, value=part.value_span))


def is_map(field: Any) -> bool:
    """Whether a field's descriptor is a map's; False for None."""
    return field is not None and field.message_type is not None and field.message_type.GetOptions().map_entry


def _message_type(field: Any) -> Any:
    """What the field's messages are, of a map those that it maps to; None where that is not known."""
    if is_map(field):
        return field.message_type.fields_by_name["value"].message_type
    return field.message_type if field is not None else None


def map_key(text: str, entry: Value, field: Any) -> str:
    """The key of a map's entry, however it is written; the type's default where it is not."""
    from google.protobuf import message_factory, text_format

    keys = [part for part in entry.message.fields if part.name == "key"] if entry.message is not None else []
    message: Any = message_factory.GetMessageClass(field.message_type)()
    if keys:
        span = keys[-1].value_span
        words = text[span.start : span.end]
        try:
            text_format.Parse(as_python_reads(f"key: {words}"), message)
        except (
            text_format.ParseError,
            ConfigError,
            ValueError,
        ):  # protobuf refuses the whole text; this is for its messages
            return words
    return str(message.key)


def entry_value(entry: Value) -> Value | None:
    """What a map's entry maps its key to; None where that is not written."""
    values = [part for part in entry.message.fields if part.name == "value"] if entry.message is not None else []
    return values[-1].values[-1] if values and values[-1].values else None


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
