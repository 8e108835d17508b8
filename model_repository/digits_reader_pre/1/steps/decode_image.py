# SPDX-License-Identifier: Apache-2.0
"""Decode PNG, JPEG or WebP bytes to uint8 pixels ``[height, width, channels]``, resized where the size differs."""

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
Mode = Literal["L", "RGB"]

MOST_PIXELS = 50_000_000
_CHANNELS = {"L": 1, "RGB": 3}


def outputs(inputs: Wires, *, height: int, width: int, mode: Mode = "RGB") -> Wires:
    """One encoded image a row becomes its pixels."""
    if inputs["image"] != ("BYTES", (1,)):
        raise ValueError(f"'image' must be BYTES [1], one encoded image a row; it is {inputs['image']}")
    if height < 1 or width < 1:
        raise ValueError("height and width are at least 1 pixel")
    return {"pixels": ("UINT8", (height, width, _CHANNELS[mode]))}


def run(image: NDArray[Any], *, height: int, width: int, mode: Mode = "RGB") -> dict[str, NDArray[Any]]:
    """Decode each row; resizing is bilinear, as Pillow does it."""
    pixels = np.empty((len(image), height, width, _CHANNELS[mode]), dtype=np.uint8)
    for row, (encoded,) in enumerate(image):
        pixels[row] = _decode(row, encoded, height, width, mode)
    return {"pixels": pixels}


def _decode(row: int, encoded: bytes, height: int, width: int, mode: Mode) -> NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ValueError(f"row {row}: the image has {opened.width} x {opened.height} pixels, too many")
            picture = opened.convert(mode)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"row {row}: not a readable image ({error})") from error
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(height, width, -1)
