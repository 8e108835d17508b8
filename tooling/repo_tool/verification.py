# SPDX-License-Identifier: Apache-2.0
"""The same rows through the framework and through the server: how far apart are the answers?"""

__all__ = ["OutputParity", "Parity", "Tolerance", "batch_sizes", "require_parity", "verify"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.errors import ParityError
from repo_tool.samples import Array, Sample, Tensors

Infer = Callable[[Tensors], Tensors]

_MOST_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Floats agree when ``|served - reference| <= absolute + relative * |reference| + scale * largest``.

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

    def at(self, sample: "Sample", output: str) -> "Tolerance":
        """The same for one output, its scale made a number."""
        if not self.scale:
            return self
        values = sample.outputs[output].astype(np.float64)
        largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        return Tolerance(absolute=self.absolute + self.scale * largest, relative=self.relative)


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
    tolerances = {
        tensor.name: tolerance.at(sample, tensor.name) if _is_float(tensor) else tolerance for tensor in config.outputs
    }
    comparisons = {tensor.name: _Comparison(config, tensor, tolerances[tensor.name]) for tensor in config.outputs}
    ties = _labels_of_ties(config, sample, tolerances)
    for rows in _requests(config, sample):
        part = sample if rows is None else sample.take(rows)
        served = infer(part.inputs)
        for name, comparison in comparisons.items():
            comparison.add(served[name], part.outputs[name], rows, ties.get(name, {}))
    batching = config.max_batch_size > 0
    return Parity(
        batch_sizes=batch_sizes(config.max_batch_size),
        rows=min(sample.rows, _MOST_ROWS) if batching else 1,
        outputs=tuple(comparison.result() for comparison in comparisons.values()),
    )


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


def _labels_of_ties(
    config: ModelConfig, sample: Sample, tolerances: Mapping[str, Tolerance]
) -> dict[str, dict[int, frozenset[Any]]]:
    """For each label output, the labels that are right in rows whose best classes are equally good.

    Which label belongs to which class is read off the rows without a tie; scores for which that gives no clear answer
    are no scores of this label, and excuse nothing.
    """
    found: dict[str, dict[int, frozenset[Any]]] = {}
    labels = [tensor for tensor in config.outputs if sample.outputs[tensor.name].ndim == 1 and not _is_float(tensor)]
    for tensor in (tensor for tensor in config.outputs if _is_float(tensor)):
        scores, tolerance = sample.outputs[tensor.name].astype(np.float64), tolerances[tensor.name]
        if scores.ndim != 2 or scores.shape[1] < 2:
            continue
        best = scores.max(axis=1, keepdims=True)
        is_best = best - scores <= tolerance.absolute + tolerance.relative * np.abs(best)
        for label in labels:
            words = sample.outputs[label.name].tolist()
            if len(words) != len(scores):
                continue  # without batching the first dimension need not be rows
            found.setdefault(label.name, {}).update(_right_labels(is_best, words))
    return found


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


def _is_float(tensor: ModelTensor) -> bool:
    return tensor.datatype is not None and tensor.datatype.is_float


class _Comparison:
    """Collects the largest differences of one output."""

    def __init__(self, config: ModelConfig, tensor: ModelTensor, tolerance: Tolerance) -> None:
        self._config, self._tensor, self._tolerance = config, tensor, tolerance
        self._absolute, self._relative, self._worst_row = 0.0, 0.0, 0
        self._equal, self._complaint = True, ""
        self._ties: set[int] = set()

    def add(
        self, served: Array, reference: Array, rows: NDArray[np.intp] | None, ties: Mapping[int, frozenset[Any]]
    ) -> None:
        """Compare one request's output; ``rows`` are its rows of the sample, ``ties`` the labels right in some."""
        wanted = self._wire_shape(reference)
        if served.shape != wanted:
            self._fail(f"shape {list(served.shape)} is served, {list(wanted)} was expected")
            return
        reference = reference.reshape(wanted)
        if _is_float(self._tensor):
            self._add_floats(served.astype(np.float64), reference.astype(np.float64), rows)
        else:
            self._add_exact(served, self._without_ties(served, reference, rows, ties), rows)

    def _without_ties(
        self, served: Array, reference: Array, rows: NDArray[np.intp] | None, ties: Mapping[int, frozenset[Any]]
    ) -> Array:
        """The reference, with what was served in the tied rows where another label is as right."""
        if not ties:
            return reference
        excused = reference.copy()
        for at, row in enumerate(range(len(reference)) if rows is None else rows.tolist()):
            if served[at].item() != reference[at].item() and served[at].item() in ties.get(row, ()):
                excused[at] = served[at]
                self._ties.add(row)
        return excused

    def _wire_shape(self, reference: Array) -> tuple[int, ...]:
        """What Triton answers for ``reference``: a single value a row has a dimension of its own on the wire."""
        if self._tensor.reshape == ():
            return (*reference.shape, 1)
        return reference.shape or (1,)

    def _add_floats(self, served: Array, reference: Array, rows: NDArray[np.intp] | None) -> None:
        same = (served == reference) | (np.isnan(served) & np.isnan(reference))
        with np.errstate(invalid="ignore", divide="ignore"):
            distance = np.where(same, 0.0, np.abs(served - reference))
            relative = np.where(same, 0.0, distance / np.abs(reference))
        distance = np.nan_to_num(distance, nan=np.inf)
        allowed = self._tolerance.absolute + self._tolerance.relative * np.nan_to_num(np.abs(reference))
        self._equal = self._equal and bool(np.all(distance <= allowed))
        if distance.size and distance.max() >= self._absolute:
            self._absolute = float(distance.max())
            self._worst_row = _row_of(distance, rows)
        finite = relative[np.isfinite(relative)]
        self._relative = max(self._relative, float(finite.max(initial=0.0)))

    def _add_exact(self, served: Array, reference: Array, rows: NDArray[np.intp] | None) -> None:
        differs = np.asarray(served != reference)
        if not differs.any():
            return
        at = tuple(np.argwhere(differs)[0])
        self._worst_row = _row_of(differs, rows)
        if served.dtype.kind in "iu":
            self._absolute = float(np.abs(served.astype(np.float64) - reference.astype(np.float64)).max())
        self._fail(f"{served[at]!r} is served, {reference[at]!r} was expected")

    def _fail(self, complaint: str) -> None:
        self._equal = False
        self._complaint = self._complaint or complaint

    def result(self) -> OutputParity:
        """What was found over all requests."""
        return OutputParity(
            name=self._tensor.name,
            equal=self._equal,
            largest_absolute=self._absolute,
            largest_relative=self._relative,
            worst_row=self._worst_row,
            ties=len(self._ties),
            complaint=self._complaint,
        )


def _row_of(values: Array, rows: NDArray[np.intp] | None) -> int:
    if rows is None:
        return 0
    first = int(np.unravel_index(int(np.argmax(values)), values.shape)[0])
    return int(rows[first])


def require_parity(parity: Parity, *, model: str, framework: str, tolerance: Tolerance) -> None:
    """Nothing, when every output agrees.

    Raises:
        ParityError: naming the output, the largest difference and its row.
    """
    different: Sequence[OutputParity] = [output for output in parity.outputs if not output.equal]
    if not different:
        return
    worst = different[0]
    difference = worst.complaint or (
        f"largest absolute difference {worst.largest_absolute:.3g}, relative {worst.largest_relative:.3g}"
    )
    raise ParityError(
        f"'{model}' as served differs from {framework} in output '{worst.name}', most in sample row {worst.worst_row}",
        cause=f"{difference}; allowed is {tolerance.words}",
        next_step="nothing was published; look at that row, or allow more with --tolerance",
    )
