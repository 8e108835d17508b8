# SPDX-License-Identifier: Apache-2.0
"""Raw rows for a pipeline: a folder of files, one file, lines, JSON documents, or a table of its inputs."""

__all__ = ["Form", "PipelineRows", "read_pipeline_rows"]

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError
from repo_tool.pipelines.wire import Wire
from repo_tool.samples import Array, RawSample, Tensors, bind, has_header, read_raw_sample
from repo_tool.signature import TensorSpec

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_AUDIO = (".wav", ".flac", ".ogg", ".mp3")
_FAMILIES = (_IMAGES, _AUDIO, (".txt",), (".json",))  # of files that are a row each; of several the first is meant
_ONE_ROW = (*_IMAGES, *_AUDIO)
_WHOLE_LINES = (".txt", ".jsonl")


class Form(StrEnum):
    """What a BYTES input was in the raw sample, which is how a training script meets it."""

    FILE = "bytes"
    TEXT = "text"
    DOCUMENT = "document"  # a JSON object


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRows:
    """Arrays by the names of the pipeline's inputs; the first dimension counts the rows."""

    origin: str
    inputs: Tensors
    forms: Mapping[str, Form] = field(default_factory=dict)  # of BYTES inputs

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.inputs.values())))

    def take(self, start: int, end: int) -> dict[str, Array]:
        """Some of the rows, as a request carries them."""
        return {name: array[start:end] for name, array in self.inputs.items()}


def read_pipeline_rows(
    path: Path,
    inputs: Mapping[str, Wire],
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    count: int | None = None,
) -> PipelineRows:
    """Read the rows and give each input its own.

    A pipeline with one input BYTES [1] takes whatever makes a row of bytes: each file of a folder, a picture or a sound
    by itself, each line of a ``.txt``, ``.jsonl`` or ``.csv`` file, each object of a JSON list. Everything else, and a
    table with a column of the input's name, is read as the sample of a model is.

    Args:
        path: the file or folder.
        inputs: the pipeline's.
        columns: of an input that takes a table, in their order.
        count: how many rows there must be; None or -1: any number.

    Raises:
        SampleError: it cannot be read, or does not fit the inputs.
    """
    names = [name for name, wire in inputs.items() if wire == Wire(DataType.BYTES, (1,))]
    if len(inputs) == 1 and names and (rows := _rows_of_bytes(path, names[0])):
        return rows
    if path.is_dir():
        raise SampleError(
            f"a folder of files cannot be the rows of inputs {', '.join(inputs)}",
            cause="each file is one row of one input BYTES [1]",
            next_step="save the rows as npz, json, csv or parquet, by the names of the inputs",
        )
    return _bound(read_raw_sample(path), path.name, inputs, columns, count)


def _bound(
    raw: RawSample,
    origin: str,
    inputs: Mapping[str, Wire],
    columns: Mapping[str, Sequence[str]] | None,
    count: int | None,
) -> PipelineRows:
    """As the sample of a model is."""
    specs = [
        TensorSpec(name=name, datatype=wire.datatype, shape=(count or -1, *wire.dims)) for name, wire in inputs.items()
    ]
    texts = [name for name, wire in inputs.items() if wire.datatype is DataType.BYTES]
    tensors = bind(raw, specs, columns=columns)
    return PipelineRows(origin=origin, inputs=tensors, forms={name: _form(raw, name) for name in texts})


def _rows_of_bytes(path: Path, name: str) -> PipelineRows | None:
    """None for what is read as the sample of any model."""
    if path.is_dir():
        files = _files(path)
        form = {".txt": Form.TEXT, ".json": Form.DOCUMENT}.get(files[0].suffix.lower(), Form.FILE)
        return _rows(path, name, [file.read_bytes() for file in files], form)
    suffix = path.suffix.lower()
    if path.is_file() and suffix in _ONE_ROW:
        return _rows(path, name, [path.read_bytes()], Form.FILE)
    if path.is_file() and suffix in _WHOLE_LINES:
        lines = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
        return _rows(path, name, lines, Form.DOCUMENT if suffix == ".jsonl" else Form.TEXT)
    if path.is_file() and suffix == ".json" and (documents := _documents(path, name)):
        return _rows(path, name, documents, Form.DOCUMENT)
    if path.is_file() and suffix == ".csv" and (lines := _csv_lines(path, name)):
        return _rows(path, name, lines, Form.TEXT)
    return None


def _files(folder: Path) -> list[Path]:
    """Those of the first family that the folder has, by name."""
    entries = [entry for entry in sorted(folder.iterdir()) if entry.is_file()]
    for family in _FAMILIES:
        if found := [entry for entry in entries if entry.suffix.lower() in family]:
            return found
    known = ", ".join(suffix for family in _FAMILIES for suffix in family)
    raise SampleError(
        f"no sample in '{folder}'",
        cause=f"no file's name ends in one of {known}",
        next_step="pass a folder of pictures, sounds or texts, each of them a row",
    )


def _documents(path: Path, name: str) -> list[bytes]:
    """The objects of a JSON list, each as text again; none where they have a key of the input's name."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []  # reading it as a sample says what is wrong
    if not isinstance(rows, list) or not all(isinstance(row, dict) and name not in row for row in rows):
        return []
    return [json.dumps(row, ensure_ascii=False).encode() for row in rows]


def _csv_lines(path: Path, name: str) -> list[bytes]:
    """The lines below the one that names the columns; none where one of these has the input's name."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        fields = next(csv.reader(lines[:1]), [])
    except (OSError, ValueError, csv.Error):
        return []  # reading it as a sample says what is wrong
    return [] if name in fields else [line.encode() for line in lines[has_header(path) :]]


def _rows(path: Path, name: str, values: Sequence[bytes], form: Form) -> PipelineRows:
    if not values:
        raise SampleError(f"'{path}' holds no row", next_step="give at least one")
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return PipelineRows(origin=path.name, inputs={name: array}, forms={name: form})


def _form(raw: RawSample, name: str) -> Form:
    """Text where the file had text: numpy knows it from bytes, and JSON and tables have nothing else."""
    array = (raw.tensors or raw.columns).get(name, raw.array)
    if array is None or array.dtype.kind == "U":
        return Form.TEXT
    first: Any = array.ravel()[:1].tolist()
    return Form.FILE if first and isinstance(first[0], bytes) else Form.TEXT
