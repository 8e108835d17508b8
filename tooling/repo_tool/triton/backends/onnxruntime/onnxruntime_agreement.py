# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's ONNX Runtime backend checks between a session and the model configuration, in its order and its words.

A repository that it refuses must be refused here, or a green laptop says nothing about the GPU server.
Source of the checks: onnxruntime_backend r24.10, src/onnxruntime.cc and src/onnxruntime_utils.cc.
"""

import re

from embedded_configuration import NUMPY_TYPES, refuse, shape_text

_TENSOR_TYPE = re.compile(r"tensor\((\w+)\)")
_ONNX_KINDS = {"seq": "ONNX_TYPE_SEQUENCE", "map": "ONNX_TYPE_MAP", "sparse_tensor": "ONNX_TYPE_SPARSETENSOR"}
_DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float": "TYPE_FP32",
    "double": "TYPE_FP64",
    "string": "TYPE_STRING",
}


def check_agreement(configuration, session):
    """End the load unless the session's tensors are the ones of the configuration."""
    controls = _sequence_controls(configuration)
    inputs = _tensors(session.get_inputs())
    initializers = _tensors(session.get_overridable_initializers())
    _check_input_count(configuration, inputs, controls)
    _check_inputs(configuration, inputs | initializers)
    _check_outputs(configuration, _tensors(session.get_outputs()))


def tensor_shape(argument):
    """The shape of a session's tensor: -1 where a request chooses, () for a scalar or a tensor of unknown rank."""
    return tuple(dim if isinstance(dim, int) else -1 for dim in argument.shape)


def _tensors(arguments):
    for argument in arguments:
        if _TENSOR_TYPE.fullmatch(argument.type) is None:
            kind = _ONNX_KINDS.get(argument.type.split("(")[0], "ONNX_TYPE_UNKNOWN")
            refuse(f"Unsupported ONNX Type '{kind}' for I/O '{argument.name}', expected 'ONNX_TYPE_TENSOR'.")
    return {argument.name: argument for argument in arguments}


def _sequence_controls(configuration):
    batching = configuration.raw.get("sequence_batching") or {}
    if batching.get("state"):
        refuse(
            f"unable to load model '{configuration.name}', implicit sequence state is not supported by the embedded "
            "backend (NVIDIA's own supports it)"
        )
    return [control["name"] for control in batching.get("control_input", [])]


def _check_input_count(configuration, inputs, controls):
    required = [tensor for tensor in configuration.inputs if not tensor.optional]
    expected = len(required) + len(controls) + len(configuration.raw.get("batch_input", []))
    if expected != len(inputs):
        refuse(
            f"unable to load model '{configuration.name}', configuration expects {expected} inputs, "
            f"model provides {len(inputs)}"
        )


def _check_inputs(configuration, provided):
    for tensor in configuration.inputs:
        if tensor.optional and configuration.batches:
            refuse(
                f"unable to load model '{configuration.name}', optional input '{tensor.name}' is not supported for "
                "models that support batching"
            )
        if tensor.name not in provided:
            refuse(f"unexpected inference input '{tensor.name}', allowed inputs are: {', '.join(sorted(provided))}")
        _check_data_type(configuration, tensor, provided[tensor.name], "input")
        shape = tensor_shape(provided[tensor.name])
        if tensor.ragged:
            _check_ragged(configuration, tensor, shape)
        else:
            _check_dims(configuration, tensor, shape, exact=False)


def _check_outputs(configuration, provided):
    for tensor in configuration.outputs:
        if tensor.name not in provided:
            refuse(f"unexpected inference output '{tensor.name}', allowed outputs are: {', '.join(sorted(provided))}")
        _check_data_type(configuration, tensor, provided[tensor.name], "output")
        _check_dims(configuration, tensor, tensor_shape(provided[tensor.name]), exact=True)


def _check_data_type(configuration, tensor, argument, kind):
    if tensor.data_type not in NUMPY_TYPES:
        refuse(f"unsupported datatype {tensor.data_type} for {kind} '{tensor.name}' for model '{configuration.name}'")
    provided = _DATA_TYPES.get(_TENSOR_TYPE.fullmatch(argument.type)[1], "TYPE_<invalid>")
    if provided != tensor.data_type:
        refuse(
            f"unable to load model '{configuration.name}', configuration expects datatype {tensor.data_type} for "
            f"{kind} '{tensor.name}', model provides {provided}"
        )


def _check_ragged(configuration, tensor, shape):
    if shape != (-1,):
        refuse(
            f"unable to load model '{configuration.name}', configuration expects model provides input with shape [-1] "
            f"for ragged input '{tensor.name}', model provides {shape_text(shape)}"
        )


def _check_dims(configuration, tensor, shape, *, exact):
    """Inputs may be narrower than the model; outputs must be equal, the free dimensions included."""
    if not shape:
        _check_scalar(configuration, tensor)
        return
    prefix = f"model '{configuration.name}', tensor '{tensor.name}': "
    expected = tensor.model_dims
    how = ""
    if configuration.batches:
        if shape[0] != -1:
            refuse(
                f"{prefix}for the model to support batching the shape should have at least 1 dimension and the first "
                f"dimension must be -1; but shape expected by the model is {shape_text(shape)}"
            )
        expected = (-1, *expected)
        how = "an initial batch dimension because max_batch_size > 0 followed by the explicit tensor shape, making complete "
    if not _agree(shape, expected, exact=exact):
        refuse(
            f"{prefix}the model expects {len(shape)} dimensions (shape {shape_text(shape)}) but the model configuration "
            f"specifies {len(expected)} dimensions ({how}shape {shape_text(expected)})"
        )


def _agree(shape, expected, *, exact):
    if len(shape) != len(expected):
        return False
    pairs = zip(shape, expected, strict=True)
    return all(provided == wanted or (provided == -1 and not exact) for provided, wanted in pairs)


def _check_scalar(configuration, tensor):
    if any(dim != 1 for dim in tensor.model_dims):
        refuse(
            f"unable to load model '{configuration.name}', scalar tensor '{tensor.name}', should only provide 1 in the "
            "model configuration when the model doesn't support batching. Model configuration provided: "
            f"{shape_text(tensor.model_dims)}."
        )
