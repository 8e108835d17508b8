# SPDX-License-Identifier: Apache-2.0
"""Name the k most probable classes: the best ``label`` with its ``probability``, and the whole top k, best first."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
ELEMENTS = {"FP16": 10, "FP32": 1, "FP64": 11}  # the floats, as onnx.TensorProto numbers them
DEFAULT_K = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TopKLabels:
    """Equal probabilities keep the order of the classes; NaN counts as the least.

    ``labels``: a word for each class, in their order.

    ``k``: how many are named; 3, or all where there are fewer labels.
    """

    labels: list[str]
    k: int | None = None

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels is empty")
        if self.k is not None and not 1 <= self.k <= len(self.labels):
            raise ValueError(f"k is {self.k}, and there are {len(self.labels)} labels")

    @property
    def _named(self) -> int:
        return self.k if self.k is not None else min(DEFAULT_K, len(self.labels))

    def outputs(self, inputs: Wires) -> Wires:
        """One word and number for each list of classes, which is the last dimension, and k of each."""
        datatype, dims = inputs["probabilities"]
        classes = len(self.labels)
        if datatype not in ELEMENTS or dims[-1:] != (classes,) or -1 in dims:
            raise ValueError(
                f"'probabilities' must be floats [..., {classes}], one for each label; they are {datatype} {list(dims)}"
            )
        return {
            "label": ("BYTES", (*dims[:-1], 1)),
            "probability": (datatype, (*dims[:-1], 1)),
            "top_labels": ("BYTES", (*dims[:-1], self._named)),
            "top_probabilities": (datatype, (*dims[:-1], self._named)),
        }

    def run(self, probabilities: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        words = np.array([label.encode() for label in self.labels], dtype=object)
        ranked = np.where(np.isnan(probabilities), -np.inf, probabilities)
        best = np.argsort(-ranked, axis=-1, kind="stable")[..., : self._named]
        top = np.take_along_axis(probabilities, best, axis=-1)
        return {
            "label": words[best[..., :1]],
            "probability": top[..., :1],
            "top_labels": words[best],
            "top_probabilities": top,
        }

    def graph(self, op: Any, inputs: Wires, probabilities: Any) -> dict[str, Any]:
        """TopK of ONNX keeps the lower index of equals first, as the stable sort does."""
        datatype, _ = inputs["probabilities"]
        wide = op.Cast(probabilities, to=ELEMENTS["FP32"]) if datatype == "FP16" else probabilities
        ranked = op.Where(op.IsNaN(wide), float("-inf"), wide)
        _, best = op.TopK(ranked, [self._named], axis=-1, largest=1, sorted=1, _outputs=2)
        words, top = op.Gather(self.labels, best, axis=0), op.GatherElements(probabilities, best, axis=-1)
        return {
            "label": op.Slice(words, [0], [1], [-1]),
            "probability": op.Slice(top, [0], [1], [-1]),
            "top_labels": words,
            "top_probabilities": top,
        }
