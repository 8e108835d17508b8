# SPDX-License-Identifier: Apache-2.0
"""Two answers to the same rows: how far apart are they, and is that more than rounding?

The one place that says so: of the framework and the server, of the framework and a converted graph in process, of a
model asked twice. Strings, integers and booleans must be equal; floats may differ by a ``Tolerance``.
"""

__all__ = ["ITSELF", "OutputParity", "Parity", "Tolerance", "batch_sizes", "disagreement", "require_parity", "verify"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.errors import ParityError
from repo_tool.samples import Array, Sample, Tensors

Infer = Callable[[Tensors], Tensors]

_MOST_ROWS = 256

# Between 1 and the next number: binary16 has 10 bits of fraction (IEEE 754, numpy.finfo), bfloat16 has 7.
_STEPS = {DataType.FP16: 2.0**-10, DataType.BF16: 2.0**-7}
_ROUNDINGS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Floats agree when ``|found - reference| <= absolute + relative * |reference| + scale * largest``.

    ``largest`` is the largest finite value of that output over the sample. All but floats must be equal.
    """

    absolute: float = 1e-4
    relative: float = 1e-4
    scale: float = 0.0  # for models in a lower precision, whose errors are a share of the whole range

    @property
    def words(self) -> str:
        """For a message."""
        scale = f" + {self.scale:g} of the output's largest" if self.scale else ""
        return f"{self.absolute:g} + {self.relative:g} of the value{scale}"

    def for_type(self, datatype: DataType | None) -> "Tolerance":
        """The same, but no finer than a type can hold that was computed in: eight of its steps.

        A step is the type's epsilon: 2**-10 for FP16 and 2**-7 for BF16, which makes 0.8 % and 6 %. Each operator
        rounds by half a step of the largest number that it adds up, hence also a share of the output's largest, and
        errors that fall at random grow with the square root of their number: eight steps are what some hundred
        operators leave. The steps of FP32 and FP64 are far below what is allowed anyway.
        """
        share = _ROUNDINGS * _STEPS.get(datatype, 0.0) if datatype else 0.0
        return replace(self, relative=max(self.relative, share), scale=max(self.scale, share))

    def at(self, reference: Array) -> "Tolerance":
        """The same for one output, its scale made a number."""
        if not self.scale or not _is_float(reference):
            return self
        values = reference.astype(np.float64)
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        return Tolerance(absolute=self.absolute + self.scale * largest, relative=self.relative)


# For a model against itself: its own rounding is as large as what it adds up, and nothing is converted.
ITSELF = Tolerance(scale=1e-4)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputParity:
    """One output over all the rows that were run; ``worst_row`` is the sample row of the largest difference."""

    name: str
    equal: bool
    largest_absolute: float
    largest_relative: float
    worst_row: int
    ties: int = 0  # rows whose label differs where the framework's best two classes were equally good
    complaint: str = ""  # what differs, where it is not a number's size
    allowed: str = ""  # of floats, in words

    @property
    def words(self) -> str:
        """How it differs, for a sentence about the output."""
        return self.complaint or f"differs by up to {self.largest_absolute:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The outcome: which batch sizes were run, over how many sample rows, and each output's differences."""

    batch_sizes: tuple[int, ...]
    rows: int
    outputs: tuple[OutputParity, ...]

    @property
    def equal(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.equal for output in self.outputs)

    @property
    def largest_absolute(self) -> float:
        """The largest difference of any output."""
        return max((output.largest_absolute for output in self.outputs), default=0.0)

    @property
    def summary(self) -> str:
        """What was run and how far apart it was, in one line."""
        sizes = ", ".join(map(str, self.batch_sizes))
        how = f"{self.rows} rows, batches of {sizes}" if sizes else "one request"
        ties = max((output.ties for output in self.outputs), default=0)
        return f"{how}: largest difference {self.largest_absolute:.2g}" + (f", {ties} ties" if ties else "")

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for provenance and for ``--json``."""
        return {"batch_sizes": list(self.batch_sizes), "rows": self.rows, "outputs": [asdict(o) for o in self.outputs]}


def batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """1, 2, 3 and the maximum: a graph that froze its batch dimension passes one of them, never all."""
    return tuple(sorted({size for size in (1, 2, 3, max_batch_size) if 0 < size <= max_batch_size}))


def verify(infer: Infer, config: ModelConfig, sample: Sample, *, tolerance: Tolerance) -> Parity:
    """Send the sample through ``infer`` in batches of 1, 2, 3 and the maximum, and compare with its outputs.

    A model that does not batch gets the sample as one request. At most 256 rows are compared. Where the reference's
    best two classes are equally good within the tolerance, either label is right: which one comes out hangs on the
    order in which floats were added.
    """
    wanted = {tensor.name: sample.outputs[tensor.name] for tensor in config.outputs}
    allowed = {tensor.name: tolerance.for_type(tensor.datatype) for tensor in config.outputs}
    comparisons = _comparisons(wanted, allowed)
    for rows in _requests(config, sample):
        part = sample if rows is None else sample.take(rows)
        served = infer(part.inputs)
        for tensor in config.outputs:
            comparisons[tensor.name].add(served[tensor.name], _on_the_wire(tensor, part.outputs[tensor.name]), rows)
    batching = config.max_batch_size > 0
    return Parity(
        batch_sizes=batch_sizes(config.max_batch_size),
        rows=min(sample.rows, _MOST_ROWS) if batching else 1,
        outputs=tuple(comparison.result() for comparison in comparisons.values()),
    )


def disagreement(found: Tensors, wanted: Tensors, *, tolerance: Tolerance | None = None) -> str:
    """How ``found`` is not ``wanted``, of the first output that differs; empty when they agree.

    The rules are those of ``verify``, so that what passes in process fails on the server for other reasons only.
    """
    allowed = {
        name: (tolerance or Tolerance()).for_type(DataType.FP16 if array.dtype == np.float16 else None)
        for name, array in wanted.items()
    }
    comparisons = _comparisons(wanted, allowed)
    for name, comparison in comparisons.items():
        if name not in found:
            return f"output '{name}' is missing"
        comparison.add(found[name], wanted[name], None)
        result = comparison.result()
        if not result.equal:
            return f"output '{name}' {result.words}"
    return ""


def _comparisons(wanted: Tensors, allowed: Mapping[str, Tolerance]) -> dict[str, "_Comparison"]:
    """One for each output; ``wanted`` are its answers to all the rows."""
    ties = _labels_of_ties(wanted, {name: allowed[name].at(array) for name, array in wanted.items()})
    return {
        name: _Comparison(name, allowed[name], allowed[name].at(array), ties.get(name, {}))
        for name, array in wanted.items()
    }


def _on_the_wire(tensor: ModelTensor, reference: Array) -> Array:
    """What Triton answers for ``reference``: a single value a row has a dimension of its own on the wire."""
    if tensor.reshape == ():
        return reference[..., np.newaxis]
    return reference if reference.ndim else reference[np.newaxis]


def _requests(config: ModelConfig, sample: Sample) -> Iterator[NDArray[np.intp] | None]:
    """The rows of each request; a sample too short for a batch is repeated to fill it."""
    if config.max_batch_size == 0:
        yield None
        return
    every = np.arange(min(sample.rows, _MOST_ROWS))
    for size in batch_sizes(config.max_batch_size):
        few = every if size == config.max_batch_size else every[: max(size, 8)]
        for start in range(0, len(few), size):
            yield few[np.arange(start, start + size) % len(few)]


def _labels_of_ties(wanted: Tensors, tolerances: Mapping[str, Tolerance]) -> dict[str, dict[int, frozenset[Any]]]:
    """For each label output, the labels that are right in rows whose best classes are equally good.

    Which label belongs to which class is read off the rows without a tie; scores for which that gives no clear answer
    are no scores of this label, and excuse nothing.
    """
    found: dict[str, dict[int, frozenset[Any]]] = {}
    labels = {name: array.tolist() for name, array in wanted.items() if array.ndim == 1 and not _is_float(array)}
    for name, scores in wanted.items():
        if not labels or not _is_float(scores) or scores.ndim != 2 or scores.shape[1] < 2:
            continue
        is_best = _best(scores.astype(np.float64), tolerances[name])
        for label, words in labels.items():
            if len(words) == len(scores):  # without batching the first dimension need not be rows
                found.setdefault(label, {}).update(_right_labels(is_best, words))
    return found


def _best(scores: Array, tolerance: Tolerance) -> NDArray[np.bool_]:
    """Which classes of each row are as good as its best."""
    best = scores.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # an infinite score is no further from itself than any other
        distance = np.where(scores == best, 0.0, best - scores)
    return np.asarray(distance <= tolerance.absolute + tolerance.relative * np.abs(best))


def _right_labels(is_best: NDArray[np.bool_], labels: Sequence[Any]) -> dict[int, frozenset[Any]]:
    clear = [row for row in range(len(labels)) if is_best[row].sum() == 1]
    pairs = {(int(is_best[row].argmax()), labels[row]) for row in clear}
    of_class = dict(pairs)
    if len(of_class) < len(pairs) or len(set(of_class.values())) < len(of_class):
        return {}
    return {
        row: frozenset(of_class[int(at)] for at in np.flatnonzero(is_best[row]) if int(at) in of_class)
        for row in range(len(labels))
        if is_best[row].sum() > 1
    }


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f"


class _Comparison:
    """Collects the largest differences of one output; ``ties`` are the labels that are right in some sample rows."""

    def __init__(
        self, name: str, tolerance: Tolerance, as_numbers: Tolerance, ties: Mapping[int, frozenset[Any]]
    ) -> None:
        self._name, self._tolerance, self._as_numbers, self._right = name, tolerance, as_numbers, ties
        self._absolute, self._relative, self._worst_row = 0.0, 0.0, 0
        self._equal, self._complaint = True, ""
        self._ties: set[int] = set()

    def add(self, found: Array, reference: Array, rows: NDArray[np.intp] | None) -> None:
        """Compare one request's output; ``rows`` are its rows of the sample, None for all."""
        if found.shape != reference.shape:
            self._fail(f"has the shape {list(found.shape)} instead of {list(reference.shape)}")
        elif _is_float(reference):
            self._add_floats(found.astype(np.float64), reference.astype(np.float64), rows)
        else:
            self._add_exact(found, self._without_ties(found, reference, rows), rows)

    def _without_ties(self, found: Array, reference: Array, rows: NDArray[np.intp] | None) -> Array:
        """The reference, with what was found in the tied rows where another label is as right."""
        if not self._right:
            return reference
        excused = reference.copy()
        for at, row in enumerate(range(len(reference)) if rows is None else rows.tolist()):
            label = found[at : at + 1].item()
            if label != reference[at : at + 1].item() and label in self._right.get(row, ()):
                excused[at] = found[at]
                self._ties.add(row)
        return excused

    def _add_floats(self, found: Array, reference: Array, rows: NDArray[np.intp] | None) -> None:
        same = (found == reference) | (np.isnan(found) & np.isnan(reference))
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = np.where(same, 0.0, np.abs(found - reference))
            relative = np.where(same, 0.0, distance / np.abs(reference))
        distance = np.nan_to_num(distance, nan=np.inf)
        allowed = self._as_numbers.absolute + self._as_numbers.relative * np.nan_to_num(np.abs(reference))
        self._equal = self._equal and bool(np.all(distance <= allowed))
        if distance.size and distance.max() >= self._absolute:
            self._absolute = float(distance.max())
            self._worst_row = _row_of(distance, rows)
        finite = relative[np.isfinite(relative)]
        self._relative = max(self._relative, float(finite.max(initial=0.0)))

    def _add_exact(self, found: Array, reference: Array, rows: NDArray[np.intp] | None) -> None:
        differs = np.asarray(found != reference)
        if not differs.any():
            return
        at = tuple(np.argwhere(differs)[0])
        self._worst_row = _row_of(differs, rows)
        if found.dtype.kind in "iu" and reference.dtype.kind in "iu":
            self._absolute = float(np.abs(found.astype(np.float64) - reference.astype(np.float64)).max())
        self._fail(f"is {_word(found[at])} instead of {_word(reference[at])}")

    def _fail(self, complaint: str) -> None:
        self._equal = False
        self._complaint = self._complaint or complaint

    def result(self) -> OutputParity:
        """What was found over all requests."""
        return OutputParity(
            name=self._name,
            equal=self._equal,
            largest_absolute=self._absolute,
            largest_relative=self._relative,
            worst_row=self._worst_row,
            ties=len(self._ties),
            complaint=self._complaint,
            allowed=self._tolerance.words,
        )


def _row_of(values: Array, rows: NDArray[np.intp] | None) -> int:
    if rows is None:
        return 0
    first = int(np.unravel_index(int(np.argmax(values)), values.shape)[0])
    return int(rows[first])


def _word(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def require_parity(parity: Parity, *, model: str, framework: str, tolerance: Tolerance) -> None:
    """Nothing, when every output agrees.

    Raises:
        ParityError: naming the output, the largest difference and its row.
    """
    different: Sequence[OutputParity] = [output for output in parity.outputs if not output.equal]
    if not different:
        return
    worst = different[0]
    difference = (worst.complaint and f"it {worst.complaint}") or (
        f"largest absolute difference {worst.largest_absolute:.3g}, relative {worst.largest_relative:.3g}"
    )
    raise ParityError(
        f"'{model}' as served differs from {framework} in output '{worst.name}', most in sample row {worst.worst_row}",
        cause=f"{difference}; allowed is {worst.allowed or tolerance.words}",
        next_step="nothing was published; look at that row, or allow more with --tolerance",
    )
