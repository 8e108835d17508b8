# SPDX-License-Identifier: Apache-2.0
"""Read a JSON object a row into typed columns: a tensor for each, or one table of numbers."""

import difflib
import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
Datatype = Literal["FP32", "FP64", "INT32", "INT64", "UINT8", "BOOL", "BYTES"]

_DEEPEST = 64
_MOST_NAMES = 1000  # to look for the nearest one among; a client waits longer for it where there are more
_LARGEST = {
    "FP32": 3.4028235677973362e38,
    "FP64": 1.7976931348623157e308,
}  # what a float32 still rounds to a finite one
_WORDS = {bool: "a truth value", str: "a text", list: "a list", dict: "an object", type(None): "null"}


@dataclass(frozen=True, kw_only=True)
class JsonRows:
    """Each of ``columns`` becomes a tensor ``[1]`` of its name; those of ``table`` are side by side in one, ``table``.

    A key that a row lacks, or whose value is null or NaN, takes the column's value in ``defaults``; else it is refused,
    or with ``missing: empty`` it is NaN among floats and the empty text among texts, for a step or model that imputes.
    """

    columns: dict[str, Datatype] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)
    table_datatype: Literal["FP32", "FP64"] = "FP32"
    defaults: dict[str, bool | int | float | str] = field(default_factory=dict)
    missing: Literal["refuse", "empty"] = "refuse"
    unknown: Literal["refuse", "ignore"] = "refuse"
    most_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        names = [*self.columns, *self.table]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names or (self.table and "table" in self.columns):
            raise ValueError(f"columns and table name each column once, and one at least; twice: {', '.join(twice)}")
        if self.most_bytes < 1:
            raise ValueError(f"most_bytes is {self.most_bytes}, and must be 1 at least")
        for name in self.defaults:
            if name not in names:
                raise ValueError(f"defaults: '{name}' is no column")
            _typed(f"defaults: '{name}'", self.defaults[name], self._datatypes[name])

    def outputs(self, inputs: Wires) -> Wires:
        """Typed as the parameters say."""
        if inputs["row"] != ("BYTES", (1,)):
            raise ValueError(f"'row' must be BYTES [1], one JSON object a row; it is {inputs['row']}")
        table: Wires = {"table": (self.table_datatype, (len(self.table),))} if self.table else {}
        return {**{name: (datatype, (1,)) for name, datatype in self.columns.items()}, **table}

    def run(self, row: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        made = {name: np.empty((len(row), 1), dtype=_dtype(datatype)) for name, datatype in self.columns.items()}
        table = np.empty((len(row), len(self.table)), dtype=_dtype(self.table_datatype))
        for index, (text,) in enumerate(row):
            record = self._record(index, text)
            values = {name: self._value(index, name, datatype, record) for name, datatype in self._datatypes.items()}
            for name, array in made.items():
                array[index, 0] = values[name]
            table[index] = [values[name] for name in self.table]
        return {**made, "table": table} if self.table else dict(made)

    @cached_property
    def _datatypes(self) -> dict[str, str]:
        return {**self.columns, **dict.fromkeys(self.table, self.table_datatype)}

    def _record(self, index: int, text: bytes) -> dict[str, Any]:
        if len(text) > self.most_bytes:
            raise ValueError(f"row {index}: it has {len(text)} bytes, and at most {self.most_bytes} are taken")
        if text.count(b"[") + text.count(b"{") > _DEEPEST and _depth(text) > _DEEPEST:
            raise ValueError(f"row {index}: its JSON is nested deeper than {_DEEPEST}")
        try:
            record = json.loads(text.decode(), object_pairs_hook=_once_each)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"row {index}: not a JSON object ({str(error)[:200]})") from error
        if type(record) is not dict:
            raise ValueError(f"row {index}: it is {_word(record)}, not a JSON object")
        self._refuse_unknown(index, record)
        return record

    def _refuse_unknown(self, index: int, record: dict[str, Any]) -> None:
        if self.unknown == "refuse" and not record.keys() <= self._datatypes.keys():
            foreign = next(name for name in record if name not in self._datatypes)
            near = _near(foreign, [name for name in self._datatypes if name not in record])
            raise ValueError(f"row {index}: there is no column {_shown(foreign)}{near}")

    def _value(self, index: int, name: str, datatype: str, record: dict[str, Any]) -> Any:
        value = record.get(name)
        if type(value) is float and datatype in _LARGEST and abs(value) <= _LARGEST[datatype]:
            return value  # as most are
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return self._instead(index, name, datatype, record)
        return _typed(f"row {index}: column '{name}'", value, datatype)

    def _instead(self, index: int, name: str, datatype: str, record: dict[str, Any]) -> Any:
        if name in self.defaults:
            return _typed(f"row {index}: column '{name}'", self.defaults[name], datatype)
        if self.missing == "empty" and datatype in ("FP32", "FP64", "BYTES"):
            return b"" if datatype == "BYTES" else math.nan
        if name in record:
            raise ValueError(f"row {index}: column '{name}' is {'null' if record[name] is None else 'NaN'}")
        near = _near(name, [key for key in record if key not in self._datatypes])
        raise ValueError(f"row {index}: column '{name}' is missing{near}")


def _typed(place: str, value: Any, datatype: str) -> Any:
    """The value as numpy takes it; JSON does not tell 3 from 3.0, so whole floats are integers too."""
    if datatype == "BYTES":
        return _bytes(place, value)
    if datatype == "BOOL":
        if not isinstance(value, bool):
            raise ValueError(f"{place} is {_word(value)}, not true or false")
        return value
    if type(value) not in (int, float):
        raise ValueError(f"{place} is {_word(value)}, not a number")
    return _float(place, value, datatype) if datatype in ("FP32", "FP64") else _integer(place, value, datatype)


def _bytes(place: str, value: Any) -> bytes:
    if type(value) is not str:
        raise ValueError(f"{place} is {_word(value)}, not a text")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place} is no Unicode text (half of a surrogate pair)") from error


def _float(place: str, value: float, datatype: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if abs(number) > _LARGEST[datatype]:
        raise ValueError(f"{place} is {str(value)[:40]}, too large for {datatype}")
    return number


def _integer(place: str, value: float, datatype: str) -> int:
    limits = np.iinfo(_dtype(datatype))
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{place} is {value}, not a whole number")
    if not limits.min <= value <= limits.max:
        raise ValueError(f"{place} is {str(int(value))[:40]}, out of the range of {datatype}")
    return int(value)


def _dtype(datatype: str) -> Any:
    names = {"FP32": "float32", "FP64": "float64", "BOOL": "bool_", "BYTES": "object_"}
    return getattr(np, names.get(datatype, datatype.lower()))


def _word(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    return _WORDS.get(type(value), f"the number {str(value)[:40]}")


def _shown(text: str) -> str:
    cut = text if len(text) <= 40 else f"{text[:40]} …"
    return "'" + "".join(sign if sign.isprintable() else "�" for sign in cut) + "'"


def _near(name: str, others: list[str]) -> str:
    if len(others) > _MOST_NAMES:
        return ""
    found = difflib.get_close_matches(name[:100], [other for other in others if len(other) <= 100], n=1)
    return f"; did you mean {_shown(found[0])}?" if found else ""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, value in pairs:
        if name in record:
            raise ValueError(f"the key {_shown(name)} is there twice")
        record[name] = value
    return record


def _depth(text: bytes) -> int:
    """The deepest nesting; brackets within texts count too, which refuses nothing that is a row."""
    depth = deepest = 0
    for sign in text:
        depth += (sign in b"[{") - (sign in b"]}")
        deepest = max(deepest, depth)
    return deepest
