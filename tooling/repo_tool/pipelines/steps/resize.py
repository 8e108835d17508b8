# SPDX-License-Identifier: Apache-2.0
"""Resize pixels ``[height, width, channels]`` exactly as Pillow or OpenCV does."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]

_PIL = {"nearest": "NEAREST", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "area": "BOX", "lanczos": "LANCZOS"}
_OPENCV = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "area": "INTER_AREA",
    "lanczos": "INTER_LANCZOS4",
}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_DTYPES = {"UINT8": np.uint8, "FP32": np.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """To ``height`` and ``width``, or so that the ``shorter`` or the ``longer`` side has that many pixels.

    ``library``: whose arithmetic, down to the last bit: ``pil`` (torchvision on pictures, transformers) or ``opencv``
    (albumentations, most detectors). The same name is another arithmetic there: when it shrinks, Pillow widens its
    filters (antialias), and OpenCV does not, but for ``area``, which is the box filter in Pillow. ``antialias`` may say
    so again, and is refused where the library does otherwise.

    ``other_side``: how the side that follows is made whole: ``floor`` as torchvision and transformers do it, ``round``
    as albumentations does it.

    UINT8 stays UINT8, FP32 is computed in floats.
    """

    packages: ClassVar[tuple[str, ...]] = ("pillow", "opencv-python-headless")
    heavy: ClassVar[bool] = True

    height: int | None = None
    width: int | None = None
    shorter: int | None = None
    longer: int | None = None
    library: Literal["pil", "opencv"] = "pil"
    interpolation: Literal["nearest", "bilinear", "bicubic", "area", "lanczos"] = "bilinear"
    antialias: bool | None = None
    other_side: Literal["floor", "round"] = "floor"
    most_megapixels: float = 50.0

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together: give both, or shorter, or longer")
        if sum(given is not None for given in (self.height, self.shorter, self.longer)) != 1:
            raise ValueError("give either height and width, or shorter, or longer")
        if any(size is not None and size < 1 for size in (self.height, self.width, self.shorter, self.longer)):
            raise ValueError("a side is at least 1 pixel")
        if self.antialias not in (None, self._antialiased):
            does = "widens its filters when it shrinks" if self._antialiased else "does not widen its filters"
            raise ValueError(f"antialias is {self.antialias}, and {self.library} {does} for {self.interpolation}")

    @property
    def _antialiased(self) -> bool:
        return self.interpolation == "area" or (self.library == "pil" and self.interpolation != "nearest")

    def outputs(self, inputs: Wires) -> Wires:
        """Pixels of the new size; -1 where that is another for each picture."""
        datatype, dims = inputs["pixels"]
        if datatype not in _DTYPES or len(dims) != 3 or dims[2] not in _MODES:
            raise ValueError(
                "'pixels' must be UINT8 or FP32 [height, width, channels] of 1, 3 or 4 channels; "
                f"they are {datatype} {list(dims)}"
            )
        return {"resized": (datatype, (*self._announced(dims[0], dims[1]), dims[2]))}

    def _announced(self, height: int, width: int) -> tuple[int, int]:
        if self.height is not None and self.width is not None:
            return self.height, self.width
        return (-1, -1) if -1 in (height, width) else self._size(height, width)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        if self.height is not None and self.width is not None:
            return self.height, self.width
        side = (min if self.longer is None else max)(height, width)
        wanted = self.longer or self.shorter or 1
        if self.other_side == "floor":
            new = [wanted if old == side else int(wanted * old / side) for old in (height, width)]
        else:
            new = [round(old * (wanted / side)) for old in (height, width)]
        return max(new[0], 1), max(new[1], 1)

    def run(self, pixels: Any) -> dict[str, Any]:
        """Row by row."""
        rows = [self._resized(row, picture) for row, picture in enumerate(pixels)]
        if self.height is not None or isinstance(pixels, np.ndarray):
            return {"resized": np.stack(rows)}
        return {"resized": rows}

    def _resized(self, row: int, picture: NDArray[Any]) -> NDArray[Any]:
        if 0 in picture.shape:
            raise ValueError(
                f"row {row}: the picture is {picture.shape[0]} x {picture.shape[1]} pixels, so it is empty"
            )
        height, width = self._size(*picture.shape[:2])
        if height * width > self.most_megapixels * 1_000_000:
            raise ValueError(f"row {row}: it would become {height} x {width} pixels, too many")
        if (height, width) == picture.shape[:2]:
            return picture.copy()
        resize = _with_pillow if self.library == "pil" else _with_opencv
        try:
            return resize(np.ascontiguousarray(picture), height, width, self.interpolation)
        except (ValueError, MemoryError) as error:
            raise ValueError(f"row {row}: {' x '.join(map(str, picture.shape[:2]))} pixels: {error}") from error

    def graph(self, op: Any, inputs: Wires, pixels: Any) -> dict[str, Any]:
        """Nearest only, where each new pixel is one old one, and which one the library itself is asked."""
        _, dims = inputs["pixels"]
        if -1 in dims:
            raise NotImplementedError("the rows have sizes of their own")
        if self.interpolation != "nearest":
            raise NotImplementedError(f"no ONNX operator has the arithmetic of {self.library}'s {self.interpolation}")
        height, width = self._size(dims[0], dims[1])
        across = op.Gather(pixels, _chosen(self, dims[0], height), axis=1)
        return {"resized": op.Gather(across, _chosen(self, dims[1], width), axis=2)}


def _chosen(step: Resize, old: int, new: int) -> list[int]:
    """Which of ``old`` pixels each of ``new`` ones is."""
    ramp = np.repeat(np.arange(old, dtype=np.float32)[:, None, None], 2, axis=1)
    resize = _with_pillow if step.library == "pil" else _with_opencv
    found: list[int] = resize(ramp, new, 2, "nearest")[:, 0, 0].astype(int).tolist()
    return found


def _with_pillow(picture: NDArray[Any], height: int, width: int, interpolation: str) -> NDArray[Any]:
    from PIL import Image

    filtered = Image.Resampling[_PIL[interpolation]]
    if picture.dtype == np.uint8:
        whole = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
        return np.asarray(whole.resize((width, height), filtered)).reshape(height, width, -1)
    planes = [Image.fromarray(np.ascontiguousarray(picture[:, :, index])) for index in range(picture.shape[2])]
    return np.stack([np.asarray(plane.resize((width, height), filtered)) for plane in planes], axis=2)


def _with_opencv(picture: NDArray[Any], height: int, width: int, interpolation: str) -> NDArray[Any]:
    import cv2

    try:
        resized = cv2.resize(picture, (width, height), interpolation=getattr(cv2, _OPENCV[interpolation]))
    except cv2.error as error:  # for want of memory, too
        raise ValueError(f"OpenCV cannot resize them ({error.err})") from error
    return np.asarray(resized).reshape(height, width, -1)
