# SPDX-License-Identifier: Apache-2.0
"""How far a served pipeline is from the training code's own preprocessing, row by row and wire by wire."""

__all__ = ["SkewReport", "WireComparison", "WireSkew", "distances", "require_no_skew"]

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.errors import ParityError
from repo_tool.samples import Array
from repo_tool.verification import Tolerance

_ROWS_KEPT = 16  # of those that differ, for the diagnosis
_TEXT_SHOWN = 40
_EXACT_IN_FLOATS = 2.0**53  # up to there float64 has all whole numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSkew:
    """One wire: how many rows differ by more than is allowed, and where most."""

    wire: str
    step: str  # that writes it
    is_final: bool  # whether a client sees it
    datatype: str
    shape: tuple[int, ...]  # of a row
    rows: int
    rows_that_differ: int
    largest_absolute: float  # infinite where words, types or shapes differ
    largest_relative: float
    worst_row: int | None  # None: no row differs in the least
    worst_index: tuple[int, ...]
    served: str  # the worst value, or what else differs
    wanted: str
    allowed: str  # in words
    looks_like: str = ""  # what the difference comes from, where that is sure

    @property
    def equal(self) -> bool:
        """Whether no row differs by more than is allowed."""
        return self.rows_that_differ == 0

    @property
    def words(self) -> str:
        """How it differs, in a sentence about it."""
        if self.worst_row is None:
            return f"equal in all {self.rows} rows"
        return (
            f"{self.rows_that_differ} of {self.rows} rows differ, most in {_place(self)}: "
            f"{self.served} is served, {self.wanted} is the reference's"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewReport:
    """What the reference told, in the order in which the pipeline computes it."""

    reference: str
    digest: str
    rows: int
    wires: tuple[WireSkew, ...]
    untried: tuple[str, ...] = ()  # what no row of the sample asks for, in sentences

    @property
    def first_that_differs(self) -> WireSkew | None:
        """The earliest wire that differs; whatever comes after it differs because of it."""
        return next((wire for wire in self.wires if not wire.equal), None)

    @property
    def summary(self) -> str:
        """In one line."""
        names = ", ".join(wire.wire for wire in self.wires)
        first = self.first_that_differs
        if first is not None:
            return f"{self.rows} rows, {names}: '{first.wire}' differs"
        largest = max((wire.largest_absolute for wire in self.wires), default=0.0)
        return f"{self.rows} rows, {names}: largest difference {largest:.2g}"

    @property
    def table(self) -> str:
        """All wires as lines of text with columns."""
        heading = ("step", "wire", "rows that differ", "absolute", "relative", "worst")
        lines = [heading, *(_cells(wire) for wire in self.wires)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(heading))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for provenance and for ``--json``."""
        return {
            "source": self.reference,
            "digest": self.digest,
            "rows": self.rows,
            "untried": list(self.untried),
            "wires": [_plain(asdict(wire)) | {"equal": wire.equal} for wire in self.wires],
        }


def _size(difference: float) -> str:
    return f"{difference:.3g}" if np.isfinite(difference) else ""


def _place(wire: WireSkew) -> str:
    at = f" at [{', '.join(map(str, wire.worst_index))}]" if wire.worst_index else ""
    return f"row {wire.worst_row}{at}"


def _cells(wire: WireSkew) -> tuple[str, ...]:
    return (
        wire.step,
        wire.wire,
        f"{wire.rows_that_differ} of {wire.rows}",
        _size(wire.largest_absolute),
        _size(wire.largest_relative),
        "" if wire.worst_row is None else f"{_place(wire)}: {wire.served}, not {wire.wanted}",
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The same with null for what JSON has no number for, and lists for tuples."""
    return {
        name: None
        if isinstance(value, float) and not np.isfinite(value)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


def require_no_skew(report: SkewReport, *, pipeline: str) -> None:
    """Nothing, when every wire agrees.

    Raises:
        ParityError: naming the first step that differs, with the table of all wires.
    """
    first = report.first_that_differs
    if first is None:
        return
    guess = f"; {first.looks_like}" if first.looks_like else ""
    raise ParityError(
        f"'{pipeline}' as served differs from '{report.reference}', first in {first.step}, which writes '{first.wire}'"
        f"{guess}",
        cause=f"{first.words}; {first.allowed}\n{report.table}",
        next_step="nothing was published; mend that step or the reference"
        + (f", or allow more: --tolerate {first.wire}=NUMBER" if np.isfinite(first.largest_absolute) else ""),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferentRow:
    """A row that differs, for the diagnosis."""

    row: int
    served: Array
    wanted: Array


@dataclass(slots=True, kw_only=True)
class WireComparison:
    """Collects the differences of one wire, row after row."""

    wire: str
    step: str
    is_final: bool
    tolerance: Tolerance
    exact_integers: bool = True  # whole numbers must be equal
    kept: list[DifferentRow] = field(default_factory=list)
    _rows: int = 0
    _different: int = 0
    _absolute: float = 0.0
    _relative: float = 0.0
    _worst: tuple[int, tuple[int, ...], str, str] | None = None
    _datatype: str = ""
    _shape: tuple[int, ...] = ()

    def add(self, row: int, served: Array, wanted: Array) -> None:
        """Compare one row."""
        self._rows += 1
        wanted = _alike(wanted, served)
        self._datatype, self._shape = self._datatype or _type_words(served), self._shape or served.shape
        differs = self._compare(row, served, wanted)
        if differs:
            self._different += 1
            if len(self.kept) < _ROWS_KEPT:
                self.kept.append(DifferentRow(row=row, served=served, wanted=wanted))

    def _compare(self, row: int, served: Array, wanted: Array) -> bool:
        texts = served.dtype == object, wanted.dtype == object
        if served.shape != wanted.shape or any(texts) != all(texts):
            return self._unlike(row, served, wanted)
        return self._compare_texts(row, served, wanted) if all(texts) else self._compare_numbers(row, served, wanted)

    def _unlike(self, row: int, served: Array, wanted: Array) -> bool:
        if self._absolute < np.inf:
            self._absolute = self._relative = np.inf
            self._worst = (row, (), _type_words(served, with_shape=True), _type_words(wanted, with_shape=True))
        return True

    def _compare_texts(self, row: int, served: Array, wanted: Array) -> bool:
        differs = np.asarray(served != wanted, dtype=bool)
        if not differs.any():
            return False
        self._absolute = self._relative = np.inf
        at = tuple(int(place) for place in np.argwhere(differs)[0])
        self._worst = self._worst or (row, at, _word(served[at]), _word(wanted[at]))
        return True

    def _compare_numbers(self, row: int, served: Array, wanted: Array) -> bool:
        distance, reference = distances(served, wanted), wanted.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(distance == 0, 0.0, distance / np.abs(reference))
        if distance.size and distance.max() > self._absolute:
            self._absolute = float(distance.max())
            at = tuple(int(place) for place in np.unravel_index(int(distance.argmax()), distance.shape))
            self._worst = (row, at, _word(served[at]), _word(wanted[at]))
        finite = relative[np.isfinite(relative)]
        self._relative = max(self._relative, float(finite.max(initial=0.0)))
        return bool((distance > self._allowed(served, reference)).any())

    def _allowed(self, served: Array, reference: NDArray[np.float64]) -> Any:
        if served.dtype.kind != "f" and self.exact_integers:
            return 0.0
        tolerance = self.tolerance.at(reference)
        return tolerance.absolute + tolerance.relative * np.nan_to_num(np.abs(reference))

    def result(self, looks_like: str = "") -> WireSkew:
        """What was found over all rows."""
        row, at, served, wanted = self._worst or (None, (), "", "")
        is_exact = self._datatype not in ("float16", "float32", "float64") and self.exact_integers
        return WireSkew(
            wire=self.wire,
            step=self.step,
            is_final=self.is_final,
            datatype=self._datatype,
            shape=self._shape,
            rows=self._rows,
            rows_that_differ=self._different,
            largest_absolute=self._absolute,
            largest_relative=self._relative,
            worst_row=row,
            worst_index=at,
            served=served,
            wanted=wanted,
            allowed="it must be equal" if is_exact else f"{self.tolerance.words} is allowed",
            looks_like=looks_like,
        )


def distances(found: Array, wanted: Array) -> NDArray[np.float64]:
    """How far apart numbers of one shape are, 0 only where they are equal; whole ones are not rounded before."""
    kinds, common = {found.dtype.kind, wanted.dtype.kind}, np.result_type(found, wanted)
    if "f" not in kinds and common.kind != "f":
        return _between_integers(found.astype(common), wanted.astype(common))
    if kinds & {*"iu"} and max(_largest(found), _largest(wanted)) >= _EXACT_IN_FLOATS and found.dtype.kind != "f":
        return _between_objects(found.astype(object), wanted.astype(object))
    numbers, reference = found.astype(np.float64), wanted.astype(np.float64)
    same = (numbers == reference) | (np.isnan(numbers) & np.isnan(reference))
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.where(same, 0.0, np.abs(numbers - reference)), nan=np.inf)


def _between_integers(found: Array, wanted: Array) -> NDArray[np.float64]:
    if found.dtype.kind == "b":
        return np.asarray(found != wanted, dtype=np.float64)
    larger, smaller = np.maximum(found, wanted), np.minimum(found, wanted)
    apart = larger.astype(np.uint64) - smaller.astype(np.uint64)  # the wrapping undoes itself
    return apart.astype(np.float64)


def _between_objects(found: Array, wanted: Array) -> NDArray[np.float64]:
    """Of Python's numbers, which compare an integer with a float exactly."""
    pairs = zip(found.ravel(), wanted.ravel(), strict=True)
    apart = [0.0 if ours == theirs else max(abs(float(ours) - float(theirs)), 1.0) for ours, theirs in pairs]
    return np.nan_to_num(np.array(apart, dtype=np.float64), nan=np.inf).reshape(found.shape)


def _largest(array: Array) -> float:
    """Without its sign, rounded as floats are."""
    numbers = np.abs(array.astype(np.float64))
    return float(numbers[np.isfinite(numbers)].max(initial=0.0))


def _alike(wanted: Array, served: Array) -> Array:
    """In the served shape, where the two differ in dimensions of size 1 around it only."""
    if wanted.shape == served.shape or _without_ones(wanted.shape) != _without_ones(served.shape):
        return wanted
    around = len(wanted.shape) <= 1 or len(served.shape) <= 1 or abs(wanted.ndim - served.ndim) == 1
    return wanted.reshape(served.shape) if around else wanted


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _type_words(array: Array, *, with_shape: bool = False) -> str:
    name = "BYTES" if array.dtype == object else str(array.dtype)
    return f"{name} {list(array.shape)}" if with_shape else name


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        text = value.decode(errors="backslashreplace")
        return repr(text if len(text) <= _TEXT_SHOWN else text[: _TEXT_SHOWN - 1] + "…")
    plain = value.item() if isinstance(value, np.generic) else value
    return f"{plain:.6g}" if isinstance(plain, float) else str(plain)
