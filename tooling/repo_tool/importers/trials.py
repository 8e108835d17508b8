# SPDX-License-Identifier: Apache-2.0
"""Rows tried out in process: which made-up ones a model takes, whether it answers each row by itself, and the same."""

__all__ = ["Trial", "batching", "other_lengths", "refuse_chance", "try_rows"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.rows import Rows, rows_for
from repo_tool.samples import Array, RawSample, Tensors, generate
from repo_tool.signature import FREE, ModelSignature, TensorSpec
from repo_tool.verification import ITSELF, Tolerance, disagreement

Answer = Callable[[Tensors], Tensors]

# (rows, size of every other free dimension): the usual made-up sample, one size for all, then what images are made of.
_SIZES = ((16, 4), (4, 4), (1, 1), (2, 16), (2, 32), (1, 64), (1, 224))
_LONGER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Rows that a model took, and what it answered."""

    rows: Rows
    answers: Tensors


def try_rows(sample: RawSample | None, inputs: Sequence[TensorSpec], answer: Answer) -> Trial:
    """Answer the sample; without one, the first made-up rows whose sizes the model takes.

    Raises:
        SampleError: the sample does not fit.
        SourceError: the model fails on the rows; on made-up ones, what it said to the first.
    """
    rows = _bound(sample, inputs)
    try:
        return Trial(rows=rows, answers=answer(rows.inputs))
    except SourceError:
        if not rows.generated:
            raise
        for made_up in _made_up(inputs):
            answers = _answers_or_none(answer, made_up)
            if answers is not None:
                return Trial(rows=Rows(inputs=made_up, generated=True), answers=answers)
        raise


def _bound(sample: RawSample | None, inputs: Sequence[TensorSpec]) -> Rows:
    """The sample's rows; free first dimensions of different sizes, or empty ones, are no batch and pass as they are."""
    try:
        return rows_for(sample, inputs)
    except SampleError:
        if sample is None or not {spec.name for spec in inputs} <= set(sample.tensors):
            raise
        pinned = [replace(spec, shape=_pinned(spec.shape, sample.tensors[spec.name])) for spec in inputs]
        return rows_for(sample, pinned)


def _pinned(shape: tuple[int, ...], array: Array) -> tuple[int, ...]:
    return (len(array), *shape[1:]) if shape[:1] == (FREE,) and array.ndim else shape


def _made_up(inputs: Sequence[TensorSpec]) -> Iterator[Tensors]:
    if all(FREE not in spec.shape for spec in inputs):
        return
    for rows, size in _SIZES[1:]:
        sized = [
            replace(spec, shape=(*spec.shape[:1], *(size if free < 0 else free for free in spec.shape[1:])))
            for spec in inputs
        ]
        yield generate(sized, rows=rows)


def _answers_or_none(answer: Answer, inputs: Tensors) -> Tensors | None:
    try:
        return answer(inputs)
    except SourceError:
        return None


def other_lengths(inputs: Sequence[TensorSpec], tensors: Tensors) -> Tensors | None:
    """The same rows, longer by three in each free dimension behind the first; None when there is no such dimension."""
    if not any(FREE in spec.shape[1:] for spec in inputs):
        return None
    return {spec.name: _longer(spec, tensors[spec.name]) for spec in inputs}


def _longer(spec: TensorSpec, array: Array) -> Array:
    """Real values again from the start, so that they stay ones that the model knows."""
    for axis, size in enumerate(spec.shape):
        if axis > 0 and size == FREE and array.shape[axis] > 0:
            array = np.take(array, np.arange(array.shape[axis] + _LONGER) % array.shape[axis], axis=axis)
    return array


def refuse_chance(answer: Answer, trial: Trial) -> None:
    """Ask again: a model whose answers change by themselves has none that a server could be held to.

    Raises:
        SourceError: the same rows are answered otherwise.
    """
    complaint = disagreement(answer(trial.rows.inputs), trial.answers, tolerance=ITSELF)
    if complaint:
        raise SourceError(
            f"the model answers the same rows differently each time: {complaint}",
            cause="it draws random numbers or counts its calls, so that no served answer can be compared with it",
            next_step="draw them only in training, or take them as an input",
        )


def batching(
    signature: ModelSignature, answer: Answer, trial: Trial, *, tolerance: Tolerance = ITSELF
) -> tuple[ModelSignature, tuple[str, ...]]:
    """The signature with batching switched off where rows are not answered one by one, and the note that says so.

    A free first dimension may be anything: a sequence, a number of boxes. What a server may batch is only a model that
    answers two rows alone as it answers them side by side.
    """
    if not signature.can_batch:
        return signature, ()
    why = _why_not_row_by_row(answer, trial, tolerance)
    if not why:
        return signature, ()
    return replace(signature, batches=False), (f"batching is off: {why}",)


def _why_not_row_by_row(answer: Answer, trial: Trial, tolerance: Tolerance) -> str:
    inputs, together = trial.rows.inputs, trial.answers
    count = len(next(iter(inputs.values())))
    if any(len(array) != count for array in inputs.values()):
        return "the first dimensions of its inputs are of different sizes"
    if count == 0:
        return "the sample holds no row to try it on"
    for name, array in together.items():
        if len(array) != count:
            return f"output '{name}' has {len(array)} rows for {count}"
    for rows in ([0], [count - 1], [0, count - 1], [0, 0, 0]):
        alone = _answers_or_none(answer, {name: array[rows] for name, array in inputs.items()})
        if alone is None:
            return f"the model takes {count} rows at once, and fails on {len(rows)}"
        beside = {name: array[rows] for name, array in together.items()}
        complaint = disagreement(alone, beside, tolerance=tolerance)
        if complaint:
            return f"a row's answer depends on the rows beside it ({complaint})"
    return ""
