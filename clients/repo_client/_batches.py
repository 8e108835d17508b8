# SPDX-License-Identifier: Apache-2.0
"""Rows split into requests, and the answers put together again. No I/O."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from repo_client._answers import Answer
from repo_client._conversion import Array
from repo_client._errors import BatchSizeError, Facts, UnexpectedAnswerError
from repo_client._signatures import ModelSignature


def count_rows(signature: ModelSignature, arrays: Mapping[str, Array]) -> int:
    """The number of rows of every input.

    Raises:
        BatchSizeError: the inputs do not have as many.
    """
    counts = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        received = ", ".join(f"{count} for '{name}'" for name, count in counts.items())
        raise BatchSizeError(
            f"model '{signature.name}': received rows: {received}; expected the same number for every input",
            hint="the first dimension counts the rows",
            facts=Facts(model=signature.name, tensor=next(iter(counts)), received=received),
        )
    return next(iter(counts.values()), 0)


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
