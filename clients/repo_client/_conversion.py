# SPDX-License-Identifier: Apache-2.0
"""Values that people have to arrays of exactly the type that a tensor declares, or a refusal before the wire.

Arrays (of numpy, pandas, pyarrow, torch, Pillow and whatever speaks Arrow, DLPack or ``__array__``) state their type,
so another one is an error unless ``cast`` allows it. Lists and scalars do not, also numpy's, so they are taken wherever
their kind fits. A library is known by the module of its classes, and never imported to find out.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._columns import Column
from repo_client._datatypes import BFLOAT16_BITS, SCALARS
from repo_client._numbers import check_integers, narrowed, stored
from repo_client._refusals import Cast as Cast  # noqa: PLC0414  # the models take it from here, with Array
from repo_client._refusals import Target, ragged, wrong_shape, wrong_type
from repo_client._values_arrow import read_arrow
from repo_client._values_numpy import read_numpy
from repo_client._values_pandas import read_pandas
from repo_client._values_pillow import read_image
from repo_client._values_protocols import PROTOCOLS, read_protocol, read_scipy
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
    "scipy": read_scipy,
}
# How values of a library are converted by hand, where not as arrays of numpy are.
_CASTS = {"torch": ".to(torch.{0})", "pyarrow": '.cast("{0}")', "PIL": "numpy.asarray(image).astype(numpy.{0})"}
# What to do with arrays of a kind whose conversion by hand would lose something, and say nothing.
_TIMES = "pass numbers, in the unit that the model was trained on"
_NOT_CAST = {"c": "take what the model wants of it: .real, or abs()", "M": _TIMES, "m": _TIMES}
_OBJECTS = {"numpy": ".tolist()", "pandas": ".to_numpy().tolist()"}
_DEEPEST = 32  # lists within lists, as in numpy; of more, some may contain themselves


def to_array(value: Any, target: Target) -> Array:
    """``value`` as an array of the tensor's numpy type; its shape is not looked at.

    Of BYTES it holds ``bytes`` alone or ``str`` alone; of BF16 it is one of ``BFLOAT16_BITS``. What it gives it also
    takes.

    Raises:
        DatatypeError: its type differs, or the type cannot hold one of its values.
        ShapeError: lists of different lengths, or other columns than the model was trained on.
    """
    if isinstance(value, list | tuple):
        return _from_list(value, target)
    kind: type = type(value)
    reader = _reader(kind)
    if reader is None or kind in SCALARS:
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
    shape, leaves = _opened_lists(value, target)
    if not SCALARS.issuperset(map(type, leaves)):
        return _stacked(leaves, shape, target)
    return _from_leaves(leaves, shape, target)


def _opened_lists(value: Any, target: Target) -> tuple[tuple[int, ...], list[Any]]:
    """The shape of lists within lists, and what is in them: no more lists, or not only."""
    lengths = _first_lengths(value)
    if len(lengths) > len(target.tensor.shape):
        raise wrong_shape(target, lengths)
    leaves = [value]
    for depth, length in enumerate(lengths):
        if not all(issubclass(kind, list | tuple) for kind in set(map(type, leaves))):
            return lengths[:depth], leaves
        if {*map(len, leaves)} != {length}:
            raise ragged(target)
        leaves = [*chain.from_iterable(leaves)]
    return lengths, leaves


def _first_lengths(value: Any) -> tuple[int, ...]:
    """The length of a list, of the first list in it, and so on."""
    lengths: list[int] = []
    while isinstance(value, list | tuple) and len(lengths) < _DEEPEST:
        lengths.append(len(value))
        value = value[0] if value else None
    return tuple(lengths)


def _stacked(parts: list[Any], shape: tuple[int, ...], target: Target) -> Array:
    """Arrays, and whatever else is no scalar, from lists of a shape."""
    inside = target.of_part(len(shape))
    arrays = [to_array(part, inside) for part in parts]
    found = dict.fromkeys(array.shape for array in arrays)
    if len(found) > 1:
        raise ragged(target, f"parts of different shapes: {', '.join(str(list(each)) for each in found)}")
    stacked = np.stack(arrays)
    if target.datatype.name == "BYTES":
        stacked = _bytes_array(stacked, target, list)  # all of str or all of bytes was each part for itself
    return stacked.reshape(shape + stacked.shape[1:])


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
    if datatype.name == "BF16" and (array.dtype == BFLOAT16_BITS or array.dtype.name == "bfloat16"):
        return array.view(BFLOAT16_BITS)
    if array.dtype.newbyteorder("=") == datatype.numpy.newbyteorder("="):
        return stored(array.astype(datatype.numpy, copy=False), target)
    if target.cast == "same_kind" and np.can_cast(array.dtype, datatype.numpy, casting="same_kind"):
        return narrowed(array, target)
    raise wrong_type(target, _described(array, kind), hint=_cast_hint(array, datatype.numpy, kind))


def _described(array: Array, kind: type) -> str:
    package = _package(kind)
    what = "a numpy array" if package == "numpy" else f"a {package} {kind.__name__}"
    return f"{what} of {array.dtype}"


def _cast_hint(array: Array, wanted: "np.dtype[Any]", kind: type) -> str:
    package, found = _package(kind), array.dtype.kind
    if found in _NOT_CAST:
        return _NOT_CAST[found]
    if found == "O" and package in _OBJECTS:
        return f"pass it with {_OBJECTS[package]}: each value is then looked at"
    by_hand = _CASTS.get(package)
    name = wanted.name if by_hand else wanted.type.__name__  # numpy.bool is not in every numpy
    by_hand = (by_hand or ".astype(numpy.{0})").format(name)
    if np.can_cast(array.dtype, wanted, casting="same_kind"):
        return f'convert it with {by_hand}, or pass cast="same_kind"'
    return f"if that changes none of its values, convert it with {by_hand}"


def _from_python(value: Any, target: Target) -> Array:
    if type(value) in SCALARS:
        return _from_leaves([value], (), target)
    if target.datatype.name == "BYTES":
        leaf = bytes(value) if isinstance(value, bytearray | memoryview) else value
        return _bytes_array(np.array(leaf, dtype=object), target, object)
    array = np.array(value, dtype=object)
    return _from_leaves(array.ravel().tolist(), array.shape, target)


def _from_leaves(leaves: list[Any], shape: tuple[int, ...], target: Target) -> Array:
    datatype = target.datatype
    if datatype.name == "BYTES":
        return _objects(_texts(leaves, target), shape)
    kinds = set(map(type, leaves))
    _check_kinds(kinds, target)
    if kinds.difference(datatype.python):
        leaves = _python_values(leaves, kinds)
    if kinds == {float}:
        return narrowed(np.array(leaves, dtype=np.float64).reshape(shape), target)
    array = narrowed(_objects(leaves, shape), target)
    if datatype.digits and target.cast == "no":
        check_integers(leaves, shape, target)
    return array


def _python_values(leaves: list[Any], kinds: set[type]) -> list[Any]:
    """Scalars of numpy, or some of them, as what they are in Python."""
    if len(kinds) == 1:
        values: list[Any] = np.array(leaves, dtype=next(iter(kinds))).tolist()
        return values
    return [leaf.item() if isinstance(leaf, np.generic) else leaf for leaf in leaves]


def _bytes_array(array: Array, target: Target, kind: type) -> Array:
    if array.dtype.kind not in "OSUT":
        raise wrong_type(target, _described(array, kind), hint="pass bytes or str, or an array of them")
    if array.dtype.kind == "S":
        return array
    leaves = array.ravel().tolist()
    texts = _texts(leaves, target)
    return array if texts is leaves and array.dtype.kind == "O" else _objects(texts, array.shape)


def _texts(leaves: list[Any], target: Target) -> list[Any]:
    """The leaves, all of them ``str`` or all of them ``bytes``."""
    if _are_texts(leaves, target):
        return leaves
    kinds = set(map(type, leaves))
    _check_kinds(kinds, target)
    if kinds == {bytes}:
        return leaves
    return [_encoded(leaf, target) if isinstance(leaf, str) else bytes(leaf) for leaf in leaves]


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


def _check_kinds(kinds: set[type], target: Target) -> None:
    for kind in kinds.difference(target.datatype.scalars):
        if kind in (list, tuple):
            raise ragged(target)
        names = " or ".join(kind.__name__ for kind in target.datatype.python)
        raise wrong_type(target, f"a value of type {kind.__name__}", hint=f"{target.datatype.name} takes {names}")
