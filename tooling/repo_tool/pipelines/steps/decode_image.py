# SPDX-License-Identifier: Apache-2.0
"""Decode PNG, JPEG or WebP bytes to uint8 pixels ``[height, width, channels]``."""

import base64
import io
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

FORMATS = ("PNG", "JPEG", "WEBP")  # each decoder more is one more that hostile bytes can aim at
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_DATA_URL = re.compile(rb"\s*data:[^,]{0,100};base64,")  # bounded, so that hostile text costs no time


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeImage:
    """Decoded, turned upright and converted as Pillow does it; the first picture of an animation.

    With ``height`` and ``width`` a picture of another size is resized, bilinear as Pillow does it; without them
    the pixels keep the size of the picture, and are [-1, -1, channels].

    ``encoding``: the bytes themselves, or their base64 text, also as a ``data:`` URL.
    ``exif_rotation``: turn a photograph as its EXIF orientation says.
    ``most_megapixels``: a larger picture is refused before it is unpacked.
    """

    packages: ClassVar[tuple[str, ...]] = ("pillow",)
    heavy: ClassVar[bool] = True

    height: int | None = None
    width: int | None = None
    mode: Literal["L", "RGB", "RGBA"] = "RGB"
    encoding: Literal["raw", "base64"] = "raw"
    exif_rotation: bool = True
    most_megapixels: float = 50.0

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together: give both, or neither")
        if min(self.height or 1, self.width or 1) < 1 or 0 in (self.height, self.width):
            raise ValueError("height and width are at least 1 pixel")
        if not self.most_megapixels > 0:
            raise ValueError("most_megapixels must be more than 0")

    def outputs(self, inputs: Wires) -> Wires:
        """One encoded image a row becomes its pixels."""
        if inputs["image"] != ("BYTES", (1,)):
            raise ValueError(f"'image' must be BYTES [1], one encoded image a row; it is {_told(inputs['image'])}")
        return {"pixels": ("UINT8", (self.height or -1, self.width or -1, _CHANNELS[self.mode]))}

    def run(self, image: NDArray[Any]) -> dict[str, Any]:
        """Row by row."""
        rows = [self._decode(row, self._raw(row, value)) for row, (value,) in enumerate(image)]
        if self.height is None or self.width is None:
            return {"pixels": rows}
        pixels = np.empty((len(image), self.height, self.width, _CHANNELS[self.mode]), dtype=np.uint8)
        for row, decoded in enumerate(rows):
            pixels[row] = decoded
        return {"pixels": pixels}

    def _raw(self, row: int, value: bytes) -> bytes:
        if self.encoding == "raw":
            return value
        url = _DATA_URL.match(value)
        try:
            return base64.b64decode(b"".join(value[url.end() if url else 0 :].split()), validate=True)
        except ValueError as error:
            raise ValueError(f"row {row}: not base64 ({error})") from error

    def _decode(self, row: int, encoded: bytes) -> NDArray[Any]:
        try:
            return self._pixels(encoded)
        except _TooLargeError as error:
            raise ValueError(f"row {row}: {error}") from error
        except Exception as error:  # damaged bytes make Pillow raise nearly anything
            said = str(error) if encoded else "it is empty"
            raise ValueError(f"row {row}: not a readable image ({_without_addresses(said)})") from error

    def _pixels(self, encoded: bytes) -> NDArray[Any]:
        from PIL import Image, ImageOps

        with _opened(encoded) as opened:
            if opened.width * opened.height > self.most_megapixels * 1_000_000:
                raise _TooLargeError(f"the image has {opened.width} x {opened.height} pixels, too many")
            upright = ImageOps.exif_transpose(opened) if self.exif_rotation else opened
            picture = upright.convert(self.mode)
        if self.height is not None and self.width is not None and picture.size != (self.width, self.height):
            picture = picture.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.uint8).reshape(picture.height, picture.width, -1)


def _opened(encoded: bytes) -> Any:
    """Its header is read, nothing is unpacked."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _TooLargeError(f"the image has too many pixels ({error})") from error


class _TooLargeError(Exception):
    """More pixels than are unpacked."""


def _without_addresses(said: str) -> str:
    """What Pillow says, but for the address of the stream."""
    return re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", said)


def _told(wire: tuple[str, tuple[int, ...]]) -> str:
    return f"{wire[0]} {list(wire[1])}"
