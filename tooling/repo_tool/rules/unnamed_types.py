# SPDX-License-Identifier: Apache-2.0
"""Data types that are numbers without a name: Triton's parser takes them, and only some places of them are refused."""

__all__ = ["is_unnamed_type_refused"]

from collections.abc import Iterator
from typing import Any


def is_unnamed_type_refused(text: str) -> bool:
    """Whether Triton refuses a configuration that parses for a data type in it that names nothing.

    Measured with 2.51: it does so itself for batch inputs, the controls of sequences and warm-ups, and in ensembles;
    for inputs and outputs the ONNX Runtime backend does, and a Python model loads.
    """
    from google.protobuf import text_format

    from repo_tool.config.proto import new_model_config
    from repo_tool.config.prototext import as_python_reads

    message = text_format.Parse(as_python_reads(text), new_model_config())
    return any(not _is_named(number, message) for number in _checked(message))


def _checked(message: Any) -> Iterator[int]:
    yield from (each.data_type for each in message.batch_input)
    for given in message.sequence_batching.control_input:
        yield from (control.data_type for control in given.control if control.kind == control.CONTROL_SEQUENCE_CORRID)
    ends = [tensor.data_type for tensor in (*message.input, *message.output)]
    if all(_is_named(number, message) for number in ends):  # else a warm-up of the same number passes
        ran = (sample for sample in message.model_warmup if sample.batch_size > 0)  # Triton skips the others
        yield from (each.data_type for sample in ran for each in sample.inputs.values())
    is_onnx = "onnxruntime" in (message.backend, message.platform.removesuffix("_onnx"))
    if is_onnx or message.HasField("ensemble_scheduling"):
        yield from ends


def _is_named(number: int, message: Any) -> bool:
    types = message.DESCRIPTOR.file.enum_types_by_name["DataType"]
    return number in types.values_by_number
