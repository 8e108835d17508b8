# SPDX-License-Identifier: Apache-2.0
"""What an estimator takes, as tensors: a table, named columns, texts, records or labels, and back to what it expects.

``triton/backends/sklearn`` builds the same from the same description.
"""

__all__ = ["Form", "InputForm", "choose_rows", "form_of", "probes", "table_columns"]

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import RepoToolError, SampleError
from repo_tool.importers.estimators.sources import name_of
from repo_tool.importers.rows import Rows, rows_for
from repo_tool.samples import Array, RawSample, Tensors
from repo_tool.signature import FREE, TensorSpec

_TABLE, _TEXT, _RECORD, _LABEL = "features", "text", "record", "value"
_PROBES = 128
_SEED = 20


class Form(Enum):
    """How a row travels."""

    TABLE = "table"  # one tensor: a row of numbers or strings, or an array of more dimensions
    COLUMNS = "columns"  # one tensor [-1, 1] for each column of a DataFrame
    TEXT = "text"  # one string a row
    RECORDS = "records"  # one JSON document a row: an object of features, or a list of labels
    LABELS = "labels"  # one value a row, for encoders of labels


@dataclass(frozen=True, slots=True, kw_only=True)
class InputForm:
    """The input tensors and what the estimator is given for them."""

    form: Form
    inputs: tuple[TensorSpec, ...]
    columns: tuple[str, ...] = ()  # of the DataFrame that it is given
    missing: tuple[str, ...] = ()  # columns of strings in which the empty one stands for a missing value

    def assemble(self, tensors: Tensors) -> Any:
        """The rows as the estimator takes them; numbers in double precision, which every estimator computes in."""
        return _ASSEMBLE[self.form](self, tensors)

    def in_double_precision(self) -> "InputForm":
        """The same with FP64 for FP32."""
        widened = (replace(s, datatype=DataType.FP64) if s.datatype is DataType.FP32 else s for s in self.inputs)
        return replace(self, inputs=tuple(widened))

    def to_dict(self) -> dict[str, Any]:
        """What the backend has to know."""
        return {"form": self.form.value, "columns": list(self.columns), "missing": list(self.missing)}


# --- from tensors to what the estimator takes ------------------------------------------------------------------------


def _table(form: InputForm, tensors: Tensors) -> Any:
    table = _values(tensors[form.inputs[0].name])
    if not form.columns:
        return table
    import pandas as pd

    return pd.DataFrame(table, columns=list(form.columns))


def _columns(form: InputForm, tensors: Tensors) -> Any:
    import pandas as pd

    columns = {name: _values(tensors[name][:, 0]) for name in form.columns}
    for name in form.missing:
        columns[name] = np.array([value or np.nan for value in columns[name]], dtype=object)
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})


def _texts(form: InputForm, tensors: Tensors) -> list[str]:
    return [value.decode() for value in tensors[form.inputs[0].name][:, 0]]


def _records(form: InputForm, tensors: Tensors) -> list[Any]:
    return [json.loads(value) for value in tensors[form.inputs[0].name][:, 0]]


def _labels(form: InputForm, tensors: Tensors) -> Array:
    return _values(tensors[form.inputs[0].name][:, 0])


def _values(array: Array) -> Array:
    if array.dtype == object:
        texts = np.empty(array.size, dtype=object)
        texts[:] = [value.decode() for value in array.ravel()]
        return texts.reshape(array.shape)
    return array.astype(np.float64) if array.dtype == np.float32 else array


_ASSEMBLE: Mapping[Form, Callable[[InputForm, Tensors], Any]] = {
    Form.TABLE: _table,
    Form.COLUMNS: _columns,
    Form.TEXT: _texts,
    Form.RECORDS: _records,
    Form.LABELS: _labels,
}


# --- which form an estimator has -------------------------------------------------------------------------------------


def form_of(estimator: Any, sample: RawSample | None) -> InputForm:
    """What the estimator takes, as far as it or the sample knows.

    Raises:
        SampleError: only a sample can tell, and there is none.
    """
    first = _first_step(estimator)
    kind = type(first).__name__
    if kind in ("DictVectorizer", "FeatureHasher", "MultiLabelBinarizer"):
        return InputForm(form=Form.RECORDS, inputs=(_column(_RECORD, DataType.BYTES),))
    if kind in ("LabelEncoder", "LabelBinarizer"):
        is_text = np.asarray(first.classes_).dtype.kind in "OSU"
        return InputForm(form=Form.LABELS, inputs=(_column(_LABEL, DataType.BYTES if is_text else DataType.INT64),))
    if hasattr(first, "build_analyzer"):
        return InputForm(form=Form.TEXT, inputs=(_column(_TEXT, DataType.BYTES),))
    names = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
    picks = type(first).__name__ == "ColumnTransformer"
    if names and (picks or _has_strings(sample, names)):
        return _form_of_columns(estimator, _used(first, names) if picks else names, sample)
    return _form_of_table(estimator, names, sample)


def _first_step(estimator: Any) -> Any:
    """The estimator that sees the rows first, through Pipelines, searches and the like."""
    while True:
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[0][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "transformer_list"):
            estimator = estimator.transformer_list[0][1]
        elif hasattr(estimator, "estimator") and not hasattr(estimator, "n_features_in_"):
            estimator = estimator.estimator
        else:
            return estimator


def _used(transformer: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that a ColumnTransformer does not drop: only those does it ask for."""
    places = transformer._transformer_to_input_indices  # by place, whatever they were given as
    kept = {place for name, step, _ in transformer.transformers_ if step != "drop" for place in places.get(name, ())}
    return tuple(name for place, name in enumerate(names) if place in kept) or names


def _has_strings(sample: RawSample | None, names: tuple[str, ...]) -> bool:
    tensors = _named(sample)
    return any(tensors[name].dtype.kind in "OSU" for name in names if name in tensors)


def _named(sample: RawSample | None) -> Tensors:
    return {} if sample is None else (sample.columns or sample.tensors)


def _column(name: str, datatype: DataType) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(FREE, 1))


def _form_of_columns(estimator: Any, names: tuple[str, ...], sample: RawSample | None) -> InputForm:
    if sample is None:
        raise SampleError(
            f"{name_of(estimator)} takes named columns, and nothing says which of them are strings",
            cause=f"it was fitted on a DataFrame with the columns {', '.join(names[:8])}",
            next_step="give some of its rows with --sample rows.csv (or .parquet, .json)",
        )
    tensors = _named(sample)
    absent = [name for name in names if name not in tensors]
    if absent:
        raise SampleError(
            f"'{sample.origin}' lacks columns that {name_of(estimator)} was fitted on",
            cause=f"missing: {', '.join(absent)}",
            next_step="give a table with a column for each: --sample rows.csv",
        )
    inputs = tuple(_column(name, _column_type(sample, name, tensors[name])) for name in names)
    missing = tuple(
        spec.name
        for spec in inputs
        if spec.datatype is DataType.BYTES and any(value is None or value != value for value in tensors[spec.name])  # noqa: PLR0124 - NaN
    )
    return InputForm(form=Form.COLUMNS, inputs=inputs, columns=names, missing=missing)


_COLUMN_TYPES = {"f": DataType.FP32, "i": DataType.INT64, "u": DataType.INT64, "b": DataType.BOOL}
_STRING_KINDS = "OSU"


def _column_type(sample: RawSample, name: str, values: Array) -> DataType:
    if values.dtype.kind in _STRING_KINDS:
        return DataType.BYTES
    if values.dtype.kind in _COLUMN_TYPES:
        return _COLUMN_TYPES[values.dtype.kind]
    raise SampleError(
        f"column '{name}' of '{sample.origin}' holds {values.dtype}, which no tensor carries",
        next_step="train on numbers or strings made of it, and give those",
    )


def _form_of_table(estimator: Any, names: tuple[str, ...], sample: RawSample | None) -> InputForm:
    values = _only_tensor(sample)
    datatype = DataType.FP32
    if values is not None and values.dtype.kind in _STRING_KINDS:
        datatype = DataType.BYTES
    width = _width(estimator)
    if width is not None:
        spec = TensorSpec(name=_TABLE, datatype=datatype, shape=(FREE, width))
        return InputForm(form=Form.TABLE, inputs=(spec,), columns=names)
    if values is None:
        raise SampleError(
            f"{name_of(estimator)} does not know how many columns it takes",
            cause="it has no n_features_in_, and no sample shows its rows",
            next_step="give some of its rows with --sample",
        )
    if values.ndim == 1 and datatype is DataType.BYTES:
        return InputForm(form=Form.TEXT, inputs=(_column(_TEXT, DataType.BYTES),))
    shape = (FREE, *values.shape[1:]) if values.ndim > 1 else (FREE, 1)
    return InputForm(form=Form.TABLE, inputs=(TensorSpec(name=_TABLE, datatype=datatype, shape=shape),))


def _only_tensor(sample: RawSample | None) -> Array | None:
    if sample is None or sample.array is not None:
        return None if sample is None else sample.array
    if sample.columns:
        columns = list(sample.columns.values())
        strings = [column for column in columns if column.dtype.kind in _STRING_KINDS]
        return (strings or columns)[0] if len(columns) == 1 or strings else np.stack(columns, axis=1)
    return next(iter(sample.tensors.values())) if len(sample.tensors) == 1 else None


def _width(estimator: Any) -> int | None:
    width = getattr(estimator, "n_features_in_", None)
    if width is None and hasattr(estimator, "X_thresholds_"):
        return 1  # isotonic regression
    return None if width is None else int(width)


# --- rows ------------------------------------------------------------------------------------------------------------


def choose_rows(form: InputForm, sample: RawSample | None, answer: Callable[[Tensors], Any]) -> Rows:
    """The sample bound to the inputs; without one, the first made-up rows that ``answer`` does not refuse.

    Raises:
        SampleError: the sample does not fit, or nothing that can be made up is taken.
        SourceError: the estimator fails on the sample.
    """
    if sample is None and any(spec.datatype is DataType.BYTES for spec in form.inputs):
        raise SampleError(
            f"rows for the input '{form.inputs[0].name}' cannot be made up",
            cause="it takes strings, and only you know which",
            next_step="give some with --sample: a JSON list, or a column of a CSV",
        )
    rows = rows_for(_filled(sample, form), form.inputs, columns=table_columns(form))
    if not rows.generated:
        return rows
    return _first_taken(rows, answer)


def _first_taken(rows: Rows, answer: Callable[[Tensors], Any]) -> Rows:
    """Normal numbers; else none negative; else small whole ones: what counts and categories are made of."""
    for made_up in (lambda a: a, np.abs, lambda a: np.floor(np.abs(a))):
        inputs = {name: made_up(array) if array.dtype.kind == "f" else array for name, array in rows.inputs.items()}
        try:
            answer(inputs)
        except RepoToolError:
            continue
        return Rows(inputs=inputs, generated=True)
    return rows  # whose refusal the caller will meet again


def _filled(sample: RawSample | None, form: InputForm) -> RawSample | None:
    """The sample with empty strings for missing ones, and a name for a single column."""
    if sample is None or form.form is not Form.COLUMNS:
        return sample
    tensors = {name: _named(sample)[name] for name in form.columns}
    for name in form.missing:
        filled = ["" if value is None or value != value else value for value in tensors[name]]  # noqa: PLR0124 - NaN
        tensors[name] = np.array(filled, dtype=object)
    return replace(sample, columns=tensors, tensors={}, array=None)


def table_columns(form: InputForm) -> dict[str, tuple[str, ...]] | None:
    """The names of the columns of the one tensor that a table is, where the estimator remembers them."""
    return {form.inputs[0].name: form.columns} if form.form is Form.TABLE and form.columns else None


def probes(inputs: Tensors) -> Iterator[Tensors]:
    """More rows made of the given ones: each column's values in another order, so that every value stays a real one."""
    random = np.random.default_rng(_SEED)
    count = len(next(iter(inputs.values())))
    if count < 2:
        return
    picks = {name: random.integers(0, count, size=(_PROBES, *array.shape[1:])) for name, array in inputs.items()}
    yield {name: np.take_along_axis(array, picks[name], axis=0) for name, array in inputs.items()}
