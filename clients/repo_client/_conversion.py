# SPDX-License-Identifier: Apache-2.0
"""Values that people have to arrays of exactly the type that a tensor declares, or a refusal before the wire.

Arrays (numpy, and whatever has ``__array__``) state their type, so another one is an error unless ``cast`` allows it.
Lists and scalars of Python do not, so they are taken wherever their kind fits.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from repo_client._datatypes import DATATYPES, Datatype
from repo_client._errors import DatatypeError, Facts, ShapeError
from repo_client._signatures import TensorSpec

Array = NDArray[Any]
Cast = Literal["no", "same_kind"]


def to_array(value: Any, tensor: TensorSpec, *, model: str, cast: Cast = "no") -> Array:
    """``value`` as an array of the tensor's numpy type; its shape is not looked at.

    Raises:
        DatatypeError: its type differs, or the type cannot hold one of its values.
        ShapeError: lists of different lengths.
    """
    if isinstance(value, np.ndarray) or hasattr(_first_leaf(value), "__array__"):
        return _from_array(_stacked(value, tensor, model), tensor, model, cast)
    return _from_python(value, tensor, model)


def _first_leaf(value: Any) -> Any:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def _stacked(value: Any, tensor: TensorSpec, model: str) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise _ragged(tensor, model) from error


def _from_array(array: Array, tensor: TensorSpec, model: str, cast: Cast) -> Array:
    datatype = DATATYPES[tensor.datatype]
    if datatype.name == "BYTES":
        return _bytes_array(array, tensor, model)
    if array.dtype == datatype.numpy:
        return array
    if array.dtype.newbyteorder("=") == datatype.numpy or (datatype.name, array.dtype.name) == ("BF16", "bfloat16"):
        return array.astype(datatype.numpy)
    if cast == "same_kind" and np.can_cast(array.dtype, datatype.numpy, casting="same_kind"):
        return _narrowed(array, datatype, tensor, model)
    raise _wrong_type(f"a numpy array of {array.dtype}", tensor, model, hint=_cast_hint(array, datatype))


def _cast_hint(array: Array, datatype: Datatype) -> str:
    by_hand = f"convert it with .astype(numpy.{datatype.numpy.name})"
    if np.can_cast(array.dtype, datatype.numpy, casting="same_kind"):
        return f'{by_hand}, or pass cast="same_kind"'
    return by_hand


def _from_python(value: Any, tensor: TensorSpec, model: str) -> Array:
    datatype = DATATYPES[tensor.datatype]
    array = np.array(value, dtype=object)
    if datatype.name == "BYTES":
        return _bytes_array(array, tensor, model)
    _check_kinds(set(map(type, array.ravel().tolist())), datatype.python, tensor, model)
    return _narrowed(array, datatype, tensor, model)


def _bytes_array(array: Array, tensor: TensorSpec, model: str) -> Array:
    if array.dtype.kind not in "OSU":
        hint = "pass bytes or str, or an array of them"
        raise _wrong_type(f"a numpy array of {array.dtype}", tensor, model, hint=hint)
    if array.dtype.kind == "S":
        return array
    leaves = array.ravel().tolist()
    kinds = set(map(type, leaves))
    _check_kinds(kinds, (bytes, str, np.bytes_, np.str_), tensor, model)
    if kinds == {bytes}:
        return array
    result = np.empty(len(leaves), dtype=object)
    result[:] = _encoded(leaves, kinds, tensor, model)
    return result.reshape(array.shape)


def _encoded(leaves: list[Any], kinds: set[type], tensor: TensorSpec, model: str) -> list[bytes]:
    try:
        if bytes not in kinds and np.bytes_ not in kinds:
            return [*map(str.encode, leaves)]
        return [leaf.encode() if isinstance(leaf, str) else bytes(leaf) for leaf in leaves]
    except UnicodeEncodeError as error:
        hint = "it has surrogates; pass bytes in the encoding that the model reads"
        raise _wrong_type(f"the str {error.object!a}, which is no UTF-8", tensor, model, hint=hint) from error


def _check_kinds(kinds: set[type], accepted: tuple[type, ...], tensor: TensorSpec, model: str) -> None:
    for kind in kinds.difference(accepted):
        if kind in (list, tuple):
            raise _ragged(tensor, model)
        names = " or ".join(kind.__name__ for kind in DATATYPES[tensor.datatype].python)
        raise _wrong_type(f"a value of type {kind.__name__}", tensor, model, hint=f"{tensor.datatype} takes {names}")


def _narrowed(array: Array, datatype: Datatype, tensor: TensorSpec, model: str) -> Array:
    """``array`` in the tensor's type; a value that does not fit is refused, not wrapped or turned into infinity."""
    if array.size == 0 or datatype.numpy.kind == "b":
        return array.astype(datatype.numpy)
    if datatype.numpy.kind in "iu":
        limits = np.iinfo(datatype.numpy)
        if array.min() < limits.min or array.max() > limits.max:
            raise _out_of_range(f"{limits.min} to {limits.max}", tensor, model)
        return array.astype(datatype.numpy)
    try:
        wide = array.astype(np.float64)
    except OverflowError as error:
        raise _out_of_range("finite", tensor, model) from error
    with np.errstate(over="ignore"):
        narrow = wide.astype(datatype.numpy)
    if np.any(np.isinf(narrow) & np.isfinite(wide)):
        raise _out_of_range(f"up to {np.finfo(datatype.numpy).max:g}", tensor, model)
    return narrow


def _wrong_type(received: str, tensor: TensorSpec, model: str, *, hint: str) -> DatatypeError:
    return DatatypeError(
        f"model '{model}', input '{tensor.name}': received {received}, expected {tensor.datatype}",
        hint=hint,
        facts=Facts(model=model, tensor=tensor.name, expected=tensor.datatype, received=received),
    )


def _out_of_range(limits: str, tensor: TensorSpec, model: str) -> DatatypeError:
    return DatatypeError(
        f"model '{model}', input '{tensor.name}': a value does not fit into {tensor.datatype} ({limits})",
        facts=Facts(model=model, tensor=tensor.name, expected=tensor.datatype, received="a value out of range"),
    )


def _ragged(tensor: TensorSpec, model: str) -> ShapeError:
    return ShapeError(
        f"model '{model}', input '{tensor.name}': received lists of different lengths, expected {list(tensor.shape)}",
        hint="a tensor is rectangular: pad the rows, or send them one by one",
        facts=Facts(model=model, tensor=tensor.name, expected=str(list(tensor.shape)), received="ragged lists"),
    )
