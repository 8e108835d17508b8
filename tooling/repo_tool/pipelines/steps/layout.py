# SPDX-License-Identifier: Apache-2.0
"""Turn pixels ``[height, width, channels]`` into ``[channels, height, width]``, or back."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Wires = dict[str, tuple[str, tuple[int, ...]]]
_AXES = {"CHW": (2, 0, 1), "HWC": (1, 2, 0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``to: CHW``, as PyTorch has pixels, where the channels are last; ``to: HWC``, as Keras has them, otherwise."""

    to: Literal["CHW", "HWC"]

    def outputs(self, inputs: Wires) -> Wires:
        """The datatype stays, the dims change places."""
        datatype, dims = inputs["pixels"]
        if len(dims) != 3 or datatype == "BYTES":
            raise ValueError(f"'pixels' must be numbers of three dimensions; they are {datatype} {list(dims)}")
        return {"transposed": (datatype, tuple(dims[axis] for axis in _AXES[self.to]))}

    def run(self, pixels: Any) -> dict[str, Any]:
        """All rows at once, or one after another where they have sizes of their own."""
        axes = _AXES[self.to]
        if isinstance(pixels, list):
            return {"transposed": [np.ascontiguousarray(picture.transpose(axes)) for picture in pixels]}
        return {"transposed": np.ascontiguousarray(pixels.transpose(0, *(axis + 1 for axis in axes)))}

    def graph(self, op: Any, inputs: Wires, pixels: Any) -> dict[str, Any]:
        """A transposition."""
        return {"transposed": op.Transpose(pixels, perm=[0, *(axis + 1 for axis in _AXES[self.to])])}
