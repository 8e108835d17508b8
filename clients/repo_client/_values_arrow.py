# SPDX-License-Identifier: Apache-2.0
"""Arrays and tables of pyarrow; also those that another library hands over by Arrow's C interface."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._columns import Column, as_column, column_order
from repo_client._refusals import Target, missing_values, ragged, wrong_type


def read_arrow(value: Any, target: Target) -> NDArray[Any] | list[Column]:
    """The columns of a table by name, in the model's order; of anything else its values, without a copy if possible.

    Raises:
        DatatypeError: values are missing, and the tensor's type has no NaN.
        ShapeError: a table's columns are not those that the model was trained on, or its lists differ in length.
    """
    import pyarrow

    if isinstance(value, pyarrow.Tensor):
        return np.asarray(value.to_numpy())
    if isinstance(value, pyarrow.Scalar):
        return np.asarray(read_arrow_array(pyarrow.array([value.as_py()], value.type), target)[0])
    if isinstance(value, pyarrow.RecordBatchReader):
        value = value.read_all()
    if isinstance(value, pyarrow.Table | pyarrow.RecordBatch):
        names = value.schema.names
        return [(names[at], value.column(at)) for at in column_order(names, target)]
    if isinstance(value, pyarrow.Array | pyarrow.ChunkedArray):
        return as_column(read_arrow_array(value, target), target)
    raise wrong_type(target, f"a pyarrow {type(value).__name__}", hint="pass an array or a table")


def read_arrow_array(value: Any, target: Target) -> NDArray[Any]:
    """The values of an array in one piece or several; strings as ``bytes``, lists as further dimensions."""
    import pyarrow

    if isinstance(value, pyarrow.ChunkedArray):
        value = value.chunk(0) if value.num_chunks == 1 else value.combine_chunks()
    if value.null_count and not pyarrow.types.is_floating(value.type):
        received = f"a pyarrow {type(value).__name__}"
        raise missing_values(target, received, hint="fill them: pyarrow.compute.fill_null(array, value)")
    if isinstance(value, pyarrow.FixedShapeTensorArray):
        return np.asarray(value.to_numpy_ndarray())
    if isinstance(value, pyarrow.ExtensionArray):
        value = value.storage
    if isinstance(value, pyarrow.DictionaryArray):
        indices = value.indices.to_numpy(zero_copy_only=False)
        return np.asarray(read_arrow_array(value.dictionary, target)[indices])
    if isinstance(value, pyarrow.FixedSizeListArray | pyarrow.ListArray | pyarrow.LargeListArray):
        return _read_lists(value, target)
    try:
        return _read_flat(value)
    except pyarrow.ArrowException as error:
        raise wrong_type(target, f"a pyarrow array of {value.type}", hint="numpy has no such values") from error


def _read_lists(value: Any, target: Target) -> NDArray[Any]:
    from pyarrow import compute

    lengths = compute.list_value_length(value).unique().to_pylist()
    if len(lengths) > 1:
        raise ragged(target)
    elements = read_arrow_array(value.flatten(), target)
    return elements.reshape(len(value), *(lengths or [0]), *elements.shape[1:])


def _read_flat(value: Any) -> NDArray[Any]:
    from pyarrow import large_binary, types

    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary_view)
    if any(is_text(value.type) for is_text in texts):
        value = value.cast(large_binary())
    return np.asarray(value.to_numpy(zero_copy_only=False))
