# SPDX-License-Identifier: Apache-2.0
"""Turn RGB pixels ``[height, width, 3]`` into grey ones ``[height, width, 1]``, exactly as Pillow or OpenCV does."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
_UINT8, _INT32 = 2, 6  # of onnx.TensorProto

# Of red, green and blue, in whole numbers, with the power of two by which the sum is divided.
_WEIGHTS = {"pil": ((19595, 38470, 7471), 2**16), "opencv": ((9798, 19235, 3735), 2**15)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Greyscale:
    """0.299 red + 0.587 green + 0.114 blue, rounded.

    ``library``: whose whole numbers, down to the last bit: ``pil`` (``convert("L")``, torchvision on pictures) or
    ``opencv`` (``cvtColor``).
    """

    library: Literal["pil", "opencv"] = "pil"

    def outputs(self, inputs: Wires) -> Wires:
        """One channel of three."""
        datatype, dims = inputs["pixels"]
        if datatype != "UINT8" or len(dims) != 3 or dims[2] != 3:
            raise ValueError(f"'pixels' must be UINT8 [height, width, 3]; they are {datatype} {list(dims)}")
        return {"grey": ("UINT8", (*dims[:2], 1))}

    def run(self, pixels: Any) -> dict[str, Any]:
        """All rows at once, or one after another where they have sizes of their own."""
        if isinstance(pixels, list):
            return {"grey": [self._grey(picture) for picture in pixels]}
        return {"grey": self._grey(pixels)}

    def _grey(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        weights, divisor = _WEIGHTS[self.library]
        summed = pixels.astype(np.int32) @ np.array(weights, dtype=np.int32)[:, None]
        return np.asarray((summed + divisor // 2) // divisor, dtype=np.uint8)

    def graph(self, op: Any, inputs: Wires, pixels: Any) -> dict[str, Any]:
        """The same whole numbers."""
        weights, divisor = _WEIGHTS[self.library]
        parts = op.Mul(op.Cast(pixels, to=_INT32), np.array(weights, dtype=np.int32))
        summed = op.Add(op.ReduceSum(parts, [3], keepdims=1), np.int32(divisor // 2))
        return {"grey": op.Cast(op.Div(summed, np.int32(divisor)), to=_UINT8)}
