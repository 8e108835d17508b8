# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that answers with ONNX's own evaluator, from the graph in ``model.onnx`` beside it.

It is the implementation that the ONNX specification is tested with: every operator, in plain numpy, and slow.
"""

import asyncio  # noqa: F401  # Triton's stub imports it at the first request, which would wait for 50 ms
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import triton_python_backend_utils as pb_utils
from onnx.reference import ReferenceEvaluator


class TritonPythonModel:
    """One graph; each request is answered by itself."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph with its weights."""
        config = json.loads(args["model_config"])
        self._types = {
            output["name"]: pb_utils.triton_string_to_numpy(output["data_type"]) for output in config["output"]
        }
        self._evaluator = ReferenceEvaluator(onnx.load_model(Path(__file__).parent / "model.onnx"))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        wanted = request.requested_output_names()
        try:
            inputs = {tensor.name(): _as_text(tensor.as_numpy()) for tensor in request.inputs()}
            with np.errstate(all="ignore"):  # what is no number is an answer too
                answers = dict(zip(self._evaluator.output_names, self._evaluator.run(None, inputs), strict=True))
        except Exception as error:  # noqa: BLE001 - any operator fails in its own way, and must not end the server
            return _failure(f"{type(error).__name__}: {error}")
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, _carried(answers[name], self._types[name])) for name in wanted]
        )


def _as_text(array: Any) -> Any:
    """Triton's bytes as the text that ONNX takes."""
    if array.dtype != object:
        return array
    return np.array([value.decode() for value in array.ravel()], dtype=object).reshape(array.shape)


def _carried(answer: Any, dtype: Any) -> Any:
    array = np.asarray(answer)
    if dtype == np.object_:
        texts = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel().tolist()]
        array = np.array(texts, dtype=object).reshape(array.shape)
    # Triton has no tensors without dimensions.
    return np.ascontiguousarray(array.astype(dtype).reshape(array.shape or (1,)))


def _failure(words: str) -> Any:
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(words, pb_utils.TritonError.INVALID_ARG))
