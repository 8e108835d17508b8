# SPDX-License-Identifier: Apache-2.0
"""Values that people have to arrays of exactly the type that a tensor declares, or a refusal before the wire.

Arrays (of numpy, pandas, pyarrow, torch, Pillow and whatever speaks Arrow, DLPack or ``__array__``) state their type,
so another one is an error unless ``cast`` allows it. Lists and scalars of Python do not, so they are taken wherever
their kind fits. A library is known by the module of its classes, and never imported to find out.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._columns import Column
from repo_client._datatypes import BFLOAT16_BITS
from repo_client._refusals import Cast as Cast  # noqa: PLC0414  # the models take it from here, with Array
from repo_client._refusals import Target, out_of_range, ragged, wrong_shape, wrong_type
from repo_client._values_arrow import read_arrow
from repo_client._values_numpy import read_numpy
from repo_client._values_pandas import read_pandas
from repo_client._values_pillow import read_image
from repo_client._values_protocols import PROTOCOLS, read_protocol, read_sparse
from repo_client._values_torch import read_torch

Array = NDArray[Any]
Opened = Array | list[Column]  # an array of some type, or the columns of a table
Reader = Callable[[Any, Target], Opened]

# One line per library; what is none of these is asked for the protocols that it speaks.
_READERS: dict[str, Reader] = {
    "numpy": read_numpy,
    "pandas": read_pandas,
    "pyarrow": read_arrow,
    "PIL": read_image,
    "torch": read_torch,
    "scipy": read_sparse,
}
# How values of a library are converted by hand, where not as arrays of numpy are.
_CASTS = {"torch": ".to(torch.{0})", "pyarrow": '.cast("{0}")', "PIL": "numpy.asarray(image).astype(numpy.{0})"}


def to_array(value: Any, target: Target) -> Array:
    """``value`` as an array of the tensor's numpy type; its shape is not looked at.

    Of BYTES it holds ``bytes`` alone or ``str`` alone; of BF16 it may be one of ``BFLOAT16_BITS``. What it gives it
    also takes.

    Raises:
        DatatypeError: its type differs, or the type cannot hold one of its values.
        ShapeError: lists of different lengths, or other columns than the model was trained on.
    """
    if isinstance(value, list | tuple):
        return _from_list(value, target)
    kind: type = type(value)
    reader = _reader(kind)
    if reader is None:
        return _from_python(value, target)
    opened = reader(value, target)
    if isinstance(opened, list):
        return _from_columns(opened, target)
    return _typed(opened, target, kind)


@lru_cache(maxsize=256)
def _package(kind: type) -> str:
    """The library of a class: that of the first of its bases that is in the table."""
    packages = [base.__module__.partition(".")[0] for base in kind.__mro__]
    return next((package for package in packages if package in _READERS), packages[0])


@lru_cache(maxsize=256)
def _reader(kind: type) -> Reader | None:
    """Who opens values of a class; nobody those of Python itself."""
    reader = _READERS.get(_package(kind))
    if reader is None and any(hasattr(kind, protocol) for protocol in PROTOCOLS):
        return read_protocol
    return reader


def _from_list(value: Any, target: Target) -> Array:
    leaf = _first_leaf(value)
    kind: type = type(leaf)
    reader = _reader(kind)
    if reader is None:
        return _from_python(value, target)
    try:
        if reader is read_numpy:
            return _typed(np.asarray(value), target, kind)
        parts = [to_array(part, target) for part in value]
        return np.concatenate(parts) if reader is read_image else np.stack(parts)
    except ValueError as error:
        raise ragged(target) from error


def _first_leaf(value: Any) -> Any:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def _from_columns(columns: list[Column], target: Target) -> Array:
    arrays = [to_array(column, target.of_column(name)) for name, column in columns]
    if not arrays:
        raise wrong_shape(target, (0, 0), hint="the table has no columns")
    if len(arrays) == 1 and len(target.tensor.shape) == 1:
        return arrays[0]
    return np.stack(arrays, axis=1)


def _typed(array: Array, target: Target, kind: type) -> Array:
    """``array``, read from a value of class ``kind``, as one of the tensor's type."""
    datatype = target.datatype
    if datatype.name == "BYTES":
        return _bytes_array(array, target, kind)
    if array.dtype == datatype.numpy:
        return array
    if datatype.name == "BF16" and (array.dtype == BFLOAT16_BITS or array.dtype.name == "bfloat16"):
        return array.view(BFLOAT16_BITS)
    if array.dtype.newbyteorder("=") == datatype.numpy.newbyteorder("="):
        return array.astype(datatype.numpy)
    if target.cast == "same_kind" and np.can_cast(array.dtype, datatype.numpy, casting="same_kind"):
        return _narrowed(array, target)
    raise wrong_type(target, _described(array, kind), hint=_cast_hint(array, datatype.numpy, kind))


def _described(array: Array, kind: type) -> str:
    package = _package(kind)
    what = "a numpy array" if package == "numpy" else f"a {package} {kind.__name__}"
    return f"{what} of {array.dtype}"


def _cast_hint(array: Array, wanted: "np.dtype[Any]", kind: type) -> str:
    by_hand = _CASTS.get(_package(kind), ".astype(numpy.{0})").format(wanted.name)
    if np.can_cast(array.dtype, wanted, casting="same_kind"):
        return f'convert it with {by_hand}, or pass cast="same_kind"'
    return f"convert it with {by_hand}"


def _from_python(value: Any, target: Target) -> Array:
    datatype = target.datatype
    if datatype.name == "BYTES":
        leaf = bytes(value) if isinstance(value, bytearray | memoryview) else value
        return _bytes_array(np.array(leaf, dtype=object), target, object)
    array = np.array(value, dtype=object)
    _check_kinds(set(map(type, array.ravel().tolist())), datatype.python, target)
    return _narrowed(array, target)


def _bytes_array(array: Array, target: Target, kind: type) -> Array:
    if array.dtype.kind not in "OSUT":
        raise wrong_type(target, _described(array, kind), hint="pass bytes or str, or an array of them")
    if array.dtype.kind == "S":
        return array
    leaves = array.ravel().tolist()
    if _are_texts(leaves, target):
        return array if array.dtype.kind == "O" else _objects(leaves, array.shape)
    kinds = set(map(type, leaves))
    _check_kinds(kinds, (bytes, str, np.bytes_, np.str_), target)
    if kinds == {bytes}:
        return array
    encoded = [_encoded(leaf, target) if isinstance(leaf, str) else bytes(leaf) for leaf in leaves]
    return _objects(encoded, array.shape)


def _objects(leaves: list[Any], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(leaves), dtype=object)
    array[:] = leaves
    return array.reshape(shape)


def _are_texts(leaves: list[Any], target: Target) -> bool:
    """Whether all are ``str``; joining them is the fastest way to find out, and to encode them."""
    try:
        text = "".join(leaves)
    except TypeError:
        return False
    _encoded(text, target)
    return True


def _encoded(text: str, target: Target) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        hint = "it has surrogates; pass bytes in the encoding that the model reads"
        around = text[max(error.start - 10, 0) : error.end + 10]
        raise wrong_type(target, f"the text {around!a}, which is no UTF-8", hint=hint) from error


def _check_kinds(kinds: set[type], accepted: tuple[type, ...], target: Target) -> None:
    for kind in kinds.difference(accepted):
        if kind in (list, tuple):
            raise ragged(target)
        names = " or ".join(kind.__name__ for kind in target.datatype.python)
        raise wrong_type(target, f"a value of type {kind.__name__}", hint=f"{target.datatype.name} takes {names}")


def _narrowed(array: Array, target: Target) -> Array:
    """``array`` in the tensor's type; a value that does not fit is refused, not wrapped or turned into infinity."""
    wanted = target.datatype.numpy
    if array.size == 0 or wanted.kind == "b":
        return array.astype(wanted)
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            raise out_of_range(target, f"{limits.min} to {limits.max}")
        return array.astype(wanted)
    return _narrowed_floats(array, target)


def _narrowed_floats(array: Array, target: Target) -> Array:
    wanted = target.datatype.numpy
    try:
        wide = array.astype(np.float64) if array.dtype.kind == "O" else array
    except OverflowError as error:
        raise out_of_range(target, "finite") from error
    with np.errstate(over="ignore"):
        narrow = wide.astype(wanted)
    infinite = np.isinf(narrow)
    if infinite.any() and np.any(infinite & np.isfinite(wide)):
        raise out_of_range(target, f"up to {np.finfo(wanted).max:g}")
    return narrow
