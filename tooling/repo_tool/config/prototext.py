# SPDX-License-Identifier: Apache-2.0
"""Where protobuf's parser of text in Python and the one in C++ part, read as the C++ one does: it is Triton's.

Python's takes ``+4``, ``1_000``, ``0o17``, unknown escapes and every blank of Unicode, which Triton refuses; Triton
takes ``- 1``, ``0x1`` for a boolean, and strings and comments that are no UTF-8, which Python's refuses. Measured
against the server of Triton 2.51, case by case, in ``tests/integration/rules``.
"""

__all__ = ["as_python_reads"]

import re
from collections.abc import Iterator
from functools import cache

from repo_tool.config.proto import model_config_file
from repo_tool.errors import ConfigError

# Only what one of these finds can be read in two ways; most files have nothing of it.
_DOUBTFUL = re.compile(r"[^\t\n\r -~]|[\\+]|-[\s#]|(?<![\w.])(?:0\w|\d+_)")
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n\v\f]+|\#[^\n\0]*)
    |(?P<string>"(?:[^"\\\n\0]|\\[^\n\0])*"|'(?:[^'\\\n\0]|\\[^\n\0])*')
    |(?P<number>(?:0[xX][0-9a-fA-F]+|0[0-7]+(?![.89eE])|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?))
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<symbol>[\x21-\x7e])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\?'\"])|(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9a-fA-F]{1,2})"
    r"|u(?P<four>[0-9a-fA-F]{4})|U(?P<eight>00[01][0-9a-fA-F]{5}))"
)
_PLAIN = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "?": 63, "'": 39, '"': 34}
_LEADING_ZERO = re.compile("0[0-9]")
_LARGEST_CODE_POINT = 0x10FFFF
_LARGEST_ASCII = 0x7F


def as_python_reads(text: str) -> str:
    """``text``, rewritten where Python's parser would read another thing than Triton's; its lines stay where they are.

    Bytes that are no UTF-8 are to come as U+FFFD, as ``errors="replace"`` makes them.

    Raises:
        ConfigError: Triton's parser refuses the text; ``cause`` says line and column.
    """
    if not _DOUBTFUL.search(text):
        return text
    return "".join(_rewritten(text))


def _rewritten(text: str) -> Iterator[str]:
    place, field, sign = 0, "", ""
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None:
            raise _refused(text, place, _no_token(text, place))
        kind, found = token.lastgroup, token.group()
        place = token.end()
        if kind == "blank":
            yield found
            continue
        if found == "-" and not sign:
            sign = "-"  # it belongs to what follows, whatever blanks are between
            continue
        if kind == "word":
            field = found
        elif kind == "number":
            _check_number(text, token)
            found = _boolean(found) if field in _boolean_fields() else found
        elif kind == "string":
            found = _string(text, token)
        elif found == "+":
            raise _refused(text, token.start(), "Expected integer, got: +")
        yield sign + found
        sign = ""
    yield sign


def _no_token(text: str, place: int) -> str:
    letter = text[place]
    if letter in "\"'":
        return "String literals cannot cross line boundaries"
    if letter < " " or letter == "\x7f":
        return "Invalid control characters encountered in text"
    return f"Expected identifier, got: {letter}"


def _check_number(text: str, token: re.Match[str]) -> None:
    found, after = token.group(), text[token.end() : token.end() + 1]
    if after.isascii() and (after.isalnum() or after == "_"):
        raise _refused(text, token.end(), "Need space between number and identifier")
    if after == ".":
        raise _refused(text, token.end(), "Already saw decimal point or exponent; can't have another one")
    if _LEADING_ZERO.match(found) and not set(found) <= set("01234567"):
        raise _refused(text, token.start(), f"Numbers starting with leading zero must be in octal: {found}")


def _boolean(number: str) -> str:
    """A number that stands for a boolean, in the one form that Python's parser takes."""
    try:
        value = int(number, 16 if number[:2] in ("0x", "0X") else 8 if number.startswith("0") else 10)
    except ValueError:
        return number
    return str(value)


@cache
def _boolean_fields() -> frozenset[str]:
    """The names that only boolean fields of Triton's messages have."""
    waiting, seen = list(model_config_file().message_types_by_name.values()), set[str]()
    booleans, others = set[str](), set[str]()
    while waiting:
        message = waiting.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        waiting.extend(message.nested_types)
        for field in message.fields:
            (booleans if field.type == field.TYPE_BOOL else others).add(field.name)
    return frozenset(booleans - others)


def _string(text: str, token: re.Match[str]) -> str:
    """A string whose escapes Python's parser reads as Triton's does."""
    found = token.group()
    if "\\" not in found:
        return found
    content, place, is_doubtful = bytearray(), 1, False
    while place < len(found) - 1:
        if found[place] != "\\":
            content += found[place].encode()
            place += 1
            continue
        escape = _ESCAPE.match(found, place)
        if escape is None:
            raise _refused(text, token.start() + place, "Invalid escape sequence in string literal")
        added = _unescaped(escape)
        is_doubtful = is_doubtful or any(byte > _LARGEST_ASCII for byte in added)
        content += added
        place = escape.end()
    return _quoted(bytes(content)) if is_doubtful else found


def _unescaped(escape: re.Match[str]) -> bytes:
    match escape.lastgroup, escape.group(escape.lastgroup or 0):
        case "plain", letter:
            return bytes([_PLAIN[letter]])
        case "octal", digits:
            return bytes([int(digits, 8) & 0xFF])
        case "hex", digits:
            return bytes([int(digits, 16)])
        case _, digits:
            number = int(digits, 16)
            return chr(number).encode("utf-8", "surrogatepass") if number <= _LARGEST_CODE_POINT else b"\xff"


def _quoted(content: bytes) -> str:
    from google.protobuf import text_encoding

    try:  # two halves of one character, each escaped by itself, are one to Triton
        halves = content.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass")
        whole = halves.decode("utf-16-le", "replace")
    except UnicodeDecodeError:
        whole = content.decode("utf-8", "replace")
    return f'"{text_encoding.CEscape(whole.encode(), as_utf8=True)}"'


def _refused(text: str, place: int, words: str) -> ConfigError:
    line = text.count("\n", 0, place) + 1
    column = place - text.rfind("\n", 0, place)
    return ConfigError(
        "the model configuration does not parse",
        cause=f"{line}:{column} : {words}",
        next_step="save the file without a byte order mark"
        if text.startswith("\ufeff")
        else "write it as protobuf text; one fault fails the whole file",
    )
