# SPDX-License-Identifier: Apache-2.0
"""A Python-based backend that answers to the name ``onnxruntime``: loads, refuses and serves what NVIDIA's own does."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_header
import onnxruntime
import triton_python_backend_utils as pb_utils
from embedded_batching import Arrays, Batcher, RequestError
from embedded_configuration import ModelConfiguration, refuse
from onnxruntime_agreement import check_agreement

_ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
_KNOWN_PARAMETERS = (
    "intra_op_thread_count",
    "inter_op_thread_count",
    "execution_mode",
    "enable_mem_arena",
    "enable_mem_pattern",
    _ARENA_SHRINKAGE,
    "share_session_between_instances",
    "columns",  # names of a table's columns, for clients
    # read on a GPU only, so no reason to warn in a repository that serves both
    "cudnn_conv_algo_search",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "do_copy_in_default_stream",
    "session.use_device_allocator_for_initializers",
)
_OPTIMIZATION_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_RUNTIME_ERROR = re.compile(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", re.DOTALL)


class TritonPythonModel:
    """One instance of an ONNX model."""

    def initialize(self, args: dict[str, str]) -> None:
        configuration = ModelConfiguration.from_arguments(args)
        configuration.warn_of_unknown_parameters(_KNOWN_PARAMETERS)
        options = _session_options(configuration)
        _refuse_cpu_accelerators(configuration)
        self._session = _open_session(_model_file(configuration), options)
        check_agreement(configuration, self._session)
        self._run_options = _run_options(configuration)
        self._strings = [tensor.name for tensor in configuration.inputs if tensor.data_type == "TYPE_STRING"]
        self._batcher = Batcher(configuration, self._run)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return self._batcher.answer(requests)

    def _run(self, feeds: Arrays, names: list[str]) -> Arrays:
        if not names:
            raise RequestError("onnx runtime error 2: At least one output should be requested.")
        for name in self._strings:
            if name in feeds:
                feeds[name] = _text(name, feeds[name])
        try:
            outputs = self._session.run(names, feeds, self._run_options)
        except Exception as error:
            raise RequestError(_runtime_words(error)) from error
        return dict(zip(names, outputs, strict=True))


def _session_options(configuration: ModelConfiguration) -> Any:
    options = onnxruntime.SessionOptions()
    level = (configuration.raw.get("optimization") or {}).get("graph", {}).get("level", 0)
    options.graph_optimization_level = _OPTIMIZATION_LEVELS.get(
        level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    )
    options.execution_mode = _execution_mode(configuration)
    options.intra_op_num_threads = max(0, configuration.integer_parameter("intra_op_thread_count"))
    options.inter_op_num_threads = max(0, configuration.integer_parameter("inter_op_thread_count"))
    options.enable_cpu_mem_arena = configuration.boolean_parameter("enable_mem_arena", default=True)
    options.enable_mem_pattern = configuration.boolean_parameter("enable_mem_pattern", default=True)
    # Waiting threads that spin take the cores from the other instances. Measured on 2 cores, 6 layers of 512 x 512:
    # two instances of two threads ran 11.7 k batches/s without and 7.1 k with spinning (p99 0.25 and 4.2 ms).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _execution_mode(configuration: ModelConfiguration) -> Any:
    mode = configuration.integer_parameter("execution_mode")
    if mode not in (0, 1):
        refuse(f"Invalid configuration value provided. Expected values for execution_mode are 0 or 1 but got {mode} .")
    return onnxruntime.ExecutionMode.ORT_PARALLEL if mode else onnxruntime.ExecutionMode.ORT_SEQUENTIAL


def _refuse_cpu_accelerators(configuration: ModelConfiguration) -> None:
    accelerators = (configuration.raw.get("optimization") or {}).get("execution_accelerators") or {}
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        refuse(f"unknown Execution Accelerator '{accelerator['name']}' is requested")


def _run_options(configuration: ModelConfiguration) -> Any:
    options = onnxruntime.RunOptions()
    if _ARENA_SHRINKAGE in configuration.parameters:
        options.add_run_config_entry(_ARENA_SHRINKAGE, configuration.parameters[_ARENA_SHRINKAGE])
    return options


def _model_file(configuration: ModelConfiguration) -> Path:
    path = configuration.artifact("model.onnx")
    if path.is_dir():
        path = path / "model.onnx"
        if not path.is_file():
            refuse(f"unable to find '{path}' for model instance '{configuration.name}'")
    _refuse_newer_than_the_release(path)
    return path


def _refuse_newer_than_the_release(path: Path) -> None:
    """This ONNX Runtime may load more than the one of the release that the repository is meant for."""
    limits = json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8"))
    try:
        ir_version, opset = onnx_header.versions(path)
    except ValueError:
        return  # ONNX Runtime says it better
    if limits.get("max_ir_version") and ir_version > limits["max_ir_version"]:
        refuse(
            f"onnx runtime error 1: Load model from {path} failed: Unsupported model IR version: {ir_version}, "
            f"max supported IR version: {limits['max_ir_version']}"
        )
    if limits.get("max_opset") and opset > limits["max_opset"]:
        refuse(
            f"onnx runtime error 1: Load model from {path} failed: ai.onnx opset {opset} is newer than "
            f"{limits['max_opset']}, the newest that the release's ONNX Runtime supports"
        )


def _open_session(path: Path, options: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise pb_utils.TritonModelException(_runtime_words(error)) from error


def _runtime_words(error: Exception) -> str:
    match = _RUNTIME_ERROR.search(str(error))
    return f"onnx runtime error {match[1]}: {match[2]}" if match else f"onnx runtime error: {error}"


def _text(name: str, array: Any) -> Any:
    """ONNX Runtime's Python API takes strings as str; given bytes it would feed the model their ``repr``."""
    try:
        texts = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise RequestError(
            f"input '{name}' holds bytes that are no UTF-8 text ({error}); the embedded ONNX Runtime takes text only",
            pb_utils.TritonError.INVALID_ARG,
        ) from error
    converted = np.empty(len(texts), dtype=object)
    converted[:] = texts
    return converted.reshape(array.shape)
