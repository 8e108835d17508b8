# SPDX-License-Identifier: Apache-2.0
"""Sample rows as the JSON document that perf_analyzer takes its requests from.

Its own generator makes one random request and repeats it; sample rows are what a model really meets. Every tensor is
written as base64 of its bytes on the wire: perf_analyzer refuses ``1`` where it wants ``1.0``, and JSON has no NaN.
"""

__all__ = ["input_document", "wire_bytes"]

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError
from repo_tool.signature import TensorSpec

Array = NDArray[Any]


def input_document(
    inputs: Sequence[TensorSpec],
    rows: Mapping[str, Array],
    *,
    batched: bool,
    expected: Mapping[str, Array] | None = None,
    outputs: Sequence[TensorSpec] = (),
) -> dict[str, Any]:
    """The document for a model whose tensors have the shapes of its metadata, the batch dimension included.

    A model that batches (``batched``) gets one request per row, without the batch dimension, which perf_analyzer adds;
    any other gets the whole sample as its only request.

    ``expected`` asks perf_analyzer to compare every answer with these outputs, byte by byte: for models whose outputs
    are labels or integers, as floats may differ in their last bit from one batch size to another.

    Raises:
        SampleError: an input has no rows, or rows that do not fit.
    """
    document: dict[str, Any] = {"data": _requests(inputs, rows, batched=batched)}
    if expected is not None:
        document["validation_data"] = _requests(outputs, expected, batched=batched)
    return document


def _requests(tensors: Sequence[TensorSpec], rows: Mapping[str, Array], *, batched: bool) -> list[dict[str, Any]]:
    columns = {tensor.name: list(_contents(tensor, rows, batched=batched)) for tensor in tensors}
    if len({len(contents) for contents in columns.values()}) > 1:
        counts = ", ".join(f"'{name}' {len(contents)}" for name, contents in columns.items())
        raise SampleError(
            "the inputs of the sample have different numbers of rows",
            cause=counts,
            next_step="give each input the same rows",
        )
    return [dict(zip(columns, request, strict=True)) for request in zip(*columns.values(), strict=True)]


def _contents(tensor: TensorSpec, rows: Mapping[str, Array], *, batched: bool) -> Iterable[dict[str, Any]]:
    if tensor.name not in rows or not rows[tensor.name].size:
        raise SampleError(
            f"the sample has no rows for '{tensor.name}'",
            cause=f"it has {', '.join(repr(name) for name in rows) or 'nothing'}",
            next_step="add the model again with --sample FILE, or pass --sample here",
        )
    array = rows[tensor.name]
    shape = tensor.shape[1:] if batched else tensor.shape
    return [_content(tensor, shape, one) for one in (array if batched else [array])]


def _content(tensor: TensorSpec, shape: tuple[int, ...], array: Array) -> dict[str, Any]:
    values = np.asarray(array, dtype=tensor.datatype.numpy)
    data = base64.b64encode(wire_bytes(tensor.datatype, values)).decode("ascii")
    return {"content": {"b64": data}, "shape": list(_fitted_shape(tensor, shape, values))}


def _fitted_shape(tensor: TensorSpec, shape: tuple[int, ...], values: Array) -> tuple[int, ...]:
    """The shape to send: as declared where it is fixed, so that a scalar row fits ``dims: [ 1 ]`` with a reshape."""
    if -1 not in shape and np.prod(shape, dtype=int) == values.size:
        return shape
    if len(shape) == values.ndim and all(want in (-1, have) for want, have in zip(shape, values.shape, strict=True)):
        return values.shape
    raise SampleError(
        f"the sample does not fit '{tensor.name}'",
        cause=f"the server takes {list(shape)} per request, -1 being free; the sample has {list(values.shape)}",
        next_step="add the model again with --sample FILE, or pass --sample here",
    )


def wire_bytes(datatype: DataType, values: Array) -> bytes:
    """The bytes of a tensor as Triton takes them: little-endian and row-major.

    BYTES elements are each preceded by their length in 4 bytes; BF16 values are the upper halves of float32.
    """
    if datatype is DataType.BYTES:
        return b"".join(struct.pack("<I", len(value)) + value for value in values.ravel().tolist())
    if datatype is DataType.BF16:
        return (np.ascontiguousarray(values, dtype="<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
