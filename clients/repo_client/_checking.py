# SPDX-License-Identifier: Apache-2.0
"""A call held against the model's signature, before anything is sent."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from repo_client._conversion import Array, Cast, to_array
from repo_client._errors import (
    BatchSizeError,
    Facts,
    InputError,
    MissingInputError,
    ShapeError,
    UnknownTensorError,
)
from repo_client._messages import WireTensor
from repo_client._signatures import ModelSignature, TensorSpec
from repo_client._tensors import encode


def checked_version(version: str | int | None) -> str:
    """The version as it is asked for on the wire; empty for none.

    Raises:
        InputError: not a positive whole number, which is all that Triton takes.
    """
    if version is None:
        return ""
    text = str(version)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise InputError(f"version is '{text}'", hint="versions are whole numbers from 1: 1, 2, 3 ...")
    return text


def prepare_inputs(signature: ModelSignature, inputs: Mapping[str, Any], *, cast: Cast) -> tuple[WireTensor, ...]:
    """The inputs as they travel, in the order of the signature.

    Raises:
        InputError: a name, a data type, a shape or the number of rows is not what the signature says.
    """
    _check_names(signature, inputs)
    arrays = {
        tensor.name: _fit(signature, tensor, inputs[tensor.name], cast)
        for tensor in signature.inputs
        if tensor.name in inputs
    }
    if signature.max_batch_size > 0:
        _check_rows(signature, arrays)
    datatypes = {tensor.name: tensor.datatype for tensor in signature.inputs}
    return tuple(
        WireTensor(name=name, datatype=datatypes[name], shape=array.shape, data=encode(array, datatypes[name]))
        for name, array in arrays.items()
    )


def prepare_outputs(signature: ModelSignature, outputs: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the outputs to ask for; none for all of them.

    Raises:
        UnknownTensorError: the model has no output of that name.
    """
    if outputs is None:
        return ()
    wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    known = [tensor.name for tensor in signature.outputs]
    for name in wanted:
        if name not in known:
            raise _unknown(signature, "output", name, known)
    return wanted


def _check_names(signature: ModelSignature, inputs: Iterable[str]) -> None:
    known = [tensor.name for tensor in signature.inputs]
    for name in inputs:
        if name not in known:
            raise _unknown(signature, "input", name, known)
    needed = {tensor.name for tensor in signature.inputs if not tensor.optional}
    missing = sorted(needed.difference(inputs))
    if missing:
        raise MissingInputError(
            f"model '{signature.name}': no value for input {_quoted(missing)}",
            hint=f"the model takes {_quoted(known)}",
            facts=Facts(model=signature.name, tensor=missing[0], expected=_quoted(known), received=_quoted(inputs)),
        )


def _unknown(signature: ModelSignature, side: str, name: str, known: Sequence[str]) -> UnknownTensorError:
    nearest = get_close_matches(str(name), known, n=1)
    return UnknownTensorError(
        f"model '{signature.name}' has no {side} '{name}'",
        hint=f"did you mean '{nearest[0]}'?" if nearest else f"its {side}s are {_quoted(known)}",
        facts=Facts(model=signature.name, tensor=str(name), expected=_quoted(known), received=str(name)),
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _fit(signature: ModelSignature, tensor: TensorSpec, value: Any, cast: Cast) -> Array:
    array = to_array(value, tensor, model=signature.name, cast=cast)
    if array.ndim == 0 and all(size in (-1, 1) for size in tensor.shape):
        array = array.reshape((1,) * len(tensor.shape))  # one value for a tensor that may hold exactly one
    fits = array.ndim == len(tensor.shape) and all(
        declared in (-1, size) for declared, size in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits:
        raise _wrong_shape(signature, tensor, array.shape)
    return array


def _wrong_shape(signature: ModelSignature, tensor: TensorSpec, shape: tuple[int, ...]) -> ShapeError:
    expected, received = str(list(tensor.shape)), str(list(shape))
    what, hint = "shape", "-1 is a dimension that you choose; the others are fixed"
    if len(shape) != len(tensor.shape):
        what, hint = f"rank {len(shape)}, shape", f"its rank is {len(tensor.shape)}; the batch dimension is first"
    if len(shape) == len(tensor.shape) - 1:
        hint = "the batch dimension is first: send one row as array[numpy.newaxis]"
    return ShapeError(
        f"model '{signature.name}', input '{tensor.name}': received {what} {received}, expected {expected}",
        hint=hint,
        facts=Facts(model=signature.name, tensor=tensor.name, expected=expected, received=received),
    )


def _check_rows(signature: ModelSignature, arrays: Mapping[str, Array]) -> None:
    rows = {name: array.shape[0] for name, array in arrays.items()}
    for name, count in rows.items():
        if not 1 <= count <= signature.max_batch_size:
            raise _wrong_rows(signature, name, f"{count} rows", f"1 to {signature.max_batch_size} rows")
    if len(set(rows.values())) > 1:
        received = ", ".join(f"{count} for '{name}'" for name, count in rows.items())
        raise _wrong_rows(signature, next(iter(rows)), f"rows: {received}", "the same number of rows for every input")


def _wrong_rows(signature: ModelSignature, name: str, received: str, expected: str) -> BatchSizeError:
    return BatchSizeError(
        f"model '{signature.name}', input '{name}': received {received}, expected {expected}",
        hint=f"the first dimension counts the rows; max_batch_size is {signature.max_batch_size}",
        facts=Facts(model=signature.name, tensor=name, expected=expected, received=received),
    )
