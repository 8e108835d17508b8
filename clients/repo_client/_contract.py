# SPDX-License-Identifier: Apache-2.0
"""What a generated client was made for: values in and out by field, and the served model held against it. No I/O."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from repo_client._answers import Answer
from repo_client._checking import CallChecker
from repo_client._conversion import Array, Cast
from repo_client._errors import (
    Facts,
    InputError,
    RankError,
    ShapeError,
    SignatureChangedError,
    UnexpectedAnswerError,
)
from repo_client._messages import ParameterValue
from repo_client._signatures import ModelSignature, TensorSpec

_FREE = -1


class PredictOptions(TypedDict, total=False):
    """What every call of a generated client takes besides its inputs; see ``Model.infer``."""

    timeout_s: float | None
    request_id: str | None
    cast: Cast
    priority: int | None
    parameters: Mapping[str, ParameterValue] | None
    headers: Mapping[str, str] | None


class Shape:
    """The shape of an annotated array: sizes, names of sizes that a call chooses, and -1 for the others."""

    __slots__ = ("sizes",)

    def __init__(self, *sizes: int | str) -> None:
        self.sizes = sizes

    def __repr__(self) -> str:
        return f"Shape({', '.join(map(repr, self.sizes))})"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a generated client knows it; ``shape`` is one row's where the model batches."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    field: str = ""  # its parameter or field, where that differs from its name
    optional: bool = False
    is_text: bool = False  # BYTES that are decoded
    words: tuple[str, ...] = ()  # all that it can say
    columns: tuple[str, ...] = ()  # of ``(n,)``: the names of the n columns

    @property
    def key(self) -> str:
        """The parameter or field that holds it."""
        return self.field or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The signature that a client was generated from."""

    model: str
    digest: str
    batches: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    decoupled: bool = False
    sequence: bool = False

    def check(self, served: ModelSignature) -> None:
        """Refuse a served model that the client was not made for.

        What is new and may be left out is fine: optional inputs, outputs, a larger or smaller largest batch.

        Raises:
            SignatureChangedError: it lists what changed.
        """
        changes = list(_changes(self, served))
        if changes:
            raise SignatureChangedError(
                f"model '{self.model}' is not the one that this client was generated for: {'; '.join(changes)}",
                hint="generate the client again: repo-tool client generate",
                facts=Facts(
                    model=self.model, version=served.version, expected=self.digest, received="; ".join(changes)
                ),
            )

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs that a result is made of."""
        return tuple(tensor.name for tensor in self.outputs)


class Codec:
    """The values of calls to one model: of one row, or the whole tensors of a model without batching, and of many."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._names = {tensor.key: tensor.name for tensor in contract.inputs}
        self._singles = {tensor.name for tensor in contract.inputs if contract.batches and tensor.shape == (1,)}
        # BYTES that many are passed of: one str is a sequence of str to type checkers.
        self._lists = {tensor.name for tensor in contract.inputs if tensor.datatype == "BYTES"}
        self._row_lists = {
            tensor.name for tensor in contract.inputs if tensor.name in self._lists - self._singles and tensor.shape
        }
        self._one = CallChecker(_signature(contract, lambda tensor: tensor.shape))
        self._many = CallChecker(_signature(contract, self._rows_shape))
        self._outputs = [_Output(tensor, batches=contract.batches) for tensor in contract.outputs]

    def _rows_shape(self, tensor: Tensor) -> tuple[int, ...]:
        return (_FREE,) if tensor.name in self._singles else (_FREE, *tensor.shape)

    def one(self, values: Mapping[str, Any], cast: Cast) -> Mapping[str, Array]:
        """The inputs of one request from one row: its fields by name; an optional one may be None.

        Raises:
            InputError: a field is unknown or missing, or its value does not fit.
        """
        named = self._named(values, self._row_lists)
        try:
            arrays = self._one.arrays(named, cast=cast)
        except ShapeError as error:
            raise _of_one_row(error, batches=self._contract.batches) from error
        return {name: array[np.newaxis] for name, array in arrays.items()} if self._contract.batches else arrays

    def many(self, values: Mapping[str, Any], cast: Cast) -> Mapping[str, Array]:
        """The inputs of rows: the batch dimension first, and nothing else for tensors of one value per row.

        Raises:
            InputError: a value does not fit.
        """
        arrays = self._many.arrays(self._named(values, self._lists), cast=cast)
        return {name: array[:, np.newaxis] if name in self._singles else array for name, array in arrays.items()}

    def _named(self, values: Mapping[str, Any], lists: Collection[str]) -> dict[str, Any]:
        if not isinstance(values, Mapping):
            raise _no_row(self._contract, values)
        named = {self._names.get(key, key): value for key, value in values.items() if value is not None}
        for name, value in named.items():
            if isinstance(value, np.number | np.bool_):
                named[name] = value.item()  # as Python's own: a float64 is a float to type checkers
            elif isinstance(value, str | bytes) and name in lists:
                raise _no_texts(self._contract, name, value)
        return named

    def read_one(self, answer: Answer) -> dict[str, Any]:
        """The fields of the result of ``one``.

        Raises:
            UnexpectedAnswerError: an output is missing or not of its shape.
            SignatureChangedError: a word that the client was generated without.
        """
        return {output.key: output.read_one(output.array_of(answer, rows=1)) for output in self._outputs}

    def read_many(self, answer: Answer) -> dict[str, Any]:
        """The fields of the result of ``many``.

        Raises:
            UnexpectedAnswerError: an output is missing or not of its shape.
            SignatureChangedError: a word that the client was generated without.
        """
        return {output.key: output.read_many(output.array_of(answer)) for output in self._outputs}


def _signature(contract: Contract, shape_of: Callable[[Tensor], tuple[int, ...]]) -> ModelSignature:
    """The signature of calls that are checked before there is a batch dimension."""
    return ModelSignature(
        name=contract.model,
        version="",
        versions=(),
        platform="",
        max_batch_size=0,
        inputs=tuple(
            TensorSpec(
                name=tensor.name,
                datatype=tensor.datatype,
                shape=shape_of(tensor),
                optional=tensor.optional,
                columns=tensor.columns,
            )
            for tensor in contract.inputs
        ),
        outputs=(),
    )


def _no_row(contract: Contract, values: object) -> InputError:
    fields, kind = ", ".join(f"'{tensor.key}'" for tensor in contract.inputs), type(values).__name__
    return InputError(
        f"model '{contract.model}': received a value of type {kind} for a row, expected its values by name",
        hint=f"a row is a dict of {fields}",
        facts=Facts(model=contract.model, expected="a mapping", received=kind),
    )


def _no_texts(contract: Contract, name: str, value: str | bytes) -> InputError:
    kind = type(value).__name__
    return RankError(
        f"model '{contract.model}', input '{name}': received one {kind}, expected several",
        hint=f"pass a list of {kind}",
        facts=Facts(model=contract.model, tensor=name, expected=f"a list of {kind}", received=kind),
    )


def _of_one_row(error: ShapeError, *, batches: bool) -> ShapeError:
    hint = f"predict takes one row, without a batch dimension: {error.expected}; predict_batch takes many"
    return ShapeError(
        error.fact,
        hint=hint if batches else error.hint,
        facts=Facts(model=error.model, tensor=error.tensor, expected=error.expected, received=error.received),
    )


_Read = Callable[[Array], Any]


class _Output:
    """How one output is read: of one row, or the whole tensor of a model without batching, and of many rows."""

    __slots__ = ("_batches", "_shape", "_tensor", "key", "read_many", "read_one")

    def __init__(self, tensor: Tensor, *, batches: bool) -> None:
        self.key = tensor.key
        self._tensor, self._batches = tensor, batches
        self._shape = (_FREE, *tensor.shape) if batches else tensor.shape
        self.read_one, self.read_many = _reader(tensor, batches=batches)

    def array_of(self, answer: Answer, rows: int = _FREE) -> Array:
        """The array in an answer.

        Raises:
            UnexpectedAnswerError: it is missing, or not of its shape.
        """
        try:
            array = answer[self._tensor.name]
        except KeyError as error:
            raise _unexpected(answer, self._tensor, "is missing") from error
        expected = (rows, *self._shape[1:]) if self._batches else self._shape
        if array.shape != expected:
            pairs = zip(expected, array.shape, strict=False)
            if array.ndim != len(expected) or any(size not in (_FREE, found) for size, found in pairs):
                raise _unexpected(answer, self._tensor, f"is {list(array.shape)}, not {list(expected)}")
        return array


def _reader(tensor: Tensor, *, batches: bool) -> tuple[_Read, _Read]:
    """How one row of an output is read, and how many are."""
    convert = _converter(tensor)
    if not batches:
        return convert, convert
    if tensor.shape != (1,):
        return (lambda rows: convert(rows[0])), convert
    if tensor.datatype == "BYTES":
        return (lambda rows: convert(rows.reshape(-1))[0]), (lambda rows: convert(rows.reshape(-1)))
    return (lambda rows: rows.item()), (lambda rows: rows.reshape(-1))


def _converter(tensor: Tensor) -> _Read:
    """Numbers stay arrays; BYTES become (nested) tuples of bytes, or of str where they are text."""
    if tensor.datatype != "BYTES":
        return lambda array: array
    if not tensor.is_text:
        return _nested
    known = frozenset(tensor.words)

    def texts(array: Array) -> Any:
        decoded = np.empty(array.shape, dtype=object)
        decoded.reshape(-1)[:] = [_text(value, tensor) for value in array.reshape(-1).tolist()]
        if known and not known.issuperset(decoded.reshape(-1).tolist()):
            raise _new_word(tensor, next(word for word in decoded.reshape(-1).tolist() if word not in known))
        return _nested(decoded)

    return texts


def _nested(array: Array) -> Any:
    values = array.tolist()
    return _as_tuples(values, array.ndim)


def _as_tuples(values: Any, depth: int) -> Any:
    if depth == 0:
        return values
    return tuple(values) if depth == 1 else tuple(_as_tuples(value, depth - 1) for value in values)


def _text(value: bytes, tensor: Tensor) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise UnexpectedAnswerError(
            f"output '{tensor.name}' is no UTF-8 text",
            hint="the client was generated for text: generate it again, or read the bytes with Model.infer",
            facts=Facts(tensor=tensor.name, received=repr(value[:40])),
        ) from error


def _new_word(tensor: Tensor, word: str) -> SignatureChangedError:
    return SignatureChangedError(
        f"output '{tensor.name}' says '{word}', a label that this client was generated without",
        hint="generate the client again: repo-tool client generate",
        facts=Facts(tensor=tensor.name, expected=", ".join(tensor.words), received=word),
    )


def _unexpected(answer: Answer, tensor: Tensor, what: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"the answer of model '{answer.model_name}': output '{tensor.name}' {what}",
        facts=Facts(
            model=answer.model_name,
            version=answer.model_version,
            tensor=tensor.name,
            request_id=answer.request_id,
        ),
    )


# --- the served model against the contract ---------------------------------------------------------------------------


def _changes(contract: Contract, served: ModelSignature) -> Iterator[str]:
    batches = served.max_batch_size > 0
    if batches != contract.batches:
        yield "it batches now" if batches else "it does not batch any more"
    if served.decoupled != contract.decoupled:
        yield "it answers in streams now" if served.decoupled else "it answers once now, not in streams"
    if served.sequence_batching != contract.sequence:
        yield "its requests belong to sequences now" if served.sequence_batching else "it takes no sequences any more"
    yield from _input_changes(contract, served)
    yield from _output_changes(contract, served)


def _input_changes(contract: Contract, served: ModelSignature) -> Iterator[str]:
    found, known = _by_name(served.inputs), {tensor.name for tensor in contract.inputs}
    for tensor in contract.inputs:
        if tensor.name not in found:
            yield f"input '{tensor.name}' is gone"
            continue
        if tensor.optional and not found[tensor.name].optional:
            yield f"input '{tensor.name}' may not be left out any more"
        if tensor.columns and found[tensor.name].columns not in ((), tensor.columns):
            yield f"the columns of input '{tensor.name}' are {', '.join(found[tensor.name].columns)}"
        yield from _tensor_changes("input", contract, tensor, found[tensor.name], _takes)
    for name in found:
        if name not in known and not found[name].optional:
            yield f"input '{name}' is new, and may not be left out"


def _output_changes(contract: Contract, served: ModelSignature) -> Iterator[str]:
    found = _by_name(served.outputs)
    for tensor in contract.outputs:
        if tensor.name in found:
            yield from _tensor_changes("output", contract, tensor, found[tensor.name], _gives)
        else:
            yield f"output '{tensor.name}' is gone"


def _tensor_changes(
    side: str, contract: Contract, tensor: Tensor, served: TensorSpec, fits: Callable[[int, int], bool]
) -> Iterator[str]:
    if served.datatype != tensor.datatype:
        yield f"{side} '{tensor.name}' is {served.datatype}, not {tensor.datatype}"
    promised = (_FREE, *tensor.shape) if contract.batches else tensor.shape
    same_rank = len(promised) == len(served.shape)
    if not (same_rank and all(map(fits, promised, served.shape))):
        yield f"{side} '{tensor.name}' is {list(served.shape)}, not {list(promised)}"


def _takes(promised: int, served: int) -> bool:
    """Whether a size that callers may send is still taken."""
    return served in (_FREE, promised)


def _gives(promised: int, served: int) -> bool:
    """Whether a size that callers get is what they expect."""
    return promised in (_FREE, served)


def _by_name(tensors: Iterable[TensorSpec]) -> dict[str, TensorSpec]:
    return {tensor.name: tensor for tensor in tensors}
