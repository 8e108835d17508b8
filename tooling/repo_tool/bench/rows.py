# SPDX-License-Identifier: Apache-2.0
"""Where the rows of a benchmark's requests come from."""

__all__ = ["RowSource", "file_rows", "published_rows"]

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from repo_tool.bench.served import ServedModel
from repo_tool.repository.layout import ModelRepository
from repo_tool.samples import bind, read_published_sample, read_raw_sample

RowSource = Callable[[ServedModel], Mapping[str, NDArray[Any]]]  # input name to array, the first dimension rows


def published_rows(repository: Path) -> RowSource:
    """The sample that was published with the very version that is served.

    The source raises ``RepositoryError`` where the repository lacks the model, and ``SampleError`` without a sample.
    """
    return lambda model: (
        read_published_sample(
            ModelRepository(repository).existing_model(model.name).sample_path(int(model.version))
        ).inputs
    )


def file_rows(path: Path) -> RowSource:
    """A sample file of the user's: npz, npy, csv, parquet or json rows; a table's columns go by name.

    The source raises ``SampleError`` where it does not read or does not fit the model's inputs.
    """
    return lambda model: bind(read_raw_sample(path), model.inputs, columns=model.columns, may_hold_more=False)
