# SPDX-License-Identifier: Apache-2.0
"""What a value is converted for, and the errors of one that does not fit."""

from dataclasses import dataclass, replace
from itertools import permutations
from math import prod
from reprlib import repr as short_repr
from typing import Any, Literal

import numpy as np

from repo_client._datatypes import DATATYPES, Datatype
from repo_client._errors import DatatypeError, Facts, RankError, ShapeError, UnsupportedCallError
from repo_client._signatures import TensorSpec

Cast = Literal["no", "same_kind"]
CASTS: tuple[Cast, ...] = ("no", "same_kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The input that a value is meant for."""

    model: str
    tensor: TensorSpec
    cast: Cast = "no"
    column: str = ""  # of a table, where the value is one
    is_part: bool = False  # of a list of arrays; the tensor is then what a part of it should be

    @property
    def datatype(self) -> Datatype:
        """The row of the tensor's data type.

        Raises:
            UnsupportedCallError: the server has data types that are newer than this client.
        """
        known = DATATYPES.get(self.tensor.datatype)
        if known is None:
            raise UnsupportedCallError(
                f"{self.place}: its data type {self.tensor.datatype} is none that this client knows",
                hint="install a newer repo_client",
                facts=self.facts(self.tensor.datatype, "a value"),
            )
        return known

    @property
    def place(self) -> str:
        """How an error begins."""
        column = f", column '{self.column}'" if self.column else ""
        return f"model '{self.model}', input '{self.tensor.name}'{column}"

    @property
    def of_what(self) -> str:
        """What follows a shape, or a place."""
        return " of a part of the list" if self.is_part else ""

    def of_column(self, column: str) -> "Target":
        """The same for one column of a table."""
        return replace(self, column=column)

    def of_part(self, depth: int) -> "Target":
        """The same for one of the values within lists that are ``depth`` deep."""
        return replace(self, tensor=replace(self.tensor, shape=self.tensor.shape[depth:]), is_part=True)

    def facts(self, expected: str, received: str) -> Facts:
        """What an error is about."""
        return Facts(model=self.model, tensor=self.tensor.name, expected=expected, received=received)


def wrong_type(target: Target, received: str, *, hint: str) -> DatatypeError:
    """Another data type."""
    expected = target.tensor.datatype
    return DatatypeError(
        f"{target.place}: received {received}, expected {expected}", hint=hint, facts=target.facts(expected, received)
    )


def missing_values(target: Target, received: str, *, hint: str) -> DatatypeError:
    """Nulls, which nothing on the wire can say but the NaN of floats."""
    return wrong_type(target, f"{received} with missing values", hint=hint)


def out_of_range(target: Target, value: Any, place: list[int], *, low: float, high: float) -> DatatypeError:
    """A number beyond what the data type can hold."""
    least, most = (str(low), str(high)) if isinstance(low, int) else (f"{low:g}", f"{high:g}")
    hint = f"limit what you send: numpy.clip(values, {least}, {most})"
    return _no_value(target, value, place, limits=f"{least} to {most}", hint=hint)


def inexact(target: Target, value: int, place: list[int]) -> DatatypeError:
    """An ``int`` between two values of a float type."""
    limits = f"every integer up to {2**target.datatype.digits}, few beyond"
    return _no_value(target, value, place, limits=limits, hint='cast="same_kind" rounds it, and so does float()')


def _no_value(target: Target, value: Any, place: list[int], *, limits: str, hint: str) -> DatatypeError:
    datatype = target.tensor.datatype
    shown = short_repr(value.item() if isinstance(value, np.generic) else value)
    received = f"{shown} at {place}{target.of_what}" if place else shown
    return DatatypeError(
        f"{target.place}: received {received}, which does not fit into {datatype} ({limits})",
        hint=hint,
        facts=target.facts(datatype, received),
    )


def ragged(target: Target, received: str = "lists of different lengths") -> ShapeError:
    """Rows that differ in length, or in shape."""
    expected = str(list(target.tensor.shape))
    return ShapeError(
        f"{target.place}: received {received}, expected {expected}",
        hint="a tensor is rectangular: pad the rows, or send them one by one",
        facts=target.facts(expected, received),
    )


def wrong_shape(target: Target, shape: tuple[int, ...], *, hint: str = "", kind: str = "shape") -> ShapeError:
    """Another rank, or a dimension of another size; without a hint, the one that helps most."""
    expected, received = str(list(target.tensor.shape)), str(list(shape))
    error = ShapeError
    if len(shape) != len(target.tensor.shape):
        kind, error = f"rank {len(shape)}, {kind}", RankError
    return error(
        f"{target.place}: received {kind} {received}{target.of_what}, expected {expected}",
        hint=hint or _shape_hint(shape, target.tensor.shape),
        facts=target.facts(expected, received),
    )


def _shape_hint(received: tuple[int, ...], shape: tuple[int, ...]) -> str:
    rank, batch_first = len(shape), shape[:1] == (-1,)
    order = _fitting_order(received, shape)
    if order:
        return f"its dimensions come in another order: array.transpose{order}"
    as_many_rows = batch_first or received[:1] == shape[:1]
    if as_many_rows and -1 not in shape[1:] and len(received) > 1 and prod(received[1:]) == prod(shape[1:]):
        return f"the values of a row are as many, in another shape: array.reshape({', '.join(map(str, shape))})"
    if len(received) == rank:
        return "-1 is a dimension that you choose; the others are fixed"
    if len(received) == rank - 1 and batch_first:
        return "the batch dimension is first: send one row as array[numpy.newaxis]"
    return f"its rank is {rank}{'; the batch dimension is first' if batch_first else ''}"


def _fitting_order(received: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The order of axes, the first one kept, in which an array fits, e.g. of channels last for channels first."""
    if not 3 <= len(received) == len(shape) <= 5:
        return ()
    for order in permutations(range(1, len(shape))):
        axes = (0, *order)
        if all(size in (-1, received[axis]) for size, axis in zip(shape, axes, strict=True)):
            return axes
    return ()
