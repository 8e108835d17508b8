# SPDX-License-Identifier: Apache-2.0
"""numpy arrays to the bytes of a tensor on the wire and back, the same for both protocols.

The layout is that of Triton's binary tensor data extension: row-major, little-endian, BYTES elements as a 4-byte
length and their bytes.
"""

import struct
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._bfloat16 import from_bfloat16
from repo_client._byte_strings import decode_strings, encode_strings
from repo_client._datatypes import DATATYPES
from repo_client._errors import Facts, UnexpectedAnswerError
from repo_client._messages import WireTensor

_WORTH_A_VIEW = 16_384  # bytes; below it the copy is cheaper than the view


def encode(array: NDArray[Any], datatype: str) -> bytes | memoryview:
    """The bytes of ``array``, which already has the numpy type of ``datatype``.

    BYTES are an array of ``S``, or of objects that are all ``bytes`` or all ``str``; BF16 one of ``BFLOAT16_BITS``. A
    large array in one piece is not copied: the bytes are a view of it.
    """
    if datatype == "BYTES":
        return encode_strings(array.ravel().tolist())
    if datatype == "BF16":
        array = array.view("<u2")
    if array.nbytes < _WORTH_A_VIEW or not array.flags.c_contiguous:
        return array.tobytes()
    return array.data.cast("B")


def decode(tensor: WireTensor, *, model: str) -> NDArray[Any]:
    """The array that ``tensor`` carries, read-only where it is a view of it.

    Raises:
        UnexpectedAnswerError: a data type that nobody knows, or more or fewer bytes than the shape needs.
    """
    try:
        return _flat(tensor).reshape(tensor.shape)
    except (KeyError, ValueError, struct.error) as error:
        raise UnexpectedAnswerError(
            f"model '{model}': output '{tensor.name}' cannot be read: {len(tensor.data)} bytes"
            f" for {tensor.datatype} {list(tensor.shape)}",
            facts=Facts(model=model, tensor=tensor.name),
        ) from error


def _flat(tensor: WireTensor) -> NDArray[Any]:
    if tensor.datatype == "BYTES":
        return _strings(tensor)
    if tensor.datatype == "BF16":
        return from_bfloat16(np.frombuffer(tensor.data, dtype="<u2"))
    return np.frombuffer(tensor.data, dtype=DATATYPES[tensor.datatype].numpy)


def _strings(tensor: WireTensor) -> NDArray[Any]:
    elements = decode_strings(tensor.data, prod(tensor.shape))
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array
