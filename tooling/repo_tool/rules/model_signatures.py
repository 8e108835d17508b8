# SPDX-License-Identifier: Apache-2.0
"""What model files of other frameworks than ONNX say about themselves: values, whoever read them."""

__all__ = ["FileTensor", "ModelFileError", "ModelFileSignature", "NoSuchSignatureError"]

from dataclasses import dataclass

from repo_tool.datatypes import DataType


class ModelFileError(Exception):
    """The file is not what its backend opens; the text says why."""


class NoSuchSignatureError(ModelFileError):
    """The file is whole, and has not the signature that the configuration asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensor:
    """An input or output of the file; what it does not say is None."""

    name: str
    datatype: DataType | None = None  # None with a ``type_name``: one that Triton's backend does not take
    type_name: str = ""  # the framework's own word; "" where the file does not say
    shape: tuple[int, ...] | None = None  # includes the batch dimension, -1 where free
    is_optional: bool = False  # the model has a value of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFileSignature:
    """The inputs and outputs of a file; None where it does not list them."""

    framework: str  # in words, e.g. SavedModel
    inputs: tuple[FileTensor, ...] | None
    outputs: tuple[FileTensor, ...] | None
    has_names: bool = True  # whether the configuration must use the outputs' names, or goes by their places
