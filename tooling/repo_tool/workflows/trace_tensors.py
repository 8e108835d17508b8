# SPDX-License-Identifier: Apache-2.0
"""What a tensor holds, in a few numbers, words or pixels, for people who look into a pipeline."""

__all__ = ["SeenTensor", "see"]

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.datatypes import DataType
from repo_tool.samples import Array

_FIRST = 6
_TEXT_SHOWN, _TEXT_KEPT = 60, 2000
_SMALLEST_SIDE, _LARGEST_PICTURE = 4, 512  # pixels
_KINDS = ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP"))
_CHANNELS = (1, 3, 4)
_SIDE_BY_SIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTensor:
    """A wire of the traced rows. Of numbers ``low``, ``high`` and ``mean`` are those of the finite ones."""

    wire: str
    datatype: str
    shape: tuple[int, ...]  # the rows first
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    not_finite: int = 0  # how many are NaN or infinite
    first: tuple[str, ...] = ()  # values, or words
    picture: NDArray[np.uint8] | None = None  # [height, width, 3] of the first row, where it is one

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        names = ("wire", "datatype", "low", "high", "mean", "not_finite")
        values = {name: getattr(self, name) for name in names}
        return values | {"shape": list(self.shape), "first": list(self.first), "is_picture": self.picture is not None}


def see(wire: str, rows: Array | list[Array], datatype: DataType) -> SeenTensor:
    """What a wire holds; rows of free size are a list."""
    first = rows[0] if len(rows) else np.empty((0,))
    shape = (len(rows), *np.shape(first))
    if datatype is DataType.BYTES:
        words = tuple(_word(value) for value in np.ravel(first)[:_FIRST])
        return SeenTensor(wire=wire, datatype="BYTES", shape=shape, first=words, picture=_decoded(first))
    flat = np.concatenate([np.ravel(row) for row in rows]).astype(np.float64) if len(rows) else np.empty((0,))
    finite = flat[np.isfinite(flat)]
    return SeenTensor(
        wire=wire,
        datatype=datatype.wire_name,
        shape=shape,
        low=float(finite.min()) if finite.size else None,
        high=float(finite.max()) if finite.size else None,
        mean=float(finite.mean()) if finite.size else None,
        not_finite=flat.size - finite.size,
        first=tuple(_number(value) for value in np.ravel(first)[:_FIRST].tolist()),
        picture=_picture(np.asarray(first)),
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _word(value: Any) -> str:
    """Text as it is, anything else by its kind and size."""
    if not isinstance(value, bytes):
        return str(value)
    kind = next((name for start, name in _KINDS if value.startswith(start)), None)
    if value[:4] == b"RIFF":
        kind = {b"WEBP": "WebP", b"WAVE": "WAV"}.get(value[8:12])
    try:
        text = value[:_TEXT_KEPT].decode() if kind is None else ""
    except UnicodeDecodeError:
        kind = "binary"
    if kind is not None:
        return f"{kind}, {len(value):,} bytes"
    return repr(text if len(text) <= _TEXT_SHOWN else text[: _TEXT_SHOWN - 1] + "…")


def _decoded(first: Array) -> NDArray[np.uint8] | None:
    """The picture in a single value of bytes; None where it is none, or the package is not there."""
    values = np.ravel(first)
    if len(values) != 1 or not isinstance(values[0], bytes) or not values[0].startswith(_PICTURES):
        return None
    try:
        from PIL import Image

        with Image.open(io.BytesIO(values[0])) as opened:
            opened.draft("RGB", (_LARGEST_PICTURE, _LARGEST_PICTURE))
            opened.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
            return np.asarray(opened.convert("RGB"), dtype=np.uint8)
    except (ImportError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


def _picture(first: Array) -> NDArray[np.uint8] | None:
    """Pixels of any range, channels first or last, as RGB; the first of several side by side; None for other things."""
    if first.ndim == 4 and len(first):
        crops = [_picture(each) for each in first[:_SIDE_BY_SIDE]]
        pictures = [each for each in crops if each is not None]
        return np.concatenate(pictures, axis=1) if pictures else None
    if first.ndim != 3 or first.dtype.kind not in "biuf":
        return None
    axis = 2 if first.shape[2] in _CHANNELS else 0
    pixels = np.moveaxis(first, axis, 2)
    if pixels.shape[2] not in _CHANNELS or min(pixels.shape[:2]) < _SMALLEST_SIDE:
        return None
    if pixels.dtype != np.uint8:
        pixels = _stretched(pixels)
    colours = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3]
    return np.ascontiguousarray(colours, dtype=np.uint8)


def _stretched(pixels: Array) -> Array:
    """Its least to 0, its greatest to 255."""
    values = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
    span = float(np.ptp(values))
    return ((values - values.min()) / span * 255).round() if span else np.zeros_like(values)
