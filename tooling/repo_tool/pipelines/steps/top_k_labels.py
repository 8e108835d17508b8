# SPDX-License-Identifier: Apache-2.0
"""Name the k most probable classes: the best ``label`` with its ``probability``, and the whole top k, best first."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopKLabels:
    """Equal probabilities keep the order of the classes."""

    labels: list[str]
    k: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.k <= len(self.labels):
            raise ValueError(f"k is {self.k}, and there are {len(self.labels)} labels")

    def outputs(self, inputs: Wires) -> Wires:
        """One word and number a row, and k of each."""
        datatype, dims = inputs["probabilities"]
        classes = len(self.labels)
        if datatype not in ("FP32", "FP64") or dims != (classes,):
            raise ValueError(
                f"'probabilities' must be floats [{classes}], one for each label; they are {datatype} {list(dims)}"
            )
        return {
            "label": ("BYTES", (1,)),
            "probability": (datatype, (1,)),
            "top_labels": ("BYTES", (self.k,)),
            "top_probabilities": (datatype, (self.k,)),
        }

    def run(self, probabilities: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """All rows at once."""
        words = np.array([label.encode() for label in self.labels], dtype=object)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.k]
        sorted_probabilities = np.take_along_axis(probabilities, best, axis=1)
        return {
            "label": words[best[:, :1]],
            "probability": sorted_probabilities[:, :1],
            "top_labels": words[best],
            "top_probabilities": sorted_probabilities,
        }

    def graph(self, op: Any, inputs: Wires, probabilities: Any) -> dict[str, Any]:
        """TopK of ONNX keeps the lower index of equals first, as the stable sort does."""
        top, best = op.TopK(probabilities, [self.k], axis=1, largest=1, sorted=1, _outputs=2)
        words = op.Gather(self.labels, best, axis=0)
        return {
            "label": op.Slice(words, [0], [1], [1]),
            "probability": op.Slice(top, [0], [1], [1]),
            "top_labels": words,
            "top_probabilities": top,
        }
