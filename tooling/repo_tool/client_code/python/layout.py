# SPDX-License-Identifier: Apache-2.0
"""Python source that a formatter leaves alone: on one line where it fits, or else one item a line and a last comma."""

__all__ = ["WIDTH", "bracketed", "bytes_literal", "string_literal", "tuple_source", "wrapped"]

import textwrap
from collections.abc import Callable, Sequence

WIDTH = 88
Item = str | Callable[[int], str]  # source, or what gives it for an indent


def bracketed(
    head: str, items: Sequence[Item], tail: str, *, indent: int = 0, after: int = 1, always: bool = False
) -> str:
    """``head`` with its opening bracket, the items, and ``tail`` with the closing one.

    Args:
        head: begins at ``indent``.
        items: those that are functions are laid out for their own indent.
        tail: the closing bracket and what belongs to it.
        indent: of the line that it begins in.
        after: the length of what follows it in its last line: a comma.
        always: break it even where it fits on a line.
    """
    flat = [item if isinstance(item, str) else item(0) for item in items]
    line = head + ", ".join(flat) + tail
    if not always and "\n" not in line and indent + len(line) + after <= WIDTH:
        return line
    inner = " " * (indent + 4)
    broken = [item if isinstance(item, str) else item(indent + 4) for item in items]
    return "\n".join([head, *(f"{inner}{item}," for item in broken), " " * indent + tail])


def tuple_source(head: str, items: Sequence[Item], *, indent: int = 0) -> str:
    """A tuple behind ``head``; that of one item keeps its comma."""
    if len(items) == 1:
        item = items[0] if isinstance(items[0], str) else items[0](0)
        line = f"{head}({item},)"
        if "\n" not in line and indent + len(line) + 1 <= WIDTH:
            return line
        return bracketed(f"{head}(", items, ")", indent=indent, always=True)
    return bracketed(f"{head}(", items, ")", indent=indent)


def string_literal(text: str) -> str:
    """A literal with the quotes that a formatter prefers: double ones, where they need no more escapes."""
    return _quoted(text, repr(f"'\"{text}"), marks=3)


def bytes_literal(value: bytes) -> str:
    """A literal of bytes, quoted in the same way."""
    return "b" + _quoted(value.decode("latin-1"), repr(b"'\"" + value)[1:], marks=3)


def _quoted(text: str, both: str, *, marks: int) -> str:
    """``both`` is the ``repr`` of the text behind one quote of each kind, so that single ones are escaped in it."""
    body = both[1 + marks : -1]
    if text.count('"') > text.count("'"):
        return f"'{body}'"
    return '"' + body.replace("\\'", "'").replace('"', '\\"') + '"'


def wrapped(text: str, *, indent: int, hanging: int = 0) -> str:
    """Prose in lines that will stand at ``indent``, all but the first ``hanging`` further in."""
    return textwrap.fill(
        text, WIDTH - indent, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )
