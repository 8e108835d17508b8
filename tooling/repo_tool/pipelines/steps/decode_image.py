# SPDX-License-Identifier: Apache-2.0
"""Decode PNG, JPEG or WebP bytes to uint8 pixels ``[height, width, channels]``, resized where the size differs."""

import io
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

MOST_PIXELS = 50_000_000
_CHANNELS = {"L": 1, "RGB": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeImage:
    """Resizing is bilinear, as Pillow does it."""

    packages: ClassVar[tuple[str, ...]] = ("pillow",)
    heavy: ClassVar[bool] = True

    height: int
    width: int
    mode: Literal["L", "RGB"] = "RGB"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError("height and width are at least 1 pixel")

    def outputs(self, inputs: Wires) -> Wires:
        """One encoded image a row becomes its pixels."""
        if inputs["image"] != ("BYTES", (1,)):
            raise ValueError(f"'image' must be BYTES [1], one encoded image a row; it is {inputs['image']}")
        return {"pixels": ("UINT8", (self.height, self.width, _CHANNELS[self.mode]))}

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Row by row."""
        pixels = np.empty((len(image), self.height, self.width, _CHANNELS[self.mode]), dtype=np.uint8)
        for row, (encoded,) in enumerate(image):
            pixels[row] = self._decode(row, encoded)
        return {"pixels": pixels}

    def _decode(self, row: int, encoded: bytes) -> NDArray[Any]:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(encoded)) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise ValueError(f"row {row}: the image has {opened.width} x {opened.height} pixels, too many")
                picture = opened.convert(self.mode)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"row {row}: not a readable image ({error})") from error
        if picture.size != (self.width, self.height):
            picture = picture.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8).reshape(self.height, self.width, -1)
