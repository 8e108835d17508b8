# SPDX-License-Identifier: Apache-2.0
"""A call held against the model's signature, before anything is sent."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from repo_client._bfloat16 import nans
from repo_client._conversion import Array, to_array
from repo_client._datatypes import DATATYPES
from repo_client._errors import (
    BatchSizeError,
    Facts,
    InputError,
    MissingInputError,
    NanError,
    UnknownTensorError,
)
from repo_client._messages import WireTensor
from repo_client._names import name_hint, quoted
from repo_client._options import Nan
from repo_client._refusals import CASTS, Cast, Target, wrong_shape
from repo_client._signatures import ModelSignature, TensorSpec
from repo_client._tensors import encode

_ABSENT: Final = object()


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


class _Input:
    """What is known of one input before any call."""

    __slots__ = ("alone", "dtype", "fixed", "name", "rank", "spec")

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.name = spec.name
        # The type of the arrays that need no conversion; BYTES have none, as each of their elements is looked at.
        known = DATATYPES.get(spec.datatype)
        self.dtype = None if known is None or known.name == "BYTES" else known.kept
        self.rank = len(spec.shape)
        self.fixed = tuple((at, size) for at, size in enumerate(spec.shape) if size >= 0)
        self.alone = (1,) * self.rank if all(size in (-1, 1) for size in spec.shape) else None

    def takes(self, array: Array) -> bool:
        """Whether an array needs neither conversion nor complaint."""
        # None is asked for first: numpy takes it for float64 in a comparison.
        return self.dtype is not None and array.dtype == self.dtype and self.fits(array.shape)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape is one of this input's."""
        if len(shape) != self.rank:
            return False
        for at, size in self.fixed:  # noqa: SIM110  # three times as fast as all() of a generator
            if shape[at] != size:
                return False
        return True


class CallChecker:
    """The checks of one model's calls; what can be known from the signature is worked out once."""

    def __init__(self, signature: ModelSignature, *, nan: Nan = "allow") -> None:
        self._signature = signature
        self._max_batch_size = signature.max_batch_size
        self._inputs = tuple(map(_Input, signature.inputs))
        self._datatypes = {tensor.name: tensor.datatype for tensor in signature.inputs}
        _checked_choice("nan", nan, ("allow", "refuse"))
        self._refuses_nan = nan == "refuse"

    def arrays(self, inputs: Mapping[str, Any], *, cast: Cast) -> dict[str, Array]:
        """The inputs as arrays in the order of the signature; the number of rows is free, but the same for all.

        Raises:
            InputError: a name, a data type or a shape is not what the signature says, or the rows differ in number.
        """
        if cast != "no":
            _checked_choice("cast", cast, CASTS)
        arrays = {}
        try:
            value_of = inputs.get
        except AttributeError:
            raise _no_mapping(self._signature, inputs) from None
        for known in self._inputs:
            value = value_of(known.name, _ABSENT)
            if type(value) is np.ndarray and known.takes(value):
                arrays[known.name] = value
            elif value is not _ABSENT and not (value is None and known.spec.optional):
                arrays[known.name] = _fit(self._signature, known, value, cast)
        self._check_whole(inputs, arrays)
        return arrays

    def _check_whole(self, inputs: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        if len(arrays) != len(inputs) or len(arrays) < len(self._inputs):
            _check_names(self._signature, inputs)
        if len(arrays) > 1 and self._max_batch_size > 0:
            _check_same_rows(self._signature, arrays)
        if self._refuses_nan:
            _check_nan(self._signature, arrays)

    def check_batch(self, arrays: Mapping[str, Array]) -> None:
        """Refuse more rows than one request takes.

        Raises:
            BatchSizeError: more than ``max_batch_size``, or none.
        """
        most = self._max_batch_size
        if most > 0:
            for name, array in arrays.items():
                if not 1 <= array.shape[0] <= most:
                    raise _wrong_rows(self._signature, name, f"{array.shape[0]} rows", f"1 to {most} rows")

    def encode(self, arrays: Mapping[str, Array]) -> tuple[WireTensor, ...]:
        """Checked arrays as they travel; a numeric one without a copy."""
        datatypes = self._datatypes
        return tuple(
            [
                WireTensor(name=name, datatype=datatypes[name], shape=array.shape, data=encode(array, datatypes[name]))
                for name, array in arrays.items()
            ]
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
        InputError: something else than names.
        UnknownTensorError: the model has no output of that name.
    """
    if outputs is None:
        return ()
    if not isinstance(outputs, Iterable):
        raise InputError(f"outputs is {outputs!r}", hint="pass a list of names, or one")
    wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    known = [tensor.name for tensor in signature.outputs]
    for name in wanted:
        if name not in known:
            raise _unknown(signature, "output", name, known)
    return wanted


def _no_mapping(signature: ModelSignature, inputs: object) -> InputError:
    first = signature.inputs[0].name if signature.inputs else "name"
    kind = type(inputs).__name__
    return InputError(
        f"model '{signature.name}': received a value of type {kind} for the inputs, expected a mapping of them by name",
        hint=f"pass {{'{first}': value}}",
        facts=Facts(model=signature.name, expected="a mapping", received=kind),
    )


def _check_names(signature: ModelSignature, inputs: Iterable[str]) -> None:
    known = [tensor.name for tensor in signature.inputs]
    for name in inputs:
        if name not in known:
            raise _unknown(signature, "input", name, known)
    needed = {tensor.name for tensor in signature.inputs if not tensor.optional}
    missing = sorted(needed.difference(inputs))
    if missing:
        raise MissingInputError(
            f"model '{signature.name}': no value for input {quoted(missing)}",
            hint=f"the model takes {quoted(known)}",
            facts=Facts(model=signature.name, tensor=missing[0], expected=quoted(known), received=quoted(inputs)),
        )


def _unknown(signature: ModelSignature, side: str, name: str, known: Sequence[str]) -> UnknownTensorError:
    return UnknownTensorError(
        f"model '{signature.name}' has no {side} '{name}'",
        hint=name_hint(str(name), known, all_are=f"its {side}s are"),
        facts=Facts(model=signature.name, tensor=str(name), expected=quoted(known), received=str(name)),
    )


def _checked_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name} is {value!r}", hint=f"it is one of {quoted(choices)}")


def _fit(signature: ModelSignature, known: _Input, value: Any, cast: Cast) -> Array:
    target = Target(model=signature.name, tensor=known.spec, cast=cast)
    array = to_array(value, target)
    if array.ndim == 0 and known.alone is not None:
        array = array.reshape(known.alone)  # one value for a tensor that may hold exactly one
    if not known.fits(array.shape):
        raise wrong_shape(target, array.shape)
    return array


def _check_same_rows(signature: ModelSignature, arrays: Mapping[str, Array]) -> None:
    rows = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        received = ", ".join(f"{count} for '{name}'" for name, count in rows.items())
        raise _wrong_rows(signature, next(iter(rows)), f"rows: {received}", "the same number of rows for every input")


def _check_nan(signature: ModelSignature, arrays: Mapping[str, Array]) -> None:
    for known in signature.inputs:
        array = arrays.get(known.name)
        if array is not None and array.size and _has_nan(array, known.datatype):
            place = [int(index) for index in np.argwhere(_nan_places(array))[0]]
            raise NanError(
                f"model '{signature.name}', input '{known.name}': received NaN, the first at {place}",
                hint='fill what is missing, or open the model with nan="allow"',
                facts=Facts(model=signature.name, tensor=known.name, expected="numbers", received=f"NaN at {place}"),
            )


def _has_nan(array: Array, datatype: str) -> bool:
    if array.dtype.kind == "f":
        return bool(np.isnan(array.min()))  # the smallest value is NaN where any is, and finding it needs no memory
    return datatype == "BF16" and bool(_nan_places(array).any())


def _nan_places(array: Array) -> NDArray[np.bool_]:
    """Where an array of floats has NaN, or one of the bits of BF16."""
    if array.dtype.kind == "f":
        places: NDArray[np.bool_] = np.isnan(array)
        return places
    return nans(array)


def _wrong_rows(signature: ModelSignature, name: str, received: str, expected: str) -> BatchSizeError:
    return BatchSizeError(
        f"model '{signature.name}', input '{name}': received {received}, expected {expected}",
        hint=f"the first dimension counts the rows; max_batch_size is {signature.max_batch_size}",
        facts=Facts(model=signature.name, tensor=name, expected=expected, received=received),
    )
