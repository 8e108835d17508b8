# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that asks ``predict(dict of arrays) -> dict of arrays`` of a person's own class.

Copied as ``model.py`` into the version folder, with the class's modules in ``code/`` beside it. The parameter
``python_class`` of ``config.pbtxt`` is ``package.module:Name``.
"""

import asyncio  # noqa: F401  # Triton's stub imports it at the first request, which would wait for 50 ms
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

Arrays = dict[str, Any]  # tensor name -> numpy array


class TritonPythonModel:
    """Requests of one shape are answered by one call; when that fails, each by its own, so that one fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Make the model once for each instance."""
        config = json.loads(args["model_config"])
        self._batches = config["max_batch_size"] > 0
        self._types = {
            output["name"]: pb_utils.triton_string_to_numpy(output["data_type"]) for output in config["output"]
        }
        module, name = config["parameters"]["python_class"]["string_value"].split(":")
        sys.path.insert(0, str(Path(__file__).parent / "code"))
        named = getattr(importlib.import_module(module), name)
        self._model = named() if isinstance(named, type) or not hasattr(named, "predict") else named

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, in their order."""
        inputs = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        responses: dict[int, Any] = {}
        for group in self._groups(inputs):
            answers = self._answer([inputs[at] for at in group], [requests[at] for at in group])
            responses.update(zip(group, answers, strict=True))
        return [responses[at] for at in range(len(requests))]

    def _groups(self, inputs: Sequence[Arrays]) -> Iterator[list[int]]:
        if not self._batches:
            yield from ([at] for at in range(len(inputs)))
            return
        groups: dict[Any, list[int]] = {}
        for at, arrays in enumerate(inputs):
            key = tuple((name, array.shape[1:]) for name, array in sorted(arrays.items()))
            groups.setdefault(key, []).append(at)
        yield from groups.values()

    def _answer(self, inputs: list[Arrays], requests: list[Any]) -> list[Any]:
        try:
            return [self._response(request, part) for request, part in zip(requests, self._parts(inputs), strict=True)]
        except Exception as error:  # noqa: BLE001 # a person's own code raises anything, and must not end the server
            if len(requests) == 1:
                return [_failure(error)]
        return [self._answer([arrays], [request])[0] for arrays, request in zip(inputs, requests, strict=True)]

    def _parts(self, inputs: list[Arrays]) -> list[Arrays]:
        if len(inputs) == 1:
            return [self._model.predict(inputs[0])]
        joined = {name: np.concatenate([arrays[name] for arrays in inputs]) for name in inputs[0]}
        ends = np.cumsum([len(next(iter(arrays.values()))) for arrays in inputs])[:-1]
        answers = {name: np.split(np.asarray(array), ends) for name, array in self._model.predict(joined).items()}
        return [{name: parts[at] for name, parts in answers.items()} for at in range(len(inputs))]

    def _response(self, request: Any, answer: Arrays) -> Any:
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(name, _typed(answer[name], self._types[name]))
                for name in request.requested_output_names()
            ]
        )


def _typed(values: Any, dtype: Any) -> Any:
    array = np.asarray(values)
    if array.dtype.kind == "U":  # Triton's strings are bytes
        array = np.char.encode(array, "utf-8")
    return np.ascontiguousarray(array.astype(dtype))


def _failure(error: Exception) -> Any:
    kind = pb_utils.TritonError.INVALID_ARG if isinstance(error, ValueError) else pb_utils.TritonError.INTERNAL
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(f"{type(error).__name__}: {error}", kind))
