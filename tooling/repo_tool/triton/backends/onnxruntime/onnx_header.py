# SPDX-License-Identifier: Apache-2.0
"""Reads an ONNX file's IR version and opset without the onnx package, and without reading the weights."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_IR_VERSION = 1  # fields of onnx.ModelProto and onnx.OperatorSetIdProto
_OPSET_IMPORT = 8
_DOMAIN = 1
_VERSION = 2


def versions(path: Path) -> tuple[int, int]:
    """``(ir_version, opset)`` of the default domain; 0 for what the file does not say.

    Raises:
        ValueError: the file is no protobuf message.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ir_version, opset = 0, 0
        for field, value in _fields(data, 0, len(data)):
            if field == _IR_VERSION:
                ir_version = value
            elif field == _OPSET_IMPORT:
                opset = max(opset, _default_domain_version(data, *value))
    return ir_version, opset


def _default_domain_version(data: mmap.mmap, start: int, end: int) -> int:
    domain, version = b"", 0
    for field, value in _fields(data, start, end):
        if field == _DOMAIN:
            domain = data[value[0] : value[1]]
        elif field == _VERSION:
            version = value
    return version if domain in (b"", b"ai.onnx") else 0


def _fields(data: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, Any]]:
    """(field number, integer or (start, end) of a length-delimited value) of each field."""
    while position < end:
        key, position = _varint(data, position, end)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _varint(data, position, end)
        elif wire_type == 2:
            length, position = _varint(data, position, end)
            value = (position, position + length)
            position += length
        elif wire_type in (1, 5):
            value = None
            position += 8 if wire_type == 1 else 4
        else:
            raise ValueError("not a protobuf message")
        yield key >> 3, value


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("not a protobuf message")
