# SPDX-License-Identifier: Apache-2.0
"""Values as TypeScript writes them."""

__all__ = ["array_literal", "comment_text", "key_text", "quoted", "value_literal"]

import base64
import json
import math
from collections.abc import Sequence
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.samples import Array

_BIG = (DataType.INT64, DataType.UINT64)


def quoted(text: str) -> str:
    """A string literal."""
    return json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def key_text(name: str) -> str:
    """The name of a property where an object is written."""
    return name if name.isidentifier() else quoted(name)


def comment_text(text: str) -> str:
    """Words that can stand in a comment: on one line, and not its end."""
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
    return line.replace("*/", "*\\/")


def value_literal(value: Any, datatype: DataType) -> str:
    """One element, as exact as its type."""
    if datatype is DataType.BYTES:
        return _bytes_literal(value if isinstance(value, bytes) else str(value).encode())
    if datatype is DataType.BOOL:
        return "true" if value else "false"
    if datatype.is_float:
        return _float_literal(value)
    return f"{int(value)}n" if datatype in _BIG else str(int(value))


def array_literal(array: Array, datatype: DataType) -> str:
    """Arrays in arrays, as deep as the array has dimensions."""
    if array.ndim == 0:
        return value_literal(array.reshape(-1)[0], datatype)
    return _listed([array_literal(part, datatype) for part in _parts(array)])


def _parts(array: Array) -> Sequence[Array]:
    return [array[index : index + 1].reshape(array.shape[1:]) for index in range(len(array))]


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(texts)}]"


def _float_literal(value: Any) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    text = str(value)  # the shortest that reads back as the same value of its type
    return text.removesuffix(".0")


def _bytes_literal(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        coded = base64.b64encode(raw).decode()
        return f'Uint8Array.from(atob("{coded}"), (sign) => sign.charCodeAt(0))'
    return quoted(text)
