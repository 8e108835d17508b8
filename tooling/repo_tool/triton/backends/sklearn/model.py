# SPDX-License-Identifier: Apache-2.0
"""A Python-based backend that serves scikit-learn estimators themselves, where ONNX cannot express them.

It reads ``model.skops`` (or ``model.joblib``) and ``model.json``: the types that skops may load, how the inputs become
what the estimator takes, and which method each output is.
"""

import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from embedded_batching import Arrays, Batcher, RequestError
from embedded_configuration import NUMPY_TYPES, ModelConfiguration, refuse
from threadpoolctl import threadpool_limits

_KNOWN_PARAMETERS = ("methods", "thread_count")


class TritonPythonModel:
    """One instance of an estimator."""

    def initialize(self, args: dict[str, str]) -> None:
        warnings.simplefilter("ignore")  # scikit-learn repeats at each request what was said when the model was added
        configuration = ModelConfiguration.from_arguments(args)
        configuration.refuse_what_no_python_backend_has()
        configuration.warn_of_unknown_parameters(_KNOWN_PARAMETERS)
        path = configuration.artifact("model.skops", "model.joblib")
        description = _description(path.with_name("model.json"))
        self._estimator = _opened(path, description["trusted_types"])
        self._rows = _ROWS[description["input"]["form"]]
        self._input = description["input"]
        self._answers = {answer["output"]: answer for answer in description["answers"]}
        self._types = {tensor.name: tensor.data_type for tensor in configuration.outputs}
        _check_agreement(configuration, self._estimator, self._answers, self._input)
        self._limits = threadpool_limits(max(1, configuration.integer_parameter("thread_count", default=1)))
        self._batcher = Batcher(configuration, self._run)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return self._batcher.answer(requests)

    def _run(self, feeds: Arrays, names: list[str]) -> Arrays:
        answers = [self._answers[name] for name in names]
        try:
            rows = self._rows(self._input, feeds)
            returned = {method: getattr(self._estimator, method)(rows) for method in {a["method"] for a in answers}}
            return {answer["output"]: self._tensor(answer, returned[answer["method"]]) for answer in answers}
        except Exception as error:  # an estimator fails in its own way; it becomes this request's error
            reason = f"{type(self._estimator).__name__}: {error}"
            raise RequestError(reason, pb_utils.TritonError.INVALID_ARG) from error

    def _tensor(self, answer: Mapping[str, Any], returned: Any) -> Any:
        values = returned if answer["part"] is None else returned[answer["part"]]
        values = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
        if values.ndim == 1 and not answer["flat"]:
            values = values[:, None]
        data_type = self._types[answer["output"]]
        if data_type == "TYPE_STRING":
            return _as_bytes(values)
        return np.ascontiguousarray(values.astype(NUMPY_TYPES[data_type]))


def _description(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise pb_utils.TritonModelException(f"failed to read {path}: {error}") from error


def _opened(path: Path, trusted: Sequence[str]) -> Any:
    try:
        estimator = _load_joblib(path) if path.suffix == ".joblib" else _load_skops(path, trusted)
    except Exception as error:  # unpickling raises anything; it becomes the refusal of the model
        raise pb_utils.TritonModelException(f"failed to load {path}: {type(error).__name__}: {error}") from error
    return _in_one_process(estimator)


def _load_joblib(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _load_skops(path: Path, trusted: Sequence[str]) -> Any:
    import sklearn.base  # noqa: F401 - before the next line, so that only the walk below misses that module

    # skops walks all of scikit-learn's modules when imported; this one would import torch, which takes a second.
    sys.modules.setdefault("sklearn.externals.array_api_compat.torch", None)
    import skops.io

    return skops.io.load(path, trusted=list(trusted))


def _in_one_process(estimator: Any) -> Any:
    """A stub must not start workers of its own: Triton's instances are the processes."""
    names = [name for name in estimator.get_params(deep=True) if name.split("__")[-1] == "n_jobs"]
    return estimator.set_params(**dict.fromkeys(names, 1)) if names else estimator


def _check_agreement(
    configuration: ModelConfiguration, estimator: Any, answers: Mapping[str, Any], described: Mapping[str, Any]
) -> None:
    for tensor in configuration.outputs:
        if tensor.name not in answers:
            refuse(f"unexpected inference output '{tensor.name}', allowed outputs are: {', '.join(sorted(answers))}")
        if not hasattr(estimator, answers[tensor.name]["method"]):
            refuse(f"{type(estimator).__name__} has no method '{answers[tensor.name]['method']}'")
    named = described["columns"] if described["form"] == "columns" else []
    absent = [name for name in named if name not in {tensor.name for tensor in configuration.inputs}]
    if absent:
        refuse(f"the estimator takes the columns {', '.join(absent)}, which the configuration does not have")


# --- from tensors to what the estimator takes ------------------------------------------------------------------------


def _table(described: Mapping[str, Any], feeds: Arrays) -> Any:
    table = _values(next(iter(feeds.values())))
    if not described["columns"]:
        return table
    import pandas as pd

    return pd.DataFrame(table, columns=described["columns"])


def _columns(described: Mapping[str, Any], feeds: Arrays) -> Any:
    import pandas as pd

    columns = {name: _values(feeds[name][:, 0]) for name in described["columns"]}
    for name in described["missing"]:
        columns[name] = np.array([value or np.nan for value in columns[name]], dtype=object)
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})


def _texts(described: Mapping[str, Any], feeds: Arrays) -> list[str]:
    return [value.decode() for value in next(iter(feeds.values()))[:, 0]]


def _records(described: Mapping[str, Any], feeds: Arrays) -> list[Any]:
    return [json.loads(value) for value in next(iter(feeds.values()))[:, 0]]


def _labels(described: Mapping[str, Any], feeds: Arrays) -> Any:
    return _values(next(iter(feeds.values()))[:, 0])


_ROWS: Mapping[str, Callable[[Mapping[str, Any], Arrays], Any]] = {
    "table": _table,
    "columns": _columns,
    "text": _texts,
    "records": _records,
    "labels": _labels,
}


def _values(array: Any) -> Any:
    """Strings as str, and numbers in double precision, which every estimator computes in."""
    if array.dtype == object:
        texts = np.empty(array.size, dtype=object)
        texts[:] = [value.decode() for value in array.ravel()]
        return texts.reshape(array.shape)
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _as_bytes(values: Any) -> Any:
    flat = [value if isinstance(value, bytes) else str(value).encode() for value in values.ravel().tolist()]
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(values.shape)
