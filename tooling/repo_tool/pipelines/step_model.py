# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that runs the processing steps named in its configuration, one after another.

Copied as ``model.py`` into the version folder, with the steps' own files in ``steps/`` beside it. The parameter
``steps`` of ``config.pbtxt`` is a JSON list of ``{step, class, parameters, inputs, outputs}``, where inputs and outputs
say which of the model's tensors is which of the step's.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Runs each request alone: a row that cannot be processed fails its own request and no other."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the steps and load their files."""
        config = json.loads(args["model_config"])
        self._steps = json.loads(config["parameters"]["steps"]["string_value"])
        self._outputs = {
            output["name"]: pb_utils.triton_string_to_numpy(output["data_type"]) for output in config["output"]
        }
        folder = Path(__file__).parent / "steps"
        classes = [_load(folder / f"{step['step']}.py", step["class"]) for step in self._steps]
        self._made = [made(**step["parameters"]) for made, step in zip(classes, self._steps, strict=True)]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        for step, made in zip(self._steps, self._made, strict=True):
            arrays = {own: tensors[wire] for own, wire in step["inputs"].items()}
            try:
                results = made.run(**arrays)
            except ValueError as error:
                return _failure(f"step '{step['step']}', {error}")
            tensors.update({wire: results[own] for own, wire in step["outputs"].items()})
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, np.ascontiguousarray(tensors[name], dtype=self._outputs[name])) for name in wanted]
        )


def _load(path: Path, name: str) -> type[Any]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no step at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)  # type: ignore[no-any-return]  # a step's file is typed by its own contract


def _failure(message: str) -> Any:
    error = pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
    return pb_utils.InferenceResponse([], error=error)
