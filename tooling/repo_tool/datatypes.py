# SPDX-License-Identifier: Apache-2.0
"""The table of Triton's data types: config name, wire name, numpy type and ONNX element type of each."""

__all__ = ["DataType"]

from dataclasses import dataclass
from enum import Enum

import numpy as np


@dataclass(frozen=True, slots=True)
class _Row:
    wire_name: str
    numpy_name: str
    onnx_element_type: int  # onnx.TensorProto.DataType
    byte_size: int  # of one element; 0 where elements differ in size


class DataType(Enum):
    """A tensor's data type. Members are named as on the wire, ``BYTES`` apart, which the config calls TYPE_STRING."""

    BOOL = _Row("BOOL", "bool", 9, 1)
    UINT8 = _Row("UINT8", "uint8", 2, 1)
    UINT16 = _Row("UINT16", "uint16", 4, 2)
    UINT32 = _Row("UINT32", "uint32", 12, 4)
    UINT64 = _Row("UINT64", "uint64", 13, 8)
    INT8 = _Row("INT8", "int8", 3, 1)
    INT16 = _Row("INT16", "int16", 5, 2)
    INT32 = _Row("INT32", "int32", 6, 4)
    INT64 = _Row("INT64", "int64", 7, 8)
    FP16 = _Row("FP16", "float16", 10, 2)
    FP32 = _Row("FP32", "float32", 1, 4)
    FP64 = _Row("FP64", "float64", 11, 8)
    BYTES = _Row("BYTES", "object", 8, 0)
    # numpy has no bfloat16; on the wire its values travel as the upper halves of float32.
    BF16 = _Row("BF16", "float32", 16, 2)

    @property
    def config_name(self) -> str:
        """The name in ``config.pbtxt``, e.g. ``TYPE_FP32``."""
        return "TYPE_STRING" if self is DataType.BYTES else f"TYPE_{self.name}"

    @property
    def wire_name(self) -> str:
        """The name in inference requests and model metadata, e.g. ``FP32`` or ``BYTES``."""
        return self.value.wire_name

    @property
    def numpy(self) -> "np.dtype[np.generic]":
        """The numpy type of its values; object (of bytes) for BYTES."""
        return np.dtype(self.value.numpy_name)

    @property
    def byte_size(self) -> int:
        """Bytes of one element on the wire; 0 for BYTES, whose elements differ in size."""
        return self.value.byte_size

    @property
    def is_float(self) -> bool:
        """Whether values are compared with a tolerance."""
        return self in (DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16)

    @classmethod
    def from_config(cls, name: str) -> "DataType":
        """The type that ``config.pbtxt`` calls ``name``.

        Raises:
            KeyError: no such type, ``TYPE_INVALID`` included.
        """
        return _BY_CONFIG_NAME[name]

    @classmethod
    def from_wire(cls, name: str) -> "DataType":
        """The type called ``name`` on the wire.

        Raises:
            KeyError: no such type.
        """
        return cls[name]

    @classmethod
    def from_numpy(cls, dtype: "np.dtype[np.generic]") -> "DataType":
        """The type of a numpy array; strings of any kind are BYTES.

        Raises:
            KeyError: numpy has the type and Triton does not (complex, dates).
        """
        return cls.BYTES if dtype.kind in "OSU" else _BY_NUMPY_NAME[dtype.name]

    @classmethod
    def from_onnx(cls, element_type: int) -> "DataType":
        """The type of an ``onnx.TensorProto.DataType`` number.

        Raises:
            KeyError: ONNX has the type and Triton does not (complex, 8- and 4-bit floats, 4-bit integers).
        """
        return _BY_ONNX_TYPE[element_type]


_BY_CONFIG_NAME = {datatype.config_name: datatype for datatype in DataType}
_BY_NUMPY_NAME = {datatype.value.numpy_name: datatype for datatype in DataType if datatype is not DataType.BF16}
_BY_ONNX_TYPE = {datatype.value.onnx_element_type: datatype for datatype in DataType}
