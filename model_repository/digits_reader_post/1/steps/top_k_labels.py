# SPDX-License-Identifier: Apache-2.0
"""Name the k most probable classes: the best ``label`` with its ``probability``, and the whole top k, best first."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


def outputs(inputs: Wires, *, labels: list[str], k: int = 3) -> Wires:
    """One word and number a row, and k of each."""
    datatype, dims = inputs["probabilities"]
    if datatype not in ("FP32", "FP64") or dims != (len(labels),):
        raise ValueError(
            f"'probabilities' must be floats [{len(labels)}], one for each label; they are {datatype} {list(dims)}"
        )
    if not 1 <= k <= len(labels):
        raise ValueError(f"k is {k}, and there are {len(labels)} labels")
    return {
        "label": ("BYTES", (1,)),
        "probability": (datatype, (1,)),
        "top_labels": ("BYTES", (k,)),
        "top_probabilities": (datatype, (k,)),
    }


def run(probabilities: NDArray[Any], *, labels: list[str], k: int = 3) -> dict[str, NDArray[Any]]:
    """Equal probabilities keep the order of the classes."""
    words = np.array([label.encode() for label in labels], dtype=object)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    sorted_probabilities = np.take_along_axis(probabilities, best, axis=1)
    return {
        "label": words[best[:, :1]],
        "probability": sorted_probabilities[:, :1],
        "top_labels": words[best],
        "top_probabilities": sorted_probabilities,
    }
