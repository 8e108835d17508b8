# SPDX-License-Identifier: Apache-2.0
"""Protobuf text as it is written: fields, values and comments with their places; what they mean is not looked at.

The tokens are those of protobuf's own tokenizer. Its grammar closes every value by itself, so that the tree needs no
descriptor: a value is a string (adjacent ones are one), a word or number, a message in ``{ }`` or ``< >``, or a list.
"""

__all__ = ["Comment", "Message", "Span", "Value", "WrittenField", "read", "words_to_repo_tool"]

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_MOST_NESTED = 64  # ten times as deep as any field of a model configuration lies
_QUOTES = ("'", '"')
_BLANKS = re.compile(r"\s+")  # what the tokenizer passes over
_CLOSING = {"{": "}", "<": ">"}
_TO_REPO_TOOL = re.compile(r"#+\s*repo-tool\s*:\s*(?P<words>.*)")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the text; lines and columns count from 1, offsets from 0 in characters, ends are exclusive."""

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, other: "Span") -> "Span":
        """From the start of this one to the end of ``other``."""
        return Span(self.start, other.end, self.line, self.column, other.end_line, other.end_column)


@dataclass(frozen=True, slots=True)
class Comment:
    """From ``#`` to the end of the line."""

    text: str
    span: Span
    is_trailing: bool  # something stands in front of it on its line


@dataclass(slots=True, eq=False)
class Message:
    """The fields between two brackets, or of the whole text, in the order of the text."""

    fields: list["WrittenField"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Value:
    """One value; ``message`` is None for a plain one."""

    span: Span
    message: Message | None = None


@dataclass(slots=True, eq=False)
class WrittenField:
    """One writing of a field: ``name: value``, ``name { … }`` or ``name: [ … ]``."""

    name: str
    name_span: Span
    values: list[Value]  # of a list its elements, else one
    span: Span  # from the name to the end of the value, without a separator
    list_span: Span | None = None  # the list's brackets and all between, where it is written as a list
    commas: list[Span] = field(default_factory=list)  # of a list, each behind its value
    separator: Span | None = None  # the comma or semicolon behind the field

    @property
    def value_span(self) -> Span:
        """The value, or the whole list."""
        return self.list_span or self.values[-1].span


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    span: Span


class _BrokenOffError(Exception):
    """No field can be read here; what was read before stands."""


def read(text: str) -> tuple[Message, tuple[Comment, ...]]:
    """The fields and comments of a text; of one that protobuf refuses, what comes before the fault."""
    tokens, comments = _split(text)
    root = Message()
    reader = _Reader(tokens)
    try:
        while reader.upcoming:
            reader.read_field(root, depth=0)
    except _BrokenOffError:
        pass
    return root, comments


def _split(text: str) -> tuple[list[_Token], tuple[Comment, ...]]:
    tokens: list[_Token] = []
    comments: list[Comment] = []
    for token in _tokens(text):
        if token.text.startswith("#"):
            is_trailing = bool(tokens) and tokens[-1].span.end_line == token.span.line
            comments.append(Comment(token.text, token.span, is_trailing))
        else:
            tokens.append(token)
    return tokens, tuple(comments)


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens, comments among them, with only blanks between; none of them reaches over the end of a line."""
    from google.protobuf.text_format import Tokenizer

    tokenizer: Any = Tokenizer(text.split("\n"), skip_comments=False)  # as text_format.Parse divides it
    end, line, line_start = 0, 1, 0
    while not tokenizer.AtEnd():
        word = tokenizer.token
        tokenizer.NextToken()
        blank = _BLANKS.match(text, end)
        start = blank.end() if blank else end
        if passed := text.count("\n", end, start):
            line, line_start = line + passed, text.rfind("\n", end, start) + 1
        end = start + len(word)
        yield _Token(word, Span(start, end, line, start - line_start + 1, line, end - line_start + 1))


def words_to_repo_tool(comment: str) -> str | None:
    """What a comment, from ``#`` on, says to repo-tool; None where it speaks to others."""
    addressed = _TO_REPO_TOOL.fullmatch(comment.strip())
    return addressed["words"].strip() if addressed is not None else None


class _Reader:
    """Walks the tokens once."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    @property
    def upcoming(self) -> str:
        """The next token's text; "" at the end."""
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

    def read_field(self, message: Message, *, depth: int) -> None:
        """Read one field, with the separator after it, into ``message``."""
        name = self._take()
        if not (name.text[0].isalnum() or name.text[0] == "_") or depth > _MOST_NESTED:
            raise _BrokenOffError
        self._skip(":")
        written = WrittenField(name.text, name.span, [], name.span)
        message.fields.append(written)
        try:
            self._read_values(written, depth)
        finally:
            if not written.values and written.list_span is None:
                message.fields.remove(written)
            else:
                written.span = name.span.to(written.value_span)
        written.separator = self._skip(",") or self._skip(";")

    def _read_values(self, written: WrittenField, depth: int) -> None:
        if self.upcoming != "[":
            self._read_value(written, depth)
            return
        opening = self._take().span
        written.list_span = opening
        while self.upcoming and self.upcoming != "]":
            self._read_value(written, depth)
            written.list_span = opening.to(written.values[-1].span)
            comma = self._skip(",")
            if comma is None:
                break
            written.commas.append(comma)
        closing = self._take()
        if closing.text != "]":
            raise _BrokenOffError
        written.list_span = opening.to(closing.span)

    def _read_value(self, written: WrittenField, depth: int) -> None:
        first = self._take()
        value = Value(first.span)
        if first.text in _CLOSING:
            written.values.append(value)
            value.message = Message()
            self._read_message(value, value.message, closing=_CLOSING[first.text], depth=depth)
            return
        if not (first.text[0].isalnum() or first.text[0] in "_+-.\"'"):
            raise _BrokenOffError
        written.values.append(value)
        if first.text == "-":  # Triton's parser takes blanks and comments behind it
            value.span = value.span.to(self._take().span)
        while first.text[0] in _QUOTES and self.upcoming[:1] in _QUOTES:
            value.span = value.span.to(self._take().span)

    def _read_message(self, value: Value, message: Message, *, closing: str, depth: int) -> None:
        opening = value.span
        while self.upcoming != closing:
            try:
                self.read_field(message, depth=depth + 1)
            finally:
                if message.fields:
                    value.span = opening.to(message.fields[-1].span)
        value.span = opening.to(self._take().span)

    def _take(self) -> _Token:
        if self._next >= len(self._tokens):
            raise _BrokenOffError
        self._next += 1
        return self._tokens[self._next - 1]

    def _skip(self, text: str) -> Span | None:
        return self._take().span if self.upcoming == text else None
