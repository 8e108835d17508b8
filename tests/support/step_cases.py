# SPDX-License-Identifier: Apache-2.0
"""A processing step on rows that it can work on, for the conformance suite over all steps."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.wire import Wire

ROWS = 5  # of every case


@dataclass(frozen=True)
class Case:
    """Five rows: an array for each input, or a list of five arrays whose sizes differ in each free dimension.

    ``files`` are parameters that are files, by name: ``{"vocabulary": ("words.txt", b"...")}``.
    """

    inputs: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)


def step_of(key: str) -> str:
    """The step of a case, whose key is ``step`` or ``step: what is special``."""
    return key.partition(":")[0]


def step_for(key: str, case: Case) -> Any:
    """The step with the parameters of the case."""
    return step_kind(step_of(key)).with_parameters(given_parameters(case))


def given_parameters(case: Case) -> dict[str, Any]:
    """With its files written where nothing else is."""
    folder = Path(tempfile.mkdtemp())
    for name, content in case.files.values():
        (folder / name).write_bytes(content)
    return {**case.parameters, **{parameter: folder / name for parameter, (name, _) in case.files.items()}}


def wires_of(case: Case) -> dict[str, Wire]:
    """What the inputs of the case are."""
    return {name: _wire(rows) for name, rows in case.inputs.items()}


def _wire(rows: Any) -> Wire:
    if isinstance(rows, np.ndarray):
        return Wire(DataType.from_numpy(rows.dtype), rows.shape[1:])
    sizes = zip(*(row.shape for row in rows), strict=True)
    return Wire(DataType.from_numpy(rows[0].dtype), tuple(size[0] if len(set(size)) == 1 else -1 for size in sizes))


def rows_of_bytes(*values: bytes) -> np.ndarray:
    """BYTES [1]: one value a row."""
    rows = np.empty((len(values), 1), dtype=object)
    rows[:, 0] = values
    return rows


def list_of_rows(shapes: Sequence[tuple[int, ...]], dtype: Any, seed: int = 3) -> list[np.ndarray]:
    """Random rows of different sizes."""
    generator = np.random.default_rng(seed)
    return [(generator.random(shape) * 255).astype(dtype) for shape in shapes]


def complaint_of(step: Any, inputs: Mapping[str, Any]) -> str | None:
    """What it refuses the rows for; None where it has an answer for each of them."""
    try:
        answers = step.run(inputs)
    except ValueError as error:
        return str(error)
    assert {len(rows) for rows in answers.values()} == {len(rows) for rows in inputs.values()}
    return None
