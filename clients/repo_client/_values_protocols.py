# SPDX-License-Identifier: Apache-2.0
"""Values of other libraries (polars, jax, tensorflow, cupy ...) by the protocols that they speak."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._columns import Column
from repo_client._refusals import Target, wrong_type
from repo_client._values_arrow import read_arrow
from repo_client._values_numpy import read_numpy

_ARROW = ("__arrow_c_stream__", "__arrow_c_array__")
PROTOCOLS = (*_ARROW, "__array__", "__dlpack__", "__array_interface__")


def read_protocol(value: Any, target: Target) -> NDArray[Any] | list[Column]:
    """The values, by the first protocol that both sides speak: Arrow's, which keeps names, numpy's, or DLPack.

    Raises:
        DatatypeError: the values cannot be reached from here, e.g. because they are on a GPU.
    """
    if any(hasattr(value, protocol) for protocol in _ARROW):
        if find_spec("pyarrow") is not None:
            return read_arrow(_arrow(value), target)
        if not hasattr(value, "__array__"):
            raise wrong_type(target, _described(value), hint="install pyarrow, which reads such values")
    try:
        array = np.asarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    except Exception as error:  # whatever a library that is not known raises
        hint = f"copy it to an array of numpy first; the library says: {error}"
        raise wrong_type(target, f"{_described(value)} that cannot be read from here", hint=hint) from error
    return read_numpy(array, target)


def _arrow(value: Any) -> Any:
    import pyarrow

    array = pyarrow.chunked_array(value) if hasattr(value, _ARROW[0]) else pyarrow.array(value)
    if not pyarrow.types.is_struct(array.type):
        return array
    chunks = array if isinstance(array, pyarrow.ChunkedArray) else pyarrow.chunked_array([array])
    return pyarrow.Table.from_struct_array(chunks)


def _described(value: Any) -> str:
    kind = type(value)
    return f"a {kind.__module__.partition('.')[0]} {kind.__name__}"


def read_scipy(value: Any, target: Target) -> NDArray[Any]:
    """No value of scipy is a tensor.

    Raises:
        DatatypeError: always, with the way out.
    """
    if hasattr(value, "toarray"):
        raise wrong_type(target, f"{_described(value)}, which is sparse", hint="make it dense: matrix.toarray()")
    raise wrong_type(target, _described(value), hint="pass its values as an array of numpy")
