# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that answers with XGBoost itself, from the booster in ``model.ubj`` beside it.

``answers.json`` says what the outputs are made of: the objective, the classes, how many rounds answer, and the number
that stands for missing values.
"""

import asyncio  # noqa: F401  # Triton's stub imports it at the first request, which would wait for 50 ms
import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
import xgboost


class TritonPythonModel:
    """One booster; each request is a table of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the booster."""
        folder = Path(__file__).parent
        self._told = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        self._booster = xgboost.Booster(model_file=folder / "model.ubj")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        rows = pb_utils.get_input_tensor_by_name(request, "features").as_numpy()
        try:
            answers = self._answer(rows)
        except (ValueError, xgboost.core.XGBoostError) as error:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, answers[name]) for name in wanted])

    def _answer(self, rows: Any) -> dict[str, Any]:
        values, classes = self._predict(rows), np.asarray(self._told["classes"], dtype=np.int64)
        if not len(classes):
            return {"prediction": _table(values)}
        if self._told["objective"] == "multi:softmax":
            sums = self._predict(rows, output_margin=True)
            powers = np.exp(sums - sums.max(axis=1, keepdims=True))
            return {
                "label": classes[values.astype(np.int64)],
                "probabilities": _table(powers / powers.sum(axis=1, keepdims=True)),
            }
        if values.ndim == 1:
            values = np.stack([1 - values, values], axis=1)
        return {"label": classes[values.argmax(axis=1)], "probabilities": _table(values)}

    def _predict(self, rows: Any, **how: bool) -> Any:
        booster, missing = self._booster, self._told["missing"]
        table = xgboost.DMatrix(
            rows,
            missing=np.nan if missing is None else missing,
            feature_names=booster.feature_names,
            feature_types=booster.feature_types,
            enable_categorical=True,
        )
        return booster.predict(table, iteration_range=(0, self._told["rounds"]), **how)


def _table(values: Any) -> Any:
    array = np.asarray(values, dtype=np.float32)
    return np.ascontiguousarray(array if array.ndim > 1 else array[:, None])
