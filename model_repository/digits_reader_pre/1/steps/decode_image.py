# SPDX-License-Identifier: Apache-2.0
"""Decode PNG, JPEG or WebP bytes to uint8 pixels ``[height, width, channels]``."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
Read = TypeVar("Read")

FORMATS = ("PNG", "JPEG", "WEBP")  # each decoder more is one more that hostile bytes can aim at
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_DATA_URL = re.compile(rb"\s*data:[^,]{0,100};base64,")  # bounded, so that hostile text costs no time


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeImage:
    """Decoded, turned upright and converted as Pillow does it; the first picture of an animation.

    With ``height`` and ``width`` a picture of another size is resized, bilinear as Pillow does it; without them
    the pixels keep the size of the picture, and are [-1, -1, channels].

    A picture whose grey has 16 or 32 bits is refused: Pillow cuts it off at 255, which makes nearly all of it white.

    ``encoding``: the bytes themselves, or their base64 text, also as a ``data:`` URL.
    ``exif_rotation``: turn a photograph as its EXIF orientation says.
    ``most_megapixels``: a larger picture is refused before it is unpacked.
    ``most_megapixels_together`` (twice as many): of the pictures of one call that keep their sizes, so that all are in
    memory at once; with ``height`` and ``width`` they are unpacked one after another.
    """

    packages: ClassVar[tuple[str, ...]] = ("pillow",)
    heavy: ClassVar[bool] = True

    height: int | None = None
    width: int | None = None
    mode: Literal["L", "RGB", "RGBA"] = "RGB"
    encoding: Literal["raw", "base64"] = "raw"
    exif_rotation: bool = True
    most_megapixels: float = 50.0
    most_megapixels_together: float | None = None

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together: give both, or neither")
        if min(self.height or 1, self.width or 1) < 1 or 0 in (self.height, self.width):
            raise ValueError("height and width are at least 1 pixel")
        if not (self.most_megapixels > 0 and self._most_together > 0):
            raise ValueError("most_megapixels and most_megapixels_together must be more than 0")
        if (self.height or 0) * (self.width or 0) > self.most_megapixels * 1_000_000:
            raise ValueError(f"{self.height} x {self.width} pixels are more than most_megapixels")

    @property
    def _most_together(self) -> float:
        given = self.most_megapixels_together
        return (2 * self.most_megapixels if given is None else given) * 1_000_000

    def outputs(self, inputs: Wires) -> Wires:
        """One encoded image a row becomes its pixels."""
        if inputs["image"] != ("BYTES", (1,)):
            raise ValueError(f"'image' must be BYTES [1], one encoded image a row; it is {_told(inputs['image'])}")
        return {"pixels": ("UINT8", (self.height or -1, self.width or -1, _CHANNELS[self.mode]))}

    def run(self, image: NDArray[Any]) -> dict[str, Any]:
        """Row by row."""
        rows = [self._raw(row, value) for row, (value,) in enumerate(image)]
        if self.height is None or self.width is None:
            self._refuse_too_many(rows)
            return {"pixels": [self._decode(row, encoded) for row, encoded in enumerate(rows)]}
        pixels = np.empty((len(image), self.height, self.width, _CHANNELS[self.mode]), dtype=np.uint8)
        for row, encoded in enumerate(rows):
            pixels[row] = self._decode(row, encoded)
        return {"pixels": pixels}

    def _refuse_too_many(self, rows: list[bytes]) -> None:
        """By their headers, before any is unpacked."""
        together = 0
        for row, encoded in enumerate(rows):
            together += self._reading(row, encoded, self._size)
            if together > self._most_together:
                most = f"{self._most_together / 1_000_000:g}"
                raise ValueError(
                    f"row {row}: the images up to this one have {together / 1_000_000:.1f} megapixels together, and at "
                    f"most {most} are unpacked at once: send fewer rows in a request"
                )

    def _raw(self, row: int, value: bytes) -> bytes:
        if self.encoding == "raw":
            return value
        url = _DATA_URL.match(value)
        try:
            return base64.b64decode(b"".join(value[url.end() if url else 0 :].split()), validate=True)
        except ValueError as error:
            raise ValueError(f"row {row}: not base64 ({error})") from error

    def _decode(self, row: int, encoded: bytes) -> NDArray[Any]:
        return self._reading(row, encoded, self._pixels)

    def _reading(self, row: int, encoded: bytes, read: Callable[[bytes], Read]) -> Read:
        try:
            return read(encoded)
        except _RefusedError as error:
            raise ValueError(f"row {row}: {error}") from error
        except Exception as error:  # damaged bytes make Pillow raise nearly anything
            said = str(error) if encoded else "it is empty"
            raise ValueError(f"row {row}: not a readable image ({_without_addresses(said)})") from error

    def _size(self, encoded: bytes) -> int:
        with _opened(encoded) as opened:
            self._refuse(opened)
            return int(opened.width * opened.height)

    def _refuse(self, opened: Any) -> None:
        if opened.width * opened.height > self.most_megapixels * 1_000_000:
            raise _RefusedError(f"the image has {opened.width} x {opened.height} pixels, too many")
        if opened.mode.startswith(("I", "F")):
            raise _RefusedError("the image has more than 8 bits a pixel and channel: make it one of 8 bits before")

    def _pixels(self, encoded: bytes) -> NDArray[Any]:
        from PIL import Image, ImageOps

        with _opened(encoded) as opened:
            self._refuse(opened)
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
        raise _RefusedError(f"the image has too many pixels ({error})") from error


class _RefusedError(Exception):
    """It could be read, and is not."""


def _without_addresses(said: str) -> str:
    """What Pillow says, but for the address of the stream."""
    return re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", said)


def _told(wire: tuple[str, tuple[int, ...]]) -> str:
    return f"{wire[0]} {list(wire[1])}"
