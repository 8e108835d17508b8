# SPDX-License-Identifier: Apache-2.0
"""A Python-based backend that answers to the name ``tensorflow`` and serves SavedModels (``model.savedmodel``)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before the import: this backend computes on the CPU, and TensorFlow's start-up notices would fill the log.
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import triton_python_backend_utils as pb_utils
from embedded_agreement import check_data_type, check_dims, check_input_count, check_name
from embedded_batching import Arrays, Batcher, RequestError
from embedded_configuration import ModelConfiguration, TensorConfiguration, refuse

_KNOWN_PARAMETERS = (
    "TF_NUM_INTRA_THREADS",
    "TF_NUM_INTER_THREADS",
    "TF_USE_PER_SESSION_THREADS",
    "TF_GRAPH_TAG",
    "TF_SIGNATURE_DEF",
    "TF_INIT_OPS_FILE",
    "MAX_SESSION_SHARE_COUNT",
)
_DATA_TYPES = {
    tf.bool: "TYPE_BOOL",
    tf.uint8: "TYPE_UINT8",
    tf.uint16: "TYPE_UINT16",
    tf.uint32: "TYPE_UINT32",
    tf.uint64: "TYPE_UINT64",
    tf.int8: "TYPE_INT8",
    tf.int16: "TYPE_INT16",
    tf.int32: "TYPE_INT32",
    tf.int64: "TYPE_INT64",
    tf.float16: "TYPE_FP16",
    tf.float32: "TYPE_FP32",
    tf.float64: "TYPE_FP64",
    tf.string: "TYPE_STRING",
}


class TritonPythonModel:
    """One instance of a SavedModel's signature."""

    def initialize(self, args: dict[str, str]) -> None:
        configuration = ModelConfiguration.from_arguments(args)
        configuration.refuse_what_no_python_backend_has()
        configuration.warn_of_unknown_parameters(_KNOWN_PARAMETERS)
        _set_threads(configuration)
        path = configuration.artifact("model.savedmodel")
        self._loaded, self._signature = _opened(configuration, path)  # the signature does not keep its variables alive
        inputs = self._signature.structured_input_signature[1]
        check_input_count(configuration, len(inputs))
        _check_tensors(configuration, configuration.inputs, inputs, kind="input")
        _check_tensors(configuration, configuration.outputs, self._signature.structured_outputs, kind="output")
        self._batcher = Batcher(configuration, self._run)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return self._batcher.answer(requests)

    def _run(self, feeds: Arrays, names: list[str]) -> Arrays:
        try:
            outputs = self._signature(**{name: tf.constant(array) for name, array in feeds.items()})
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise RequestError(f"TensorFlow: {error}") from error
        return {name: _array(outputs[name]) for name in names}


def _array(tensor: Any) -> Any:
    """As numpy; a scalar string comes as plain bytes."""
    value = tensor.numpy()
    return value if hasattr(value, "ndim") else pb_utils.np.array(value, dtype=object)


def _set_threads(configuration: ModelConfiguration) -> None:
    tf.config.set_visible_devices([], "GPU")
    intra_op = configuration.integer_parameter("TF_NUM_INTRA_THREADS")
    inter_op = configuration.integer_parameter("TF_NUM_INTER_THREADS")
    tf.config.threading.set_intra_op_parallelism_threads(max(0, intra_op))
    tf.config.threading.set_inter_op_parallelism_threads(max(0, inter_op))


def _opened(configuration: ModelConfiguration, path: Path) -> tuple[Any, Any]:
    tag = configuration.parameters.get("TF_GRAPH_TAG", "serve")
    name = configuration.parameters.get("TF_SIGNATURE_DEF", "serving_default")
    try:
        loaded = tf.saved_model.load(str(path), tags=[tag])
    except Exception as error:
        raise pb_utils.TritonModelException(f"failed to load {path}: {error}") from error
    if name not in loaded.signatures:
        known = ", ".join(sorted(loaded.signatures)) or "none"
        refuse(
            f"unable to load model '{configuration.name}', the SavedModel has no signature '{name}' (it has: {known})"
        )
    return loaded, loaded.signatures[name]


def _check_tensors(
    configuration: ModelConfiguration, tensors: Sequence[TensorConfiguration], provided: Any, *, kind: str
) -> None:
    for tensor in tensors:
        check_name(tensor, provided, kind=kind)
        spec = provided[tensor.name]
        check_data_type(configuration, tensor, _DATA_TYPES.get(spec.dtype, "TYPE_<invalid>"), kind=kind)
        if spec.shape.rank is None or (spec.shape.rank == 0 and not configuration.batches):
            continue
        check_dims(configuration, tensor, tuple(-1 if dim is None else dim for dim in spec.shape), exact=False)
