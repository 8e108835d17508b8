# SPDX-License-Identifier: Apache-2.0
"""The process that onnx and ONNX Runtime run in: ``load FOLDER`` or ``convert FOLDER OPSET``, answered in JSON."""

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType

_TYPES = {"float": "FP32", "double": "FP64", "float16": "FP16", "string": "BYTES"}  # else as Triton's, in small letters
_LARGE = 2**28  # bytes


def main() -> None:
    """Print the answer as the last line."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    action, folder, *rest = sys.argv[1:]
    try:
        answer = _ACTIONS[action](Path(folder) / "model.onnx", *rest)
    except Exception as error:  # noqa: BLE001 - both libraries raise whatever they like; their words are the answer
        answer = {"refused": _words(error)}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} …"


def _load(path: Path) -> dict[str, Any]:
    import onnx
    import onnxruntime

    onnx.checker.check_model(_without_external_data(onnx.load_model(path, load_external_data=False)))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file()) > _LARGE:
        # Shapes are inferred all the same; optimising would read all weights and keep them twice.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return {
        "inputs": [_tensor(value) for value in session.get_inputs()],
        "outputs": [_tensor(value) for value in session.get_outputs()],
    }


def _without_external_data(model: Any) -> Any:
    """With weights in other files as inputs: onnx's checker takes none that are hard links, as in a repository."""
    import onnx

    external = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    kept = [tensor for tensor in model.graph.initializer if tensor.data_location != onnx.TensorProto.EXTERNAL]
    for tensor in external:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _tensor(value: Any) -> dict[str, Any]:
    element = value.type.removeprefix("tensor(").removesuffix(")")
    name = _TYPES.get(element, element.upper())
    if name not in DataType.__members__:
        raise TypeError(f"'{value.name}' is {value.type}, which Triton's onnxruntime backend does not carry")
    return {
        "name": value.name,
        "datatype": name,
        "shape": [size if isinstance(size, int) else -1 for size in value.shape],
    }


def _convert(path: Path, opset: str) -> dict[str, Any]:
    import onnx
    from onnx import version_converter

    onnx.save_model(version_converter.convert_version(onnx.load_model(path), int(opset)), path)
    return {}


_ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {"load": _load, "convert": _convert}

if __name__ == "__main__":
    main()
