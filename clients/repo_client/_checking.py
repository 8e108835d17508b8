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
from repo_client._options import Nan
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


class CallChecker:
    """The checks of one model's calls; what can be known from the signature is worked out once."""

    def __init__(self, signature: ModelSignature, *, nan: Nan = "allow") -> None:
        self._signature = signature
        self._nan = nan
        self._datatypes = {tensor.name: tensor.datatype for tensor in signature.inputs}

    def arrays(self, inputs: Mapping[str, Any], *, cast: Cast) -> dict[str, Array]:
        """The inputs as arrays in the order of the signature; the number of rows is free, but the same for all.

        Raises:
            InputError: a name, a data type or a shape is not what the signature says, or the rows differ in number.
        """
        _check_names(self._signature, inputs)
        return {
            tensor.name: _fit(self._signature, tensor, inputs[tensor.name], cast)
            for tensor in self._signature.inputs
            if tensor.name in inputs
        }

    def check_batch(self, arrays: Mapping[str, Array]) -> None:
        """Refuse more rows than one request takes.

        Raises:
            BatchSizeError: more than ``max_batch_size``, or none.
        """
        if self._signature.max_batch_size > 0:
            _check_rows(self._signature, arrays)

    def encode(self, arrays: Mapping[str, Array]) -> tuple[WireTensor, ...]:
        """Checked arrays as they travel; a numeric one without a copy."""
        return tuple(
            WireTensor(
                name=name, datatype=self._datatypes[name], shape=array.shape, data=encode(array, self._datatypes[name])
            )
            for name, array in arrays.items()
        )

    def outputs(self, outputs: Sequence[str] | None) -> tuple[str, ...]:
        """The names of the outputs to ask for; none for all of them.

        Raises:
            UnknownTensorError: the model has no output of that name.
        """
        return prepare_outputs(self._signature, outputs)


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
