# SPDX-License-Identifier: Apache-2.0
"""Cut the boxes out of a picture, all to one size: ``crops`` [boxes, height, width, channels] for a ``for_each``."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBoxes:
    """Boxes are left, top, right, bottom in pixels.

    What sticks out of the picture is cut off first; of a box without an area, as the zeros behind the last one, the
    crop is 0.

    ``height`` and ``width``: what each becomes, bilinear as Pillow does it.

    ``most_megapixels``: of all crops of one call together.

    ``margin``: makes a box larger by that share of its width and height on each side.
    """

    packages: ClassVar[tuple[str, ...]] = ("pillow",)
    heavy: ClassVar[bool] = True

    height: int
    width: int
    margin: float = 0.0
    most_megapixels: float = 50.0

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError("height and width are at least 1 pixel")
        if not 0 <= self.margin <= 10:
            raise ValueError(f"margin is {self.margin}, and must be between 0 and 10")
        if not self.most_megapixels > 0:
            raise ValueError("most_megapixels must be more than 0")

    def outputs(self, inputs: Wires) -> Wires:
        """One crop for each box."""
        (datatype, dims), boxes = inputs["pixels"], inputs["boxes"]
        if datatype != "UINT8" or len(dims) != 3 or dims[2] not in _MODES:
            raise ValueError(
                f"'pixels' must be UINT8 [height, width, channels] of 1, 3 or 4 channels; "
                f"they are {datatype} {list(dims)}"
            )
        if boxes[0] != "FP32" or len(boxes[1]) != 2 or boxes[1][1] != 4:
            raise ValueError(f"'boxes' must be FP32 [boxes, 4]; they are {boxes[0]} {list(boxes[1])}")
        if self._pixels(boxes[1][0]) > self.most_megapixels * 1_000_000:
            raise ValueError(f"'boxes' are {boxes[1][0]}, whose crops are more pixels than most_megapixels")
        return {"crops": ("UINT8", (boxes[1][0], self.height, self.width, dims[2]))}

    def run(self, pixels: Any, boxes: Any) -> dict[str, Any]:
        """Row by row."""
        together = 0
        for row, places in enumerate(boxes):
            together += self._pixels(len(places))
            if together > self.most_megapixels * 1_000_000:
                raise ValueError(
                    f"row {row}: the crops up to this row are {together / 1_000_000:.1f} megapixels, and at most "
                    f"{self.most_megapixels:g} are made at once: send fewer rows in a request"
                )
        rows = [self._crops(row, *given) for row, given in enumerate(zip(pixels, boxes, strict=True))]
        return {"crops": rows if isinstance(boxes, list) else np.stack(rows)}

    def _pixels(self, boxes: int) -> int:
        return boxes * self.height * self.width

    def _crops(self, row: int, picture: NDArray[Any], boxes: NDArray[Any]) -> NDArray[Any]:
        from PIL import Image

        crops = np.zeros((len(boxes), self.height, self.width, picture.shape[2]), dtype=np.uint8)
        whole = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else np.ascontiguousarray(picture))
        for index, box in enumerate(boxes):
            if not np.isfinite(box).all():
                raise ValueError(f"row {row}: box {index} is {box.tolist()}, which are no places")
            left, top, right, bottom = self._inside(box, *whole.size)
            if right > left and bottom > top:
                crop = whole.resize(
                    (self.width, self.height), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
                )
                crops[index] = np.asarray(crop).reshape(crops.shape[1:])
        return crops

    def _inside(self, box: NDArray[Any], width: int, height: int) -> list[float]:
        left, top, right, bottom = box.astype(np.float64)
        across, down = (right - left) * self.margin, (bottom - top) * self.margin
        if right <= left or bottom <= top:
            return [0.0] * 4
        wider = np.array([left - across, top - down, right + across, bottom + down])
        inside: list[float] = np.clip(wider, 0, [width, height, width, height]).tolist()
        return inside
