# SPDX-License-Identifier: Apache-2.0
"""Rows split into requests, and the answers put together again. No I/O."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from repo_client._answers import Answer
from repo_client._conversion import Array
from repo_client._errors import E, Facts, UnexpectedAnswerError, with_addition


def count_rows(arrays: Mapping[str, Array]) -> int:
    """The number of rows of checked inputs, which is the same for all."""
    return next((array.shape[0] for array in arrays.values()), 0)


def checked_rows(answer: Answer, rows: int) -> Answer:
    """The answer to so many rows.

    Raises:
        UnexpectedAnswerError: an output has more or fewer, so that nobody knows which is whose.
    """
    for name, array in answer.items():
        if array.shape[:1] != (rows,):
            received = f"{array.shape[0]} row{'s' * (array.shape[0] != 1)}" if array.ndim else "no rows"
            raise UnexpectedAnswerError(
                f"model '{answer.model_name}': output '{name}' has {received} for {rows}",
                hint="a model that batches gives one row for each; call infer_many, which gives the answers one by one",
                facts=Facts(
                    model=answer.model_name,
                    version=answer.model_version,
                    tensor=name,
                    expected=f"{rows} rows",
                    received=received,
                    request_id=answer.request_id,
                ),
            )
    return answer


def split(arrays: Mapping[str, Array], rows: int, size: int) -> Iterator[dict[str, Array]]:
    """Views of at most ``size`` rows, in order."""
    for start in range(0, rows, size):
        yield {name: array[start : start + size] for name, array in arrays.items()}


def joined(answers: Sequence[Answer], request_id: str | None) -> Answer:
    """One answer of all rows. Its ``model_version`` names every version that took part.

    Raises:
        UnexpectedAnswerError: outputs that differ in more than the number of rows.
    """
    first = answers[0]
    return Answer(
        model_name=first.model_name,
        model_version=", ".join(dict.fromkeys(answer.model_version for answer in answers)),
        request_id=request_id or "",
        outputs={name: _stacked(name, answers) for name in first},
    )


def _stacked(name: str, answers: Sequence[Answer]) -> Array:
    try:
        stacked: Array = np.concatenate([answer[name] for answer in answers])
    except (ValueError, KeyError) as error:
        model = answers[0].model_name
        raise UnexpectedAnswerError(
            f"model '{model}': the answers of one batch cannot be put together: output '{name}' differs in shape",
            hint="call infer_many, which gives the answers one by one",
            facts=Facts(model=model, tensor=name),
        ) from error
    stacked.flags.writeable = False
    return stacked


def told_rows(error: E, first: int, count: int) -> E:
    """``error`` of a part of a batch, which says what part: a model counts from the part's own first row."""
    return with_addition(error, f"in the request of rows {first} to {first + count - 1} of the batch")
