# SPDX-License-Identifier: Apache-2.0
"""Columns of a table in the order that a tensor has them."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from repo_client._errors import ShapeError
from repo_client._names import quoted
from repo_client._refusals import Target

Column = tuple[str, Any]  # its name, and its values in whatever a library has them


def column_order(names: Sequence[str], target: Target) -> list[int]:
    """Where in a table the model's columns are, in the order it was trained on; all as they are if none was published.

    Columns that are only counted (0, 1, 2 ...) have no names to go by, unless the model's are such numbers too.

    Raises:
        ShapeError: columns that are missing, unknown or there twice.
    """
    wanted = target.tensor.columns
    if wanted and sorted(names) == sorted(wanted):
        return [names.index(name) for name in wanted]
    if not wanted or _are_counted(names):
        return [*range(len(names))]
    raise _wrong_columns(names, target)


def _are_counted(names: Sequence[str]) -> bool:
    return all(name == str(at) for at, name in enumerate(names))


def _wrong_columns(names: Sequence[str], target: Target) -> ShapeError:
    columns = target.tensor.columns
    lists = {
        "missing": [name for name in columns if name not in names],
        "unknown": [name for name in names if name not in columns],
        "there twice": sorted({name for name in names if names.count(name) > 1}),
    }
    found = "; ".join(f"{what}: {quoted(which)}" for what, which in lists.items() if which)
    return ShapeError(
        f"{target.place}: the columns are not those that the model was trained on ({found})",
        hint=f"pass a table of {quoted(columns)}, in any order",
        facts=target.facts(quoted(columns), quoted(names)),
    )


def as_column(array: NDArray[Any], target: Target) -> NDArray[Any]:
    """One column as it goes into a tensor of one column, ``[n]`` into ``[n, 1]``; within a table it stays as it is."""
    shape = target.tensor.shape
    if array.ndim == 1 and len(shape) == 2 and shape[1] == 1 and not target.column:
        return array.reshape(-1, 1)
    return array
