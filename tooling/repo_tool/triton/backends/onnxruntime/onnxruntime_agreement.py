# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's ONNX Runtime backend checks between a session and the model configuration, in its order and its words.

A repository that it refuses must be refused here, or a green laptop says nothing about the GPU server.
Source of the checks: onnxruntime_backend r24.10, src/onnxruntime.cc and src/onnxruntime_utils.cc.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from embedded_agreement import check_data_type, check_dims, check_input_count, check_name
from embedded_configuration import ModelConfiguration, TensorConfiguration, refuse, shape_text

_TENSOR_TYPE = re.compile(r"tensor\((\w+)\)")
_ONNX_KINDS = {"seq": "ONNX_TYPE_SEQUENCE", "map": "ONNX_TYPE_MAP", "sparse_tensor": "ONNX_TYPE_SPARSETENSOR"}
_DATA_TYPES = {"float": "TYPE_FP32", "double": "TYPE_FP64", "float16": "TYPE_FP16", "string": "TYPE_STRING"} | {
    name: f"TYPE_{name.upper()}"
    for name in ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
}


def check_agreement(configuration: ModelConfiguration, session: Any) -> None:
    """End the load unless the session's tensors are the ones of the configuration."""
    configuration.refuse_what_no_python_backend_has()
    inputs = _tensors(session.get_inputs())
    initializers = _tensors(session.get_overridable_initializers())
    check_input_count(configuration, len(inputs))
    _check_inputs(configuration, inputs | initializers)
    _check_outputs(configuration, _tensors(session.get_outputs()))
    if configuration.batch_inputs or any(tensor.ragged for tensor in configuration.inputs):
        refuse("ragged batches are not supported by the embedded backend (NVIDIA's own supports them)")


def _tensors(arguments: Iterable[Any]) -> dict[str, Any]:
    for argument in arguments:
        if _TENSOR_TYPE.fullmatch(argument.type) is None:
            kind = _ONNX_KINDS.get(argument.type.split("(")[0], "ONNX_TYPE_UNKNOWN")
            refuse(f"Unsupported ONNX Type '{kind}' for I/O '{argument.name}', expected 'ONNX_TYPE_TENSOR'.")
    return {argument.name: argument for argument in arguments}


def _check_inputs(configuration: ModelConfiguration, provided: Mapping[str, Any]) -> None:
    for tensor in configuration.inputs:
        if tensor.optional and configuration.batches:
            refuse(
                f"unable to load model '{configuration.name}', optional input '{tensor.name}' is not supported for "
                "models that support batching"
            )
        check_name(tensor, provided, kind="input")
        check_data_type(configuration, tensor, _data_type(provided[tensor.name]), kind="input")
        shape = _shape(provided[tensor.name])
        if tensor.ragged:
            _check_ragged(configuration, tensor, shape)
        else:
            _check_shape(configuration, tensor, shape, exact=False)


def _check_outputs(configuration: ModelConfiguration, provided: Mapping[str, Any]) -> None:
    for tensor in configuration.outputs:
        check_name(tensor, provided, kind="output")
        check_data_type(configuration, tensor, _data_type(provided[tensor.name]), kind="output")
        _check_shape(configuration, tensor, _shape(provided[tensor.name]), exact=True)


def _data_type(argument: Any) -> str:
    match = _TENSOR_TYPE.fullmatch(argument.type)
    return _DATA_TYPES.get(match[1], "TYPE_<invalid>") if match else "TYPE_<invalid>"


def _shape(argument: Any) -> tuple[int, ...]:
    """-1 where a request chooses; () for a scalar, and for a tensor of unknown rank."""
    return tuple(dim if isinstance(dim, int) else -1 for dim in argument.shape)


def _check_ragged(configuration: ModelConfiguration, tensor: TensorConfiguration, shape: tuple[int, ...]) -> None:
    if shape != (-1,):
        refuse(
            f"unable to load model '{configuration.name}', configuration expects model provides input with shape [-1] "
            f"for ragged input '{tensor.name}', model provides {shape_text(shape)}"
        )


def _check_shape(
    configuration: ModelConfiguration, tensor: TensorConfiguration, shape: tuple[int, ...], *, exact: bool
) -> None:
    if shape:
        check_dims(configuration, tensor, shape, exact=exact)
    elif any(dim != 1 for dim in tensor.model_dims):
        refuse(
            f"unable to load model '{configuration.name}', scalar tensor '{tensor.name}', should only provide 1 in the "
            "model configuration when the model doesn't support batching. Model configuration provided: "
            f"{shape_text(tensor.model_dims)}."
        )
