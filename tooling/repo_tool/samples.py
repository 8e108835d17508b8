# SPDX-License-Identifier: Apache-2.0
"""Sample rows: read from what people have, bound to a model's inputs, published beside the model with its answers."""

__all__ = [
    "RawSample",
    "Sample",
    "bind",
    "generate",
    "has_header",
    "read_published_sample",
    "read_raw_sample",
    "write_published_sample",
]

import csv
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError, needs_extra
from repo_tool.signature import TensorSpec

Array = NDArray[Any]
Tensors = Mapping[str, Array]

GENERATED_ROWS = 16
GENERATED_FREE_DIMENSION = 4
_SEED = 20
_UNREADABLE = (ValueError, OSError, KeyError, EOFError, RecursionError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSample:
    """Rows as a file gave them, before any model says what they mean.

    ``tensors`` holds whole named tensors (npz, JSON rows of lists); ``columns`` named 1-D columns of a table (CSV,
    Parquet, JSON rows of scalars); ``array`` one tensor without a name (npy). Exactly one of them is filled.
    """

    origin: str
    tensors: Tensors = field(default_factory=dict)
    columns: Tensors = field(default_factory=dict)
    array: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows bound to a model's inputs, and the answers that the framework gave to them."""

    inputs: Tensors
    outputs: Tensors = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows the first input has; the first dimension is the batch."""
        return len(next(iter(self.inputs.values())))

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> "Sample":
        """Only the given rows, in that order; a row may be taken twice."""
        return Sample(
            inputs={name: array[rows] for name, array in self.inputs.items()},
            outputs={name: array[rows] for name, array in self.outputs.items()},
        )


def read_raw_sample(path: Path) -> RawSample:
    """Read an npz, npy, csv, parquet or json file of sample rows.

    Raises:
        SampleError: missing, empty, of another kind, or not readable as what its name says.
    """
    if not path.is_file():
        raise SampleError(f"no sample file at '{path}'", next_step="check the path given to --sample")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise SampleError(
            f"'{path.name}' is no kind of sample file that is known",
            cause=f"its name ends in '{path.suffix}'",
            next_step=f"save the rows as one of {known}",
        )
    try:
        return reader(path)
    except _UNREADABLE as error:
        objects = isinstance(error, ValueError) and "Object arrays" in str(error)  # in NumPy's words
        raise SampleError(
            f"'{path.name}' cannot be read as {path.suffix.lstrip('.')}",
            cause="it holds Python objects, which only pickle could read" if objects else str(error),
            next_step="save strings as np.array(values, dtype=str), and numbers as numbers"
            if objects
            else "save it again",
        ) from error


def _read_npz(path: Path) -> RawSample:
    with np.load(path, allow_pickle=False) as archive:
        return RawSample(origin=path.name, tensors={name: archive[name] for name in archive.files})


def _read_npy(path: Path) -> RawSample:
    return RawSample(origin=path.name, array=np.load(path, allow_pickle=False))


def _read_csv(path: Path) -> RawSample:
    with needs_extra("tables"):
        from pyarrow import csv as arrow
    if has_header(path):
        return _from_table(path, arrow.read_csv(path))
    table = arrow.read_csv(path, read_options=arrow.ReadOptions(autogenerate_column_names=True))
    return RawSample(origin=path.name, array=np.stack([column.to_numpy() for column in table.columns], axis=1))


def has_header(path: Path) -> bool:
    """Whether the first line names the columns: with words, or with the 0, 1, 2 … of a table whose maker gave none."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        first = next(csv.reader(stream), [])
    return any(map(_is_word, first)) or first == [str(number) for number in range(len(first))]


def _read_parquet(path: Path) -> RawSample:
    with needs_extra("tables"):
        from pyarrow import parquet
    return _from_table(path, parquet.read_table(path))


def _from_table(path: Path, table: Any) -> RawSample:
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    return RawSample(origin=path.name, columns=columns)


def _read_json(path: Path) -> RawSample:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not rows:
        raise ValueError("it must hold a list of rows, at least one")
    if not all(isinstance(row, dict) for row in rows):
        return RawSample(origin=path.name, array=_stack(rows))
    values = {name: [row[name] for row in rows] for name in rows[0]}
    scalar = all(not isinstance(value, list) for value in rows[0].values())
    arrays = {name: _stack(column) for name, column in values.items()}
    return RawSample(origin=path.name, columns=arrays) if scalar else RawSample(origin=path.name, tensors=arrays)


def _stack(values: list[Any]) -> Array:
    array = np.asarray(values)
    if array.dtype == object and all(value is None or type(value) in (int, float) for value in array.ravel()):
        return array.astype(np.float64)  # among numbers JSON's null is a missing one
    return array.astype(object) if array.dtype.kind == "U" else array


_READERS: dict[str, Callable[[Path], RawSample]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".json": _read_json,
}


def bind(
    raw: RawSample,
    inputs: Sequence[TensorSpec],
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    may_hold_more: bool = True,
) -> dict[str, Array]:
    """Give each input its rows, as arrays of the input's type whose first dimension counts the rows.

    Args:
        raw: the rows.
        inputs: the model's inputs.
        columns: for an input ``[-1, n]``, the names of its n columns where the framework remembers them; a table is
            then read by name, in any order. One whose first line holds numbers has no names, and is read as it is.
        may_hold_more: whether such a table may hold more columns than needed: the answers, in what was trained on.

    Raises:
        SampleError: a name is missing or left over, or a shape or type does not fit.
    """
    arrays = _assign(raw, inputs, columns or {}, may_hold_more=may_hold_more)
    bound = {tensor.name: _fit(raw, tensor, arrays[tensor.name]) for tensor in inputs}
    counts = {tensor.name: len(bound[tensor.name]) for tensor in inputs if tensor.has_free_first_dimension}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise SampleError(
            f"the inputs in '{raw.origin}' do not have the same number of rows, at least one",
            cause=", ".join(f"{name}: {count}" for name, count in counts.items()),
            next_step="give every input the same rows",
        )
    return bound


def _assign(
    raw: RawSample, inputs: Sequence[TensorSpec], columns: Mapping[str, Sequence[str]], *, may_hold_more: bool
) -> Tensors:
    names = [tensor.name for tensor in inputs]
    if raw.array is not None:
        if len(inputs) == 1:
            return {names[0]: raw.array}
        raise _wrong_names(raw, names, ["one array without a name"])
    if raw.columns and not set(names) <= set(raw.columns):
        if len(inputs) != 1:
            raise _wrong_names(raw, names, list(raw.columns))
        order = _ordered(raw, list(columns.get(names[0], ())), may_hold_more=may_hold_more)
        return {names[0]: _table(raw, inputs[0], order)}
    found = raw.columns or raw.tensors
    if set(names) - set(found) or (raw.tensors and set(found) - set(names)):
        raise _wrong_names(raw, names, list(found))
    return found


def _ordered(raw: RawSample, trained: list[str], *, may_hold_more: bool) -> list[str]:
    """The table's columns in the order that the model takes: that of its training, where it remembers their names.

    Raises:
        SampleError: columns are missing, or unknown to the model and not wanted.
    """
    found = list(raw.columns)
    if not trained or not (set(found) & set(trained) or any(map(_is_word, found))):
        return found
    missing = [name for name in trained if name not in raw.columns]
    unknown = [name for name in found if name not in trained]
    if not missing and (may_hold_more or not unknown):
        return trained
    lists = (("missing", missing), ("unknown", unknown))
    raise SampleError(
        f"the columns of '{raw.origin}' are not those that the model was trained on",
        cause="; ".join(f"{what}: {_some(names)}" for what, names in lists if names),
        next_step=f"give exactly {_some(trained)}, in any order",
    )


def _is_word(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return True
    return False


def _table(raw: RawSample, tensor: TensorSpec, order: Sequence[str]) -> Array:
    width = tensor.shape[1] if len(tensor.shape) == 2 else None
    if width not in (len(order), -1):
        raise SampleError(
            f"the columns of '{raw.origin}' do not fit input '{tensor.name}' of shape {list(tensor.shape)}",
            cause=f"the file has {len(order)} columns: {_some(order)}",
            next_step="give exactly the columns that the model was trained on",
        )
    return np.stack([raw.columns[name] for name in order], axis=1)


def _wrong_names(raw: RawSample, wanted: Sequence[str], found: Sequence[str]) -> SampleError:
    return SampleError(
        f"the tensors of '{raw.origin}' are not the model's inputs",
        cause=f"the model takes {_some(wanted)}; the file has {_some(found)}",
        next_step=f"save the sample with the names {_some(wanted)}",
    )


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _fit(raw: RawSample, tensor: TensorSpec, array: Array) -> Array:
    if len(tensor.shape) == 2 and tensor.shape[1] == 1 and array.ndim == 1:
        array = array[:, None]  # a column of a table is a row's single value
    fits = len(array.shape) == len(tensor.shape) and all(
        want in (-1, have) for want, have in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits:
        raise SampleError(
            f"'{raw.origin}' does not fit input '{tensor.name}'",
            cause=f"the model takes {list(tensor.shape)}, -1 being free; the file has {list(array.shape)}",
            next_step="the first dimension counts the rows; give the others as the model was trained",
        )
    return _cast(raw, tensor, array)


def _cast(raw: RawSample, tensor: TensorSpec, array: Array) -> Array:
    if tensor.datatype is DataType.BYTES:
        return as_bytes(array)
    wanted = tensor.datatype.numpy
    numeric = array.dtype.kind in "biuf"
    lossless = numeric and (tensor.datatype.is_float or bool(np.array_equal(array.astype(wanted), array)))
    if not lossless:
        raise SampleError(
            f"'{raw.origin}' holds {array.dtype} for input '{tensor.name}'",
            cause=f"the model takes {tensor.datatype.wire_name}, and the values would change",
            next_step=f"save that input as {wanted}",
        )
    return np.asarray(array.astype(wanted), order="C")  # keeps a scalar one


def as_bytes(array: Array) -> Array:
    """An array of any strings as the object array of bytes that BYTES tensors are in numpy."""
    flat = [value if isinstance(value, bytes) else str(value).encode() for value in array.ravel().tolist()]
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(array.shape)


def generate(inputs: Sequence[TensorSpec], *, rows: int = GENERATED_ROWS) -> dict[str, Array]:
    """Rows made up for inputs nobody gave a sample of: normal floats, small integers, always the same ones."""
    random = np.random.default_rng(_SEED)
    return {tensor.name: _generate_one(random, tensor, rows) for tensor in inputs}


def _generate_one(random: np.random.Generator, tensor: TensorSpec, rows: int) -> Array:
    shape = tuple(GENERATED_FREE_DIMENSION if size < 0 else size for size in tensor.shape)
    if tensor.has_free_first_dimension:
        shape = (rows, *shape[1:])
    if tensor.datatype.is_float:
        return random.standard_normal(shape).astype(tensor.datatype.numpy)
    numbers = random.integers(0, 2 if tensor.datatype is DataType.BOOL else 3, size=shape)
    return as_bytes(numbers) if tensor.datatype is DataType.BYTES else numbers.astype(tensor.datatype.numpy)


# --- the file published beside a model -------------------------------------------------------------------------------
#
# An npz whose keys are "inputs/<name>" and "outputs/<name>". numpy cannot store bytes of different lengths without
# pickle, so a BYTES tensor is stored as its concatenated bytes and their lengths.

_BYTES_SUFFIX, _LENGTHS_SUFFIX = ":bytes", ":lengths"


def write_published_sample(path: Path, sample: Sample, *, compress: bool = True) -> None:
    """Write ``sample`` to ``path`` (npz), readable without pickle."""
    arrays: dict[str, Array] = {}
    for group, tensors in (("inputs", sample.inputs), ("outputs", sample.outputs)):
        for name, array in tensors.items():
            arrays |= _stored(f"{group}/{name}", array)
    save = np.savez_compressed if compress else np.savez
    save(path, **arrays)


def _stored(key: str, array: Array) -> dict[str, Array]:
    if array.dtype != object:
        return {key: array}
    lengths = np.array([len(value) for value in array.ravel()], dtype=np.int64).reshape(array.shape)
    return {
        key + _BYTES_SUFFIX: np.frombuffer(b"".join(array.ravel()), dtype=np.uint8),
        key + _LENGTHS_SUFFIX: lengths,
    }


def read_published_sample(path: Path) -> Sample:
    """Read what ``write_published_sample`` wrote.

    Raises:
        SampleError: there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise SampleError(f"no sample at '{path}'", next_step="add the model with --sample FILE, or pass --sample here")
    try:
        with np.load(path, allow_pickle=False) as archive:
            stored = {key: archive[key] for key in archive.files}
        groups = _grouped(stored)
    except _UNREADABLE as error:
        raise SampleError(
            f"the sample at '{path}' is damaged", cause=str(error), next_step="add the model again"
        ) from error
    return Sample(inputs=groups["inputs"], outputs=groups["outputs"])


def _grouped(stored: Tensors) -> dict[str, dict[str, Array]]:
    """Inputs and outputs by name.

    Raises:
        ValueError: the archive holds something else.
        KeyError: the lengths of an array of texts are missing.
    """
    groups: dict[str, dict[str, Array]] = {"inputs": {}, "outputs": {}}
    for key in stored:
        group, _, name = key.removesuffix(_LENGTHS_SUFFIX).removesuffix(_BYTES_SUFFIX).partition("/")
        if group not in groups or not name:
            raise ValueError(f"it holds '{key}', and only inputs/NAME and outputs/NAME belong there")
        if not key.endswith(_LENGTHS_SUFFIX):
            groups[group][name] = _restored(key, stored)
    return groups


def _restored(key: str, stored: Tensors) -> Array:
    if not key.endswith(_BYTES_SUFFIX):
        return stored[key]
    lengths = stored[key.removesuffix(_BYTES_SUFFIX) + _LENGTHS_SUFFIX]
    data, ends = stored[key].tobytes(), np.cumsum(lengths.ravel())
    result = np.empty(lengths.size, dtype=object)
    result[:] = [data[end - length : end] for end, length in zip(ends, lengths.ravel(), strict=True)]
    return result.reshape(lengths.shape)
