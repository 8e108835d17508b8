# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that answers with LightGBM itself, from the booster in ``model.txt`` beside it.

``answers.json`` names the classes, where it has some.
"""

import asyncio  # noqa: F401  # Triton's stub imports it at the first request, which would wait for 50 ms
import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One booster; each request is a table of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the booster."""
        folder = Path(__file__).parent
        classes = json.loads((folder / "answers.json").read_text(encoding="utf-8"))["classes"]
        is_text = bool(classes) and isinstance(classes[0], str)
        self._classes = np.array([name.encode() for name in classes] if is_text else classes, object)
        self._label_type = object if is_text else np.int64
        self._booster = lightgbm.Booster(model_file=folder / "model.txt")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        rows = pb_utils.get_input_tensor_by_name(request, "features").as_numpy()
        try:
            answers = self._answer(np.asarray(self._booster.predict(rows)))
        except (ValueError, lightgbm.basic.LightGBMError) as error:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, answers[name]) for name in wanted])

    def _answer(self, values: Any) -> dict[str, Any]:
        if not len(self._classes):
            return {"prediction": _table(values)}
        likely = np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
        label = self._classes[likely.argmax(axis=1)].astype(self._label_type)
        return {"label": label, "probabilities": _table(likely)}


def _table(values: Any) -> Any:
    array = np.asarray(values, dtype=np.float32)
    return np.ascontiguousarray(array if array.ndim > 1 else array[:, None])
