# SPDX-License-Identifier: Apache-2.0
"""Decide by a cut-off: ``decision`` tells whether a probability reaches it, ``label`` says so in words."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
ELEMENTS = {"FP16": 10, "FP32": 1, "FP64": 11}  # the floats, as onnx.TensorProto numbers them


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The cut-off is rounded to the type of the probabilities first.

    ``cut_off``: one for all, or a list with one for each class.

    ``above`` and ``below``: the words, for all or one for each class.

    ``equal``: on which side a probability is that equals the cut-off.

    ``of_class``: decide by that class alone, counted from 0: 1 for the yes of a classifier that gives [no, yes].

    ``if_nan``: what is not a number is ``below``, or fails its row (``refuse``), which takes Python.
    """

    cut_off: float | list[float] = 0.5
    above: str | list[str] = "yes"
    below: str | list[str] = "no"
    equal: Literal["above", "below"] = "above"
    of_class: int | None = None
    if_nan: Literal["below", "refuse"] = "below"

    def __post_init__(self) -> None:
        if self.of_class is not None and (self.of_class < 0 or self._lists()):
            raise ValueError("of_class is one class, counted from 0: cut_off, above and below are one value each")
        if not all(self._lists().values()):
            raise ValueError("cut_off, above and below hold one value for each class, and one at least")
        _refuse_unless_finite(cut_off=self.cut_off)

    def outputs(self, inputs: Wires) -> Wires:
        """A yes or no and a word for each probability, or for the one class."""
        datatype, dims = inputs["probabilities"]
        if datatype not in ELEMENTS or not dims or -1 in dims:
            raise ValueError(f"'probabilities' must be floats [..., classes]; they are {datatype} {list(dims)}")
        for name, values in self._lists().items():
            if len(values) != dims[-1]:
                raise ValueError(f"'probabilities' have {dims[-1]} classes, and {name} lists {len(values)}")
        if self.of_class is not None and self.of_class >= dims[-1]:
            raise ValueError(f"'probabilities' have {dims[-1]} classes, and of_class is {self.of_class}")
        decided = dims if self.of_class is None else (*dims[:-1], 1)
        return {"decision": ("BOOL", decided), "label": ("BYTES", decided)}

    def run(self, probabilities: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        if self.of_class is not None:
            probabilities = probabilities[..., self.of_class : self.of_class + 1]
        if self.if_nan == "refuse":
            _refuse_nan(probabilities)
        cut_off = np.asarray(self.cut_off, dtype=probabilities.dtype)
        decision = probabilities >= cut_off if self.equal == "above" else probabilities > cut_off
        return {"decision": decision, "label": np.where(decision, _words(self.above), _words(self.below))}

    def graph(self, op: Any, inputs: Wires, probabilities: Any) -> dict[str, Any]:
        """A comparison and a choice."""
        if self.if_nan == "refuse":
            raise NotImplementedError("if_nan: refuse fails a row, and a graph cannot")
        datatype, _ = inputs["probabilities"]
        if self.of_class is not None:
            probabilities = op.Slice(probabilities, [self.of_class], [self.of_class + 1], [-1])
        if datatype == "FP16":
            probabilities = op.Cast(probabilities, to=ELEMENTS["FP32"])
        cut_off = np.asarray(self.cut_off, dtype=np.float16 if datatype == "FP16" else np.float64).tolist()
        reaches = op.GreaterOrEqual if self.equal == "above" else op.Greater
        decision = reaches(probabilities, cut_off)
        return {"decision": decision, "label": op.Where(decision, _listed(self.above), _listed(self.below))}

    def _lists(self) -> dict[str, list[Any]]:
        given = {"cut_off": self.cut_off, "above": self.above, "below": self.below}
        return {name: value for name, value in given.items() if isinstance(value, list)}


def _words(words: str | list[str]) -> NDArray[Any]:
    return np.array([word.encode() for word in _listed(words)], dtype=object)


def _listed(words: str | list[str]) -> list[str]:
    return words if isinstance(words, list) else [words]


def _refuse_nan(probabilities: NDArray[Any]) -> None:
    wrong = np.isnan(probabilities).reshape(len(probabilities), -1).any(axis=1)
    if wrong.any():
        raise ValueError(f"row {wrong.argmax()}: a probability is not a number")


def _refuse_unless_finite(**numbers: Any) -> None:
    for name, given in numbers.items():
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"{name} must be finite; it is {given}")
