# SPDX-License-Identifier: Apache-2.0
"""A Python-backend model that answers with CatBoost itself, from the model in ``model.cbm`` beside it.

``answers.json`` says which columns it takes by name, the classes, and what a regressor's sums become.
"""

import asyncio  # noqa: F401  # Triton's stub imports it at the first request, which would wait for 50 ms
import json
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One model; each request is a table of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        folder = Path(__file__).parent
        self._told = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        classes = self._told["classes"]
        is_text = bool(classes) and isinstance(classes[0], str)
        self._classes = np.array([name.encode() for name in classes] if is_text else classes, object)
        self._label_type = object if is_text else np.int64
        kind = catboost.CatBoostClassifier if classes else catboost.CatBoost
        self._model = kind().load_model(str(folder / "model.cbm"))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            answers = self._answer(self._rows(request))
        except (ValueError, catboost.CatBoostError) as error:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, answers[name]) for name in wanted])

    def _rows(self, request: Any) -> Any:
        names = self._told["columns"]
        if not names:
            return pb_utils.get_input_tensor_by_name(request, "features").as_numpy()
        columns = [pb_utils.get_input_tensor_by_name(request, name).as_numpy().ravel().tolist() for name in names]
        text = [[value.decode() if isinstance(value, bytes) else value for value in column] for column in columns]
        return [list(row) for row in zip(*text, strict=True)]

    def _answer(self, rows: Any) -> dict[str, Any]:
        if not len(self._classes):
            return {"prediction": _table(self._model.predict(rows, prediction_type=self._told["prediction_type"]))}
        likely = _table(self._model.predict_proba(rows))
        chosen = np.asarray(self._model.predict(rows))  # not always the likeliest: a model may have a threshold
        if self._told["several_labels"]:
            return {"label": chosen.astype(np.int64), "probabilities": likely}
        places = [self._told["names"].index(str(name)) for name in chosen.ravel()]
        return {"label": self._classes[places].astype(self._label_type), "probabilities": likely}


def _table(values: Any) -> Any:
    array = np.asarray(values, dtype=np.float32)
    return np.ascontiguousarray(array if array.ndim > 1 else array[:, None])
