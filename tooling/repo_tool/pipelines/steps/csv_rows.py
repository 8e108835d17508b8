# SPDX-License-Identifier: Apache-2.0
"""Read a line of CSV a row into typed columns: a tensor for each, or one table of numbers."""

import csv
import io
import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
Datatype = Literal["FP32", "FP64", "INT32", "INT64", "UINT8", "BYTES"]

_LARGEST = {
    "FP32": 3.4028235677973362e38,
    "FP64": 1.7976931348623157e308,
}  # what a float32 still rounds to a finite one
_LONGEST = 100  # characters of a whole number; some length Python refuses to read
# Python would read 1_000 and the digits of any script, too.
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class CsvRows:
    """``header`` names the fields of a line; what neither ``columns`` nor ``table`` has is left out.

    Each of ``columns`` becomes a tensor ``[1]`` of its name; those of ``table`` are side by side in one, ``table``. An
    empty field, or one of ``empty_words``, takes the column's value in ``defaults``; else it is refused, or with
    ``missing: empty`` it is NaN among floats and the empty text among texts.
    """

    header: list[str]
    columns: dict[str, Datatype] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)
    table_datatype: Literal["FP32", "FP64"] = "FP32"
    defaults: dict[str, str] = field(default_factory=dict)
    missing: Literal["refuse", "empty"] = "refuse"
    empty_words: list[str] = field(default_factory=list)
    delimiter: str = ","
    most_bytes: int = 100_000

    def __post_init__(self) -> None:
        names = [*self.columns, *self.table]
        if not names or len(set(names)) < len(names) or (self.table and "table" in self.columns):
            raise ValueError("columns and table name each column once, and one at least")
        if len(set(self.header)) < len(self.header):
            raise ValueError("header names a field twice")
        absent = [name for name in names if name not in self.header]
        if absent:
            raise ValueError(f"'{absent[0]}' is not in the header")
        if len(self.delimiter) != 1:
            raise ValueError("delimiter is one character")
        if self.most_bytes < 1:
            raise ValueError(f"most_bytes is {self.most_bytes}, and must be 1 at least")
        self._check_defaults()

    def _check_defaults(self) -> None:
        for name, text in self.defaults.items():
            if name not in self._datatypes:
                raise ValueError(f"defaults: '{name}' is no column")
            _typed(f"defaults: '{name}'", text, self._datatypes[name])

    def outputs(self, inputs: Wires) -> Wires:
        """Typed as the parameters say."""
        if inputs["row"] != ("BYTES", (1,)):
            raise ValueError(f"'row' must be BYTES [1], one line of CSV a row; it is {inputs['row']}")
        table: Wires = {"table": (self.table_datatype, (len(self.table),))} if self.table else {}
        return {**{name: (datatype, (1,)) for name, datatype in self.columns.items()}, **table}

    def run(self, row: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        made = {name: np.empty((len(row), 1), dtype=_dtype(datatype)) for name, datatype in self.columns.items()}
        table = np.empty((len(row), len(self.table)), dtype=_dtype(self.table_datatype))
        for index, (line,) in enumerate(row):
            fields = dict(zip(self.header, self._fields(index, line), strict=True))
            values = {
                name: self._value(index, name, datatype, fields[name]) for name, datatype in self._datatypes.items()
            }
            for name, array in made.items():
                array[index, 0] = values[name]
            table[index] = [values[name] for name in self.table]
        return {**made, "table": table} if self.table else dict(made)

    @cached_property
    def _datatypes(self) -> dict[str, str]:
        return {**self.columns, **dict.fromkeys(self.table, self.table_datatype)}

    def _fields(self, index: int, line: bytes) -> list[str]:
        if len(line) > self.most_bytes:
            raise ValueError(f"row {index}: it has {len(line)} bytes, and at most {self.most_bytes} are taken")
        csv.field_size_limit(max(self.most_bytes, csv.field_size_limit()))  # 131,072 characters else
        try:
            text = io.StringIO(line.decode(), newline="")
            lines = list(csv.reader(text, delimiter=self.delimiter, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"row {index}: not a line of CSV ({error})") from error
        if len(lines) != 1:
            raise ValueError(f"row {index}: it holds {len(lines)} lines of CSV, and must hold one")
        if len(lines[0]) != len(self.header):
            raise ValueError(f"row {index}: it has {len(lines[0])} fields, and the header {len(self.header)}")
        return lines[0]

    def _value(self, index: int, name: str, datatype: str, text: str) -> Any:
        if text.strip() and text.strip() not in self.empty_words:
            return _typed(f"row {index}: column '{name}'", text, datatype)
        if name in self.defaults:
            return _typed(f"row {index}: column '{name}'", self.defaults[name], datatype)
        if self.missing == "empty" and datatype in ("FP32", "FP64", "BYTES"):
            return b"" if datatype == "BYTES" else math.nan
        raise ValueError(f"row {index}: column '{name}' is empty")


def _typed(place: str, text: str, datatype: str) -> Any:
    return text.encode() if datatype == "BYTES" else _number(place, text.strip(), datatype)


def _number(place: str, text: str, datatype: str) -> float:
    shown = text[:40] if text.isprintable() else "unprintable"
    is_float = datatype in _LARGEST
    if not (_NUMBER if is_float else _WHOLE).fullmatch(text):
        raise ValueError(f"{place} is '{shown}', not a {'' if is_float else 'whole '}number")
    number = float(text) if is_float else int(text) if len(text) <= _LONGEST else math.inf
    if is_float and not abs(number) <= _LARGEST[datatype]:
        raise ValueError(f"{place} is '{shown}', no finite {datatype}")
    if not is_float and not np.iinfo(_dtype(datatype)).min <= number <= np.iinfo(_dtype(datatype)).max:
        raise ValueError(f"{place} is {shown}, out of the range of {datatype}")
    return number


def _dtype(datatype: str) -> Any:
    names = {"FP32": "float32", "FP64": "float64", "BYTES": "object_"}
    return getattr(np, names.get(datatype, datatype.lower()))
