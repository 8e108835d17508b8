# SPDX-License-Identifier: Apache-2.0
"""Frames, series, indexes and extension arrays of pandas, whatever holds their values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._columns import Column, as_column, column_order
from repo_client._refusals import Target, missing_values, wrong_type
from repo_client._values_arrow import read_arrow_array

# Types whose values no tensor has, and what to pass instead.
_NO_NUMBERS = {
    "SparseDtype": "make it dense: .sparse.to_dense()",
    "IntervalDtype": "pass its bounds: .array.left, .array.right",
    "PeriodDtype": "pass numbers, e.g. .dt.year",
    "DatetimeTZDtype": "pass numbers, in the unit that the model was trained on",
}


def read_pandas(value: Any, target: Target) -> NDArray[Any] | list[Column]:
    """The columns of a frame by name, in the model's order, or those of one row of it; of anything else its values.

    Raises:
        DatatypeError: values are missing, and the tensor's type has no NaN.
        ShapeError: a frame's columns are not those that the model was trained on.
    """
    if hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "iloc"):
        return _read_frame(value, target)
    if _is_row(value, target):
        order = column_order([str(name) for name in value.index], target)
        row = _read_values(value, target)[order]
        return row[np.newaxis] if len(target.tensor.shape) == 2 else row
    if hasattr(value, "dtype") and hasattr(value, "isna"):
        return as_column(_read_values(value, target), target)
    hint = f"{target.datatype.name} has no such value"
    raise wrong_type(target, f"a value of type {type(value).__name__}", hint=hint)


def _is_row(value: Any, target: Target) -> bool:
    """Whether a series is one row of a table: as long as one, and its index has names, the right ones or not."""
    columns = target.tensor.columns
    if target.column or not hasattr(value, "index") or len(value) != len(columns):
        return False
    names = [*value.index]
    return sorted(map(str, names)) == sorted(columns) or (
        len(names) > 1 and all(isinstance(name, str) for name in names)
    )


def _read_frame(frame: Any, target: Target) -> NDArray[Any] | list[Column]:
    names = [str(name) for name in frame.columns]
    order = column_order(names, target)
    kinds = set(frame.dtypes)
    if len(kinds) == 1 and isinstance(next(iter(kinds)), np.dtype):
        values: NDArray[Any] = frame.to_numpy()
        values = values if order == [*range(len(names))] else values[:, order]
        return values[:, 0] if len(order) == len(target.tensor.shape) == 1 else values
    return [(names[at], frame.iloc[:, at]) for at in order]


def _read_values(values: Any, target: Target) -> NDArray[Any]:
    kind = type(values.dtype).__name__
    if isinstance(values.dtype, np.dtype):
        return np.asarray(values)
    if kind == "CategoricalDtype" and (values.dtype.categories.dtype.kind == "f" or not values.isna().any()):
        return _read_values(values.astype(values.dtype.categories.dtype), target)
    if kind == "ArrowDtype":
        return read_arrow_array(getattr(values, "array", values).__arrow_array__(), target)
    if kind in _NO_NUMBERS:
        raise wrong_type(target, _described(values), hint=_NO_NUMBERS[kind])
    return _read_extension(values, target)


def _read_extension(values: Any, target: Target) -> NDArray[Any]:
    """Nullable types, strings, and what else pandas has: as floats with NaN, or with nothing missing."""
    wanted = getattr(values.dtype, "numpy_dtype", np.dtype(object))
    if not values.isna().any():
        array: NDArray[Any] = values.to_numpy(dtype=wanted)
        return array
    if wanted.kind == "f":
        filled: NDArray[Any] = values.to_numpy(dtype=wanted, na_value=np.nan)
        return filled
    filled_by = ".cat.add_categories([value])" if hasattr(values, "cat") else ""
    raise missing_values(target, _described(values), hint=f"fill them: {filled_by}.fillna(value)")


def _described(values: Any) -> str:
    return f"a pandas {type(values).__name__} of {values.dtype}"
