# SPDX-License-Identifier: Apache-2.0
"""What a value is converted for, and the errors of one that does not fit."""

from dataclasses import dataclass, replace
from itertools import permutations
from math import prod
from typing import Literal

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

    def of_column(self, column: str) -> "Target":
        """The same for one column of a table."""
        return replace(self, column=column)

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


def out_of_range(target: Target, limits: str) -> DatatypeError:
    """A number that the data type cannot hold."""
    datatype = target.tensor.datatype
    return DatatypeError(
        f"{target.place}: a value does not fit into {datatype} ({limits})",
        facts=target.facts(datatype, "a value out of range"),
    )


def ragged(target: Target) -> ShapeError:
    """Rows of different lengths."""
    expected = str(list(target.tensor.shape))
    return ShapeError(
        f"{target.place}: received lists of different lengths, expected {expected}",
        hint="a tensor is rectangular: pad the rows, or send them one by one",
        facts=target.facts(expected, "ragged lists"),
    )


def wrong_shape(target: Target, shape: tuple[int, ...], *, hint: str = "", kind: str = "shape") -> ShapeError:
    """Another rank, or a dimension of another size; without a hint, the one that helps most."""
    expected, received = str(list(target.tensor.shape)), str(list(shape))
    error = ShapeError
    if len(shape) != len(target.tensor.shape):
        kind, error = f"rank {len(shape)}, {kind}", RankError
    return error(
        f"{target.place}: received {kind} {received}, expected {expected}",
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
