# SPDX-License-Identifier: Apache-2.0
"""A picture in a terminal: two pixels a character in colours, or shades of one character where there are none."""

__all__ = ["thumbnail"]

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.text import Text

WIDTH, HEIGHT = 32, 32  # pixels, at most; a character is half as wide as it is high
_SHADES = " .:-=+*#%@"
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def thumbnail(picture: "NDArray[Any]", *, colours: bool) -> "Text":
    """``picture`` is uint8 [height, width, 3]; without ``colours`` brighter pixels are denser signs."""
    small = _shrunk(picture)
    return _half_blocks(small) if colours else _shades(small)


def _shrunk(picture: "NDArray[Any]") -> "NDArray[Any]":
    """The means of as many blocks as fit; a picture that fits is doubled as long as it does."""
    import numpy as np

    height, width = picture.shape[:2]
    while max(height * 2 / HEIGHT, width * 2 / WIDTH) <= 1:
        picture = picture.repeat(2, axis=0).repeat(2, axis=1)
        height, width = picture.shape[:2]
    shrink = max(height / HEIGHT, width / WIDTH, 1.0)
    rows, columns = max(1, round(height / shrink)), max(1, round(width / shrink))
    down = [block.mean(axis=0) for block in np.array_split(picture.astype(np.float64), rows, axis=0)]
    across = [block.mean(axis=1) for block in np.array_split(np.stack(down), columns, axis=1)]
    small: NDArray[Any] = np.stack(across, axis=1).round().astype(np.uint8)
    return small


def _half_blocks(small: "NDArray[Any]") -> "Text":
    from rich.text import Text

    text = Text()
    for top in range(0, len(small), 2):
        for column in range(small.shape[1]):
            upper = _colour(small[top, column])
            lower = f" on {_colour(small[top + 1, column])}" if top + 1 < len(small) else ""
            text.append("▀", style=upper + lower)
        text.append("\n")
    text.rstrip()
    return text


def _colour(pixel: "NDArray[Any]") -> str:
    red, green, blue = (int(value) for value in pixel)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _shades(small: "NDArray[Any]") -> "Text":
    """Every second row of pixels: characters are twice as high as wide."""
    import numpy as np
    from rich.text import Text

    bright = (small[::2] * np.asarray(_LUMINANCE)).sum(axis=2) / 256 * len(_SHADES)
    return Text("\n".join("".join(_SHADES[int(value)] for value in row) for row in bright))
