# SPDX-License-Identifier: Apache-2.0
"""Pad pixels ``[height, width, channels]`` to a size, as before a detector that takes squares."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

_NUMBERS = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad:
    """To ``height`` x ``width`` pixels; a larger picture is refused.

    After a ``resize`` of the ``longer`` side it makes a letterbox. Ultralytics' is ``resize`` with ``library: opencv``
    and ``other_side: round``, and here ``fill: 114``; ``boxes_to_picture`` undoes it.

    ``fill``: what the new pixels are, one number or one for each channel.
    ``place``: where the picture goes: ``top_left``, or ``centre``, with the smaller half of an odd rest above and left.
    """

    height: int
    width: int
    fill: float | list[float] = 0.0
    place: Literal["centre", "top_left"] = "centre"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError("height and width are at least 1 pixel")
        if not np.size(self.fill) or not np.isfinite(self.fill).all():
            raise ValueError("fill is one finite number, or one for each channel")

    def outputs(self, inputs: Wires) -> Wires:
        """The datatype stays, and the size is the same for all rows."""
        datatype, dims = inputs["pixels"]
        large = len(dims) == 3 and any(old > new for old, new in zip(dims, (self.height, self.width), strict=False))
        if len(dims) != 3 or datatype not in _NUMBERS or dims[2] == -1 or large:
            raise ValueError(
                f"'pixels' must be UINT8 or floats [height, width, channels] of at most {self.height} x {self.width} "
                f"pixels; they are {datatype} {list(dims)}"
            )
        if isinstance(self.fill, list) and len(self.fill) != dims[2]:
            raise ValueError(f"fill has {len(self.fill)} numbers, and 'pixels' {dims[2]} channels")
        if datatype == "UINT8" and not all(value in range(256) for value in np.ravel(self.fill)):
            raise ValueError(f"fill {self.fill} does not fit 'pixels', which are UINT8")
        return {"padded": (datatype, (self.height, self.width, dims[2]))}

    def run(self, pixels: Any) -> dict[str, NDArray[Any]]:
        """Each into a canvas of the fill."""
        rows = [self._padded(row, picture) for row, picture in enumerate(pixels)]
        return {"padded": np.stack(rows)}

    def _padded(self, row: int, picture: NDArray[Any]) -> NDArray[Any]:
        height, width, channels = picture.shape
        if height > self.height or width > self.width:
            raise ValueError(
                f"row {row}: the picture is {height} x {width} pixels, more than the {self.height} x {self.width} "
                "to be filled"
            )
        top, left = self._start(height, width)
        canvas = np.empty((self.height, self.width, channels), dtype=picture.dtype)
        canvas[:] = np.asarray(self.fill).astype(picture.dtype)
        canvas[top : top + height, left : left + width] = picture
        return canvas

    def _start(self, height: int, width: int) -> tuple[int, int]:
        if self.place == "top_left":
            return 0, 0
        return (self.height - height) // 2, (self.width - width) // 2

    def graph(self, op: Any, inputs: Wires, pixels: Any) -> dict[str, Any]:
        """Pad by one number."""
        datatype, (height, width, _) = inputs["pixels"]
        if -1 in (height, width):
            raise NotImplementedError("the rows have sizes of their own")
        fills = set(np.ravel(self.fill).tolist())
        if len(fills) > 1:
            raise NotImplementedError("ONNX pads with one number, not with one for each channel")
        top, left = self._start(height, width)
        around = [0, top, left, 0, 0, self.height - height - top, self.width - width - left, 0]
        fill = int(*fills) if datatype == "UINT8" else float(*fills)
        return {"padded": op.Pad(pixels, around, fill)}
