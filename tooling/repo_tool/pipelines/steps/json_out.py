# SPDX-License-Identifier: Apache-2.0
"""Write named tensors of a row as one JSON object."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
MOST_DIMS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonOut:
    """A tensor [1] is a value, a longer one a list. A number that is not finite becomes null. BYTES must be UTF-8.

    ``names``: the inputs, and the keys of the object, in that order.

    ``items``: those of ``names`` whose first dimension counts the same things, as boxes: they become a list of objects.

    ``items_key``: the key of that list.

    ``count``: the name of one more input, an integer [1]: how many of the items there are; the others are left out.

    ``labels``: by name, the words that class numbers stand for.

    ``decimals``: for all, or by name, how many places ``round`` of Python leaves; without it floats have as many digits
    as tell them from their neighbours of the same type.
    """

    names: list[str]
    items: list[str] = field(default_factory=list)
    items_key: str = "items"
    count: str | None = None
    labels: dict[str, list[str]] = field(default_factory=dict)
    decimals: int | dict[str, int] | None = None

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError("names holds each tensor once, and one at least")
        strange = sorted({*self.items, *self.labels, *self._places()} - {*self.names})
        if strange:
            raise ValueError(f"'{strange[0]}' is not among names")
        if self.count is not None and (not self.items or self.count in self.names):
            raise ValueError("count is a further input beside names, and counts items")
        places = self._places().values() if isinstance(self.decimals, dict) else [self.decimals or 0]
        if any(not -20 <= each <= 20 for each in places):
            raise ValueError("decimals are between -20 and 20")
        if self.items and self.items_key in set(self.names) - set(self.items):
            raise ValueError(f"items_key '{self.items_key}' is a name already")

    def _places(self) -> dict[str, int]:
        return self.decimals if isinstance(self.decimals, dict) else {}

    def input_names(self) -> tuple[str, ...]:
        """The names, and the count where there is one."""
        return (*self.names, self.count) if self.count is not None else tuple(self.names)

    def outputs(self, inputs: Wires) -> Wires:
        """One text a row."""
        for name in self.names:
            datatype, dims = inputs[name]
            if len(dims) > MOST_DIMS or (name in self.labels and "INT" not in datatype):
                wanted = "integers" if name in self.labels else "a tensor"
                raise ValueError(
                    f"'{name}' must be {wanted} of at most {MOST_DIMS} dims; it is {datatype} {list(dims)}"
                )
        if self.count is not None and ("INT" not in inputs[self.count][0] or inputs[self.count][1] != (1,)):
            datatype, dims = inputs[self.count]
            raise ValueError(f"'{self.count}' must be an integer [1]; it is {datatype} {list(dims)}")
        sizes = {name: inputs[name][1][0] for name in self.items}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"items must be as many of each; '{self.items[0]}' and the others are {sizes}")
        return {"json": ("BYTES", (1,))}

    def run(self, **tensors: Any) -> dict[str, NDArray[Any]]:
        """Row by row."""
        rows = len(tensors[self.names[0]])
        written = np.empty((rows, 1), dtype=object)
        for row in range(rows):
            one = {name: np.asarray(tensors[name][row]) for name in self.input_names()}
            try:
                written[row, 0] = json.dumps(self._object(one), ensure_ascii=False, allow_nan=False).encode()
            except (ValueError, IndexError) as error:
                raise ValueError(f"row {row}: {error}") from error
        return {"json": written}

    def _object(self, tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for name in self.names:
            if name not in self.items:
                told[name] = self._value(name, tensors[name])
            elif self.items_key not in told:
                told[self.items_key] = self._items(tensors)
        return told

    def _items(self, tensors: dict[str, NDArray[Any]]) -> list[dict[str, Any]]:
        sizes = {len(tensors[name]) for name in self.items}
        if len(sizes) > 1:
            raise ValueError(f"{', '.join(self.items)} are not as many of each: {sorted(sizes)}")
        there = sizes.pop()
        count = there if self.count is None else int(tensors[self.count][0])
        if not 0 <= count <= there:
            raise ValueError(f"'{self.count}' is {count}, and there are {there}")
        return [{name: self._value(name, tensors[name][index]) for name in self.items} for index in range(count)]

    def _value(self, name: str, tensor: Any) -> Any:
        if isinstance(tensor, np.ndarray) and tensor.shape == (1,):
            return self._scalar(name, tensor[0])
        return self._nested(name, tensor)

    def _nested(self, name: str, tensor: Any) -> Any:
        if isinstance(tensor, np.ndarray) and tensor.ndim:
            return [self._nested(name, each) for each in tensor]
        return self._scalar(name, tensor)

    def _scalar(self, name: str, value: Any) -> Any:
        if isinstance(value, bytes | str):
            return _text(name, value)
        if isinstance(value, np.bool_):
            return bool(value)
        if isinstance(value, np.integer):
            return self._word(name, int(value))
        if not math.isfinite(value):
            return None
        places = self._places().get(name) if isinstance(self.decimals, dict) else self.decimals
        return float(str(value)) if places is None else round(float(value), places)

    def _word(self, name: str, number: int) -> Any:
        if name not in self.labels:
            return number
        if not 0 <= number < len(self.labels[name]):
            raise ValueError(f"'{name}' is {number}, and there are {len(self.labels[name])} labels")
        return self.labels[name][number]


def _text(name: str, value: bytes | str) -> str:
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"'{name}' is no UTF-8 text") from error
