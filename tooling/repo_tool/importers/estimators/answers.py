# SPDX-License-Identifier: Apache-2.0
"""What an estimator answers: which of its methods, as which tensors."""

__all__ = ["Answer", "Predictor", "labels_of", "methods_of"]

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers.estimators.inputs import InputForm
from repo_tool.importers.estimators.sources import METHODS, name_of
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, Tensors, as_bytes
from repo_tool.signature import FREE, ModelSignature, TensorSpec

_OUTPUTS = {
    "predict_proba": ("probabilities",),
    "predict_log_proba": ("log_probabilities",),
    "decision_function": ("scores",),
    "score_samples": ("scores",),
    "mahalanobis": ("distances",),
    "transform": ("transformed",),
    "kneighbors": ("distances", "indices"),
}
_AS_THEY_ARE = ("transformed", "indices")  # whole numbers stay whole; those of other outputs are FP32


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An output, and the estimator's method (or the part of what it returns) that it is."""

    output: str
    method: str
    part: int | None = None
    datatype: DataType
    flat: bool = False  # one class a row, which has no second dimension

    def to_dict(self) -> dict[str, Any]:
        """What the backend has to know."""
        return {"output": self.output, "method": self.method, "part": self.part, "flat": self.flat}

    def of(self, returned: Any) -> Array:
        """The tensor in what the method returned; values without a second dimension get one, labels apart."""
        values = _plain(returned if self.part is None else returned[self.part])
        is_text = self.datatype is DataType.BYTES
        values = as_bytes(values) if is_text else np.ascontiguousarray(values.astype(self.datatype.numpy))
        return values if self.flat or values.ndim > 1 else values[:, None]


def _plain(values: Any) -> Array:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


# --- which methods ---------------------------------------------------------------------------------------------------


def methods_of(estimator: Any, wanted: str | None) -> tuple[str, ...]:
    """The methods that are served: the wanted one, or those that the estimator is for.

    Raises:
        SourceError: it has no such method.
    """
    if wanted is None:
        return _usual_methods(estimator)
    if wanted in METHODS and hasattr(estimator, wanted):
        return (wanted,)
    has = [method for method in METHODS if hasattr(estimator, method)]
    raise SourceError(
        f"{name_of(estimator)} has no method '{wanted}' that can be served",
        next_step=f"choose with --method one of: {', '.join(has)}",
    )


def _usual_methods(estimator: Any) -> tuple[str, ...]:
    from sklearn.base import is_clusterer, is_outlier_detector, is_regressor
    from sklearn.feature_selection import SelectorMixin

    if isinstance(estimator, SelectorMixin):
        return ("transform",)
    if not hasattr(estimator, "predict"):
        return (next(method for method in METHODS if hasattr(estimator, method)),)
    if is_regressor(estimator) or is_clusterer(estimator):
        return ("predict",)
    if is_outlier_detector(estimator) and hasattr(estimator, "decision_function"):
        return ("predict", "decision_function")
    second = [method for method in ("predict_proba", "decision_function") if hasattr(estimator, method)]
    return ("predict", *second[:1])


def labels_of(estimator: Any) -> tuple[str, ...]:
    """The names of the classes, in the order of the probabilities."""
    classes = getattr(estimator, "classes_", ())
    is_text = isinstance(classes, np.ndarray) and classes.dtype.kind in "OSU"
    return tuple(str(name) for name in classes) if is_text else ()


# --- asking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """An estimator, how it is asked and what for."""

    estimator: Any
    form: InputForm
    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, estimator: Any, form: InputForm, methods: Sequence[str], rows: Tensors) -> "Predictor":
        """The predictor whose outputs are those that the methods return for ``rows``."""
        table = form.assemble(rows)
        answers = [
            answer for method in methods for answer in _answers(estimator, method, ask(estimator, method, table))
        ]
        taken = {spec.name for spec in form.inputs}
        if taken & {answer.output for answer in answers}:
            answers = [replace(answer, output=f"predicted_{answer.output}") for answer in answers]
        return cls(estimator=estimator, form=form, answers=tuple(answers))

    def answer(self, rows: Tensors) -> dict[str, Array]:
        """Each output's values for the rows, by the estimator itself.

        Raises:
            SourceError: it fails on them.
        """
        table = self.form.assemble(rows)
        returned = {method: ask(self.estimator, method, table) for method in {a.method for a in self.answers}}
        return {answer.output: answer.of(returned[answer.method]) for answer in self.answers}

    def signature(self, reference: Tensors, *, batches: bool) -> ModelSignature:
        """Inputs and outputs; ``reference`` gives the outputs' shapes."""
        outputs = tuple(
            TensorSpec(name=a.output, datatype=a.datatype, shape=(FREE, *reference[a.output].shape[1:]))
            for a in self.answers
        )
        return ModelSignature(inputs=self.form.inputs, outputs=outputs, batches=batches)


def ask(estimator: Any, method: str, table: Any) -> Any:
    """What the method returns for a table of rows.

    Raises:
        SourceError: it fails.
    """
    with (
        refusing(f"{name_of(estimator)} fails on the sample rows", next_step="give rows it was made for: --sample"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        return getattr(estimator, method)(table)


def _answers(estimator: Any, method: str, returned: Any) -> list[Answer]:
    names = _OUTPUTS.get(method) or (_predict_output(estimator),)
    if isinstance(returned, list) and method != "predict":  # one array for each of several targets
        return [
            Answer(output=f"{names[0]}_{part}", method=method, part=part, datatype=_datatype(names[0], values))
            for part, values in enumerate(returned)
        ]
    if isinstance(returned, tuple):
        return [
            Answer(output=name, method=method, part=part, datatype=_datatype(name, values))
            for part, (name, values) in enumerate(zip(names, returned, strict=False))
        ]
    flat = names[0] == "label" and np.ndim(returned) == 1
    return [Answer(output=names[0], method=method, datatype=_datatype(names[0], returned), flat=flat)]


def _predict_output(estimator: Any) -> str:
    from sklearn.base import is_regressor

    return "prediction" if is_regressor(estimator) else "label"


def _datatype(output: str, returned: Any) -> DataType:
    values = _plain(returned)
    if values.dtype.kind in "SU" or (values.dtype.kind == "O" and not _is_numeric(values)):
        return DataType.BYTES
    if output == "label":
        return DataType.INT64
    whole = {"i": DataType.INT64, "u": DataType.INT64, "b": DataType.BOOL}
    return whole.get(values.dtype.kind, DataType.FP32) if output in _AS_THEY_ARE else DataType.FP32


def _is_numeric(values: Array) -> bool:
    try:
        values.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return not any(isinstance(value, str) for value in values.ravel().tolist())
