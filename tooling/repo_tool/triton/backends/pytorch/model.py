# SPDX-License-Identifier: Apache-2.0
"""A Python-based backend that answers to the name ``pytorch``.

It serves TorchScript (``model.pt``) and exported programs (``model.pt2``).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils
from embedded_agreement import check_data_type, check_dims, check_input_count
from embedded_batching import Arrays, Batcher, RequestError
from embedded_configuration import ModelConfiguration, TensorConfiguration, refuse

_KNOWN_PARAMETERS = (
    "INTRA_OP_THREAD_COUNT",
    "INTER_OP_THREAD_COUNT",
    "ENABLE_JIT_EXECUTOR",
    "ENABLE_JIT_PROFILING",
    "ENABLE_NVFUSER_EXECUTION",
    "ENABLE_TENSOR_FUSER",
    "ENABLE_CUDNN",
    "ENABLE_CACHE_CLEANING",
    "ENABLE_WEIGHT_SHARING",
    "DISABLE_OPTIMIZED_EXECUTION",
    "INFERENCE_MODE",
)
# What libtorch has and Triton's Python API too; the unsigned types of 16 bits and more are refused by NVIDIA's backend.
_DATA_TYPES = {
    torch.bool: "TYPE_BOOL",
    torch.uint8: "TYPE_UINT8",
    torch.int8: "TYPE_INT8",
    torch.int16: "TYPE_INT16",
    torch.int32: "TYPE_INT32",
    torch.int64: "TYPE_INT64",
    torch.float16: "TYPE_FP16",
    torch.float32: "TYPE_FP32",
    torch.float64: "TYPE_FP64",
}
_INDEXED_NAME = re.compile(r".*?__(\d+)")


class TritonPythonModel:
    """One instance of a PyTorch model."""

    def initialize(self, args: dict[str, str]) -> None:
        configuration = ModelConfiguration.from_arguments(args)
        configuration.refuse_what_no_python_backend_has()
        configuration.warn_of_unknown_parameters(_KNOWN_PARAMETERS)
        _set_threads(configuration)
        _check_data_types(configuration)
        self._model = _opened(configuration.artifact("model.pt", "model.pt2"))
        check_input_count(configuration, len(self._model.arguments))
        self._model.check(configuration)
        self._inputs = _input_positions(configuration, self._model.arguments)
        self._outputs = {tensor.name: _index(tensor.name, kind="output") for tensor in configuration.outputs}
        self._types = {tensor.name: tensor.data_type for tensor in configuration.outputs}
        self._batcher = Batcher(configuration, self._run)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return self._batcher.answer(requests)

    def _run(self, feeds: Arrays, names: list[str]) -> Arrays:
        ordered = sorted(feeds, key=lambda name: self._inputs[name])
        try:
            with torch.inference_mode():
                results = _flat(self._model.run([torch.from_numpy(feeds[name]) for name in ordered]))
        except Exception as error:
            raise RequestError(f"PyTorch execute failure: {error}") from error
        return {name: self._array(name, results) for name in names}

    def _array(self, name: str, results: Sequence[Any]) -> Any:
        index = self._outputs[name]
        if index >= len(results) or not isinstance(results[index], torch.Tensor):
            raise RequestError(
                f"output '{name}' asks for the tensor {index} of {len(results)} that the model returned",
                pb_utils.TritonError.INVALID_ARG,
            )
        provided = _DATA_TYPES.get(results[index].dtype, "TYPE_<invalid>")
        if provided != self._types[name]:
            raise RequestError(
                f"configuration expects datatype {self._types[name]} for output '{name}', model provides {provided}",
                pb_utils.TritonError.INVALID_ARG,
            )
        return np.ascontiguousarray(results[index].numpy(force=True)).reshape(tuple(results[index].shape))


class _TorchScript:
    """A scripted or traced module; it knows the names of its arguments, not their shapes."""

    def __init__(self, path: Path) -> None:
        self._module = torch.jit.load(str(path), map_location="cpu").eval()
        arguments = self._module.forward.schema.arguments[1:]  # the first is self
        self.arguments = [argument.name for argument in arguments if not argument.has_default_value()]

    def check(self, configuration: ModelConfiguration) -> None:
        """Nothing more can be known before the first request."""

    def run(self, tensors: Sequence[Any]) -> Any:
        return self._module(*tensors)


class _ExportedProgram:
    """What ``torch.export.save`` wrote: names, types and shapes are known."""

    def __init__(self, path: Path) -> None:
        program = torch.export.load(str(path))
        self._module = program.module()
        positional, keywords = program.call_spec.in_spec.children()
        self._positional = positional.num_children
        self._keywords = list(keywords.context or [])
        self.arguments = list(program.graph_signature.user_inputs)
        placeholders = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
        self._values = [placeholders[name] for name in self.arguments]
        results = program.graph_signature.user_outputs
        self._results = [placeholders.get(name) for name in results]

    def check(self, configuration: ModelConfiguration) -> None:
        positions = _input_positions(configuration, self.arguments)
        for tensor in configuration.inputs:
            _check_value(configuration, tensor, self._values[positions[tensor.name]], kind="input")
        for tensor in configuration.outputs:
            index = _index(tensor.name, kind="output")
            if index >= len(self._results):
                refuse(
                    f"output '{tensor.name}' asks for the tensor {index} of {len(self._results)} that the model returns"
                )
            _check_value(configuration, tensor, self._results[index], kind="output")

    def run(self, tensors: Sequence[Any]) -> Any:
        keywords = dict(zip(self._keywords, tensors[self._positional :], strict=True))
        return self._module(*tensors[: self._positional], **keywords)


def _opened(path: Path) -> _TorchScript | _ExportedProgram:
    kind = _ExportedProgram if path.suffix == ".pt2" else _TorchScript
    try:
        return kind(path)
    except Exception as error:
        raise pb_utils.TritonModelException(f"failed to load {path}: {error}") from error


def _set_threads(configuration: ModelConfiguration) -> None:
    intra_op = configuration.integer_parameter("INTRA_OP_THREAD_COUNT")
    inter_op = configuration.integer_parameter("INTER_OP_THREAD_COUNT")
    if intra_op > 0:
        torch.set_num_threads(intra_op)
    if inter_op > 0:
        torch.set_num_interop_threads(inter_op)


def _check_data_types(configuration: ModelConfiguration) -> None:
    kinds = [("input", tensor) for tensor in configuration.inputs]
    kinds += [("output", tensor) for tensor in configuration.outputs]
    for kind, tensor in kinds:
        if tensor.data_type not in _DATA_TYPES.values():
            refuse(
                f"unsupported datatype {tensor.data_type} for {kind} '{tensor.name}' for model '{configuration.name}'"
            )
    if not configuration.outputs:
        refuse(f"model '{configuration.name}' must specify at least one output in its configuration")


def _input_positions(configuration: ModelConfiguration, arguments: Sequence[str]) -> dict[str, int]:
    """Inputs are named after the arguments of ``forward``, or end in ``__<position>``."""
    names = [tensor.name for tensor in configuration.inputs] + configuration.control_inputs
    if all(name in arguments for name in names):
        return {name: arguments.index(name) for name in names}
    positions = {name: _index(name, kind="input") for name in names}
    if sorted(positions.values()) != list(range(len(arguments))):
        refuse(
            f"the inputs {', '.join(sorted(names))} do not name each argument of the model once "
            f"(its arguments: {', '.join(arguments)})"
        )
    return positions


def _index(name: str, *, kind: str) -> int:
    match = _INDEXED_NAME.fullmatch(name)
    if match is None:
        refuse(f"{kind} '{name}' does not follow <name>__<index> naming convention.")
    return int(match[1])


def _check_value(configuration: ModelConfiguration, tensor: TensorConfiguration, value: Any, *, kind: str) -> None:
    if not isinstance(value, torch.Tensor):
        return
    check_data_type(configuration, tensor, _DATA_TYPES.get(value.dtype, "TYPE_<invalid>"), kind=kind)
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)
    if shape or configuration.batches:
        check_dims(configuration, tensor, shape, exact=False)


def _flat(results: Any) -> list[Any]:
    if isinstance(results, dict):
        return [tensor for value in results.values() for tensor in _flat(value)]
    if isinstance(results, tuple | list):
        return [tensor for value in results for tensor in _flat(value)]
    return [results]
