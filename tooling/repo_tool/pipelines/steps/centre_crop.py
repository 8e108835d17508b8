# SPDX-License-Identifier: Apache-2.0
"""Cut the middle out of pixels ``[height, width, channels]``."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreCrop:
    """``height`` x ``width`` pixels; a smaller picture is refused, for which `pad` is.

    ``convention`` says where an odd number of pixels goes that is left over: ``floor`` puts the smaller half above and
    left (transformers, Keras, albumentations); ``torchvision`` rounds half of it to the even number. They differ by one
    pixel where 3, 7, 11 … are left over, so a model that was trained with torchvision needs ``torchvision``.
    """

    height: int
    width: int
    convention: Literal["floor", "torchvision"] = "floor"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError("height and width are at least 1 pixel")

    def outputs(self, inputs: Wires) -> Wires:
        """Any datatype, and a size that is the same for all rows."""
        datatype, dims = inputs["pixels"]
        small = len(dims) == 3 and any(
            0 <= old < new for old, new in zip(dims, (self.height, self.width), strict=False)
        )
        if len(dims) != 3 or datatype == "BYTES" or dims[2] == -1 or small:
            raise ValueError(
                f"'pixels' must be numbers [height, width, channels] of at least {self.height} x {self.width} pixels; "
                f"they are {datatype} {list(dims)}"
            )
        return {"cropped": (datatype, (self.height, self.width, dims[2]))}

    def run(self, pixels: Any) -> dict[str, NDArray[Any]]:
        """All rows at once, or one after another where they have sizes of their own."""
        if isinstance(pixels, list):
            return {"cropped": np.stack([self._cropped(row, picture) for row, picture in enumerate(pixels)])}
        top, left = self._start(*pixels.shape[1:3])
        return {"cropped": pixels[:, top : top + self.height, left : left + self.width].copy()}

    def _cropped(self, row: int, picture: NDArray[Any]) -> NDArray[Any]:
        height, width = picture.shape[:2]
        if height < self.height or width < self.width:
            raise ValueError(
                f"row {row}: the picture is {height} x {width} pixels, less than the {self.height} x {self.width} "
                "to be cut out"
            )
        top, left = self._start(height, width)
        return picture[top : top + self.height, left : left + self.width]

    def _start(self, height: int, width: int) -> tuple[int, int]:
        over = height - self.height, width - self.width
        if self.convention == "floor":
            return over[0] // 2, over[1] // 2
        return round(over[0] / 2), round(over[1] / 2)

    def graph(self, op: Any, inputs: Wires, pixels: Any) -> dict[str, Any]:
        """A slice."""
        _, dims = inputs["pixels"]
        if -1 in dims:
            raise NotImplementedError("the rows have sizes of their own")
        top, left = self._start(dims[0], dims[1])
        return {"cropped": op.Slice(pixels, [top, left], [top + self.height, left + self.width], [1, 2])}
