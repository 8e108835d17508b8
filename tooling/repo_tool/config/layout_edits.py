# SPDX-License-Identifier: Apache-2.0
"""Small changes of protobuf text that look as if the writer of the text had made them."""

__all__ = [
    "Change",
    "Level",
    "changed",
    "inserted",
    "removed_fields",
    "removed_remarks",
    "removed_value",
    "replaced",
]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from repo_tool.config.syntax import Message, Span, Value, WrittenField, words_to_repo_tool

_BLANKS = " \t\r"
_CLOSERS = f"{_BLANKS}}}]>,;"  # what may stand beside a field on a line that holds no other
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Change:
    """Words in the place of the text from ``start`` to ``end``."""

    start: int
    end: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One field on the way to the one that is changed, which has the ``words`` of its new value."""

    descriptor: Any
    index: int | None = None
    key: str | None = None
    words: str = ""

    @property
    def name(self) -> str:
        """The field's name."""
        return str(self.descriptor.name)

    @property
    def is_repeated(self) -> bool:
        """Whether it can be written more than once, as maps can."""
        return bool(self.descriptor.is_repeated)

    @property
    def is_one_value(self) -> bool:
        """Whether it is one value of several."""
        return self.index is not None or self.key is not None

    def value_words(self, inner: Sequence["Level"]) -> str:
        """The value: its words, or a message with what is inside."""
        if not inner:
            return self.words
        key = f"key: {self._key_words()} " if self.key is not None else ""
        return f"{{ {key}{inner[0].field_words(inner[1:])} }}"

    def field_words(self, inner: Sequence["Level"]) -> str:
        """The field: its name and its value."""
        value = self.value_words(inner)
        if self.descriptor.message_type is not None:
            return f"{self.name} {value}"
        return f"{self.name}: [ {value} ]" if self.index is not None else f"{self.name}: {value}"

    def _key_words(self) -> str:
        from google.protobuf import text_encoding

        of_key = self.descriptor.message_type.fields_by_name["key"]
        if of_key.cpp_type != of_key.CPPTYPE_STRING:
            return str(self.key)
        return f'"{text_encoding.CEscape(str(self.key).encode(), as_utf8=True)}"'


def changed(text: str, changes: Iterable[Change]) -> str:
    """``text`` with all changes made."""
    for change in sorted(changes, key=lambda each: (each.start, each.end), reverse=True):
        text = text[: change.start] + change.words + text[change.end :]
    return text


def replaced(span: Span, words: str) -> Change:
    """Other words in the same place."""
    return Change(span.start, span.end, words)


def inserted(
    text: str, message: Message, around: Value | None, siblings: Sequence[WrittenField], levels: Sequence[Level]
) -> list[Change]:
    """A new value beside its ``siblings``, or a new field at the end of ``message``."""
    level, inner = levels[0], levels[1:]
    if siblings and siblings[-1].list_span is not None and level.is_one_value:
        return _into_list(text, siblings[-1], siblings[-1].list_span, level.value_words(inner))
    words = level.field_words(inner)
    if siblings:
        return [_behind(text, siblings[-1], words)]
    if around is None:
        newline = _newline(text)
        before = newline if text and not text.endswith("\n") else ""
        return [Change(len(text), len(text), f"{before}{words}{newline}")]
    return _into_brackets(text, around.span, message.fields[-1].span if message.fields else None, words)


def _into_list(text: str, written: WrittenField, brackets: Span, words: str) -> list[Change]:
    if not written.values:
        return _into_brackets(text, brackets, None, words)
    last = written.values[-1].span
    if not _begins_line(text, brackets.end - 1):
        return [Change(last.end, last.end, f", {words}")]
    return [Change(last.end, last.end, ","), *_into_brackets(text, brackets, last, words)]


def _into_brackets(text: str, brackets: Span, last: Span | None, words: str) -> list[Change]:
    """In front of the closing bracket, on a line of its own where that has one."""
    closing = brackets.end - 1
    if _begins_line(text, closing):
        line = _line_start(text, closing)
        if last is not None and _begins_line(text, last.start):
            indent = text[_line_start(text, last.start) : last.start]
        else:
            indent = text[line:closing] + _INDENT
        return [Change(line, line, f"{indent}{words}{_newline(text)}")]
    if last is not None:
        return [Change(last.end, last.end, f" {words}")]
    return [Change(brackets.start + 1, closing, f" {words} ")]


def _behind(text: str, written: WrittenField, words: str) -> Change:
    end, rest = written.span.end, _line_end(text, written.span.end)
    if _begins_line(text, written.span.start) and _is_void(text[end:rest]):
        indent = text[_line_start(text, written.span.start) : written.span.start]
        at = rest - 1 if text[rest - 1 : rest] == "\r" else rest
        return Change(at, at, f"{_newline(text)}{indent}{words}")
    return Change(end, end, f" {words}")


def removed_fields(text: str, writings: Iterable[WrittenField]) -> list[Change]:
    """Writings of fields, in the order of the text, out of it; those side by side go as one."""
    stretches: list[tuple[Span, Span | None]] = []
    for written in dict.fromkeys(writings):
        if stretches:
            span, separator = stretches[-1]
            end = separator.end if separator is not None else span.end
            if not text[end : written.span.start].strip(_BLANKS) and span.line == written.span.line:
                stretches[-1] = span.to(written.span), written.separator
                continue
        stretches.append((written.span, written.separator))
    return [change for span, separator in stretches for change in _cut(text, span, separator)]


def removed_value(text: str, written: WrittenField, value: Value) -> list[Change]:
    """One value of a list out of it; the last one takes the field with it."""
    if len(written.values) == 1:
        return removed_fields(text, [written])
    place = written.values.index(value)
    if place < len(written.values) - 1:
        return _cut(text, value.span, written.commas[place])
    comma = written.commas[place - 1]
    return [Change(comma.start, comma.end, ""), *_cut(text, value.span, None)]


def _cut(text: str, span: Span, separator: Span | None) -> list[Change]:
    """A stretch with the separator behind it and all remarks, and its lines where nothing else stands on them."""
    further = removed_remarks(text, span)
    end = span.end
    if separator is not None and not text[end : separator.start].strip(_BLANKS):
        end = separator.end
    elif separator is not None:
        further.append(Change(separator.start, separator.end, ""))
    line_end = _line_end(text, end)
    if _begins_line(text, span.start) and _is_void(text[end:line_end]):
        return [Change(_line_start(text, span.start), min(line_end + 1, len(text)), ""), *further]
    further += _remark_behind(text, span, end)
    if _begins_line(text, span.start):
        while text[end : end + 1] and text[end] in _BLANKS:
            end += 1
        return [Change(span.start, end, ""), *further]
    start = span.start
    while start and text[start - 1] in _BLANKS:
        start -= 1
    is_glued = text[end : end + 1].strip() and text[end] not in "}>],;" and text[start - 1] not in "{<["
    return [Change(start, end, " " if is_glued else ""), *further]


def removed_remarks(text: str, span: Span) -> list[Change]:
    """The lines above a field that say what repo-tool allows there, so that they do not come to stand above another."""
    if not _begins_line(text, span.start):
        return []
    changes = []
    end = _line_start(text, span.start)
    while end:
        start = _line_start(text, end - 1)
        line = text[start:end].strip()
        if line and not line.startswith("#"):
            break
        if _is_remark(line):
            changes.append(Change(start, end, ""))
        end = start
    return changes


def _remark_behind(text: str, span: Span, end: int) -> list[Change]:
    """What repo-tool allows on a line of which only brackets are left: it would be about what they close."""
    words = text[end : _line_end(text, end)]
    rest = words.lstrip(_CLOSERS)
    is_alone = span.line == span.end_line and not text[_line_start(text, span.start) : span.start].strip(_CLOSERS)
    if not (is_alone and _is_remark(rest)):
        return []
    before = words[: len(words) - len(rest)].rstrip(_BLANKS)
    return [Change(end + len(before), end + len(words.rstrip(_BLANKS)), "")]


def _is_remark(comment: str) -> bool:
    """Whether a comment is to repo-tool, about a field."""
    words = words_to_repo_tool(comment)
    return words is not None and not words.lower().startswith("allow-model")


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, place: int) -> int:
    return text.rfind("\n", 0, place) + 1


def _line_end(text: str, place: int) -> int:
    found = text.find("\n", place)
    return len(text) if found < 0 else found


def _begins_line(text: str, place: int) -> bool:
    return not text[_line_start(text, place) : place].strip(_BLANKS)


def _is_void(words: str) -> bool:
    """Whether a rest of a line says nothing more: blanks, a separator, a comment."""
    rest = words.strip(_BLANKS)
    return not rest or rest.lstrip(",;").strip(_BLANKS)[:1] in ("", "#")
