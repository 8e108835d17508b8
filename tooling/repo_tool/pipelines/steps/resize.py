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
_FIXED_POINT = 2.0**22  # of the weights with which Pillow resizes bytes
_MOST_PRODUCTS = 4_000_000  # a millisecond's worth
_UINT8, _DOUBLE = 2, 11  # of onnx.TensorProto
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

    ``most_megapixels``: a row that would become larger is refused. ``most_megapixels_together`` (twice as many): of the
    rows of one call whose new sizes follow from their old ones, so that all are in memory at once.

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
    most_megapixels_together: float | None = None

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together: give both, or shorter, or longer")
        if sum(given is not None for given in (self.height, self.shorter, self.longer)) != 1:
            raise ValueError("give either height and width, or shorter, or longer")
        if any(size is not None and size < 1 for size in (self.height, self.width, self.shorter, self.longer)):
            raise ValueError("a side is at least 1 pixel")
        if not (self.most_megapixels > 0 and self._most_together > 0):
            raise ValueError("most_megapixels and most_megapixels_together must be more than 0")
        if (self.height or 0) * (self.width or 0) > self.most_megapixels * 1_000_000:
            raise ValueError(f"{self.height} x {self.width} pixels are more than most_megapixels")
        if self.antialias not in (None, self._antialiased):
            does = "widens its filters when it shrinks" if self._antialiased else "does not widen its filters"
            raise ValueError(f"antialias is {self.antialias}, and {self.library} {does} for {self.interpolation}")

    @property
    def _most_together(self) -> float:
        given = self.most_megapixels_together
        return (2 * self.most_megapixels if given is None else given) * 1_000_000

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
        self._refuse_too_many([picture.shape[:2] for picture in pixels])
        rows = [self._resized(row, picture) for row, picture in enumerate(pixels)]
        if self.height is not None or isinstance(pixels, np.ndarray):
            return {"resized": np.stack(rows)}
        return {"resized": rows}

    def _refuse_too_many(self, sizes: list[tuple[int, int]]) -> None:
        """Before any is resized."""
        together = 0
        for row, old in enumerate(sizes):
            if 0 in old:
                raise ValueError(f"row {row}: the picture is {old[0]} x {old[1]} pixels, so it is empty")
            height, width = self._size(*old)
            if height * width > self.most_megapixels * 1_000_000:
                raise ValueError(f"row {row}: it would become {height} x {width} pixels, too many")
            together += height * width if self.height is None else 0
            if together > self._most_together:
                raise ValueError(
                    f"row {row}: the pictures up to this one would become {together / 1_000_000:.1f} megapixels, and "
                    f"at most {self._most_together / 1_000_000:g} are made at once: send fewer rows in a request"
                )

    def _resized(self, row: int, picture: NDArray[Any]) -> NDArray[Any]:
        height, width = self._size(*picture.shape[:2])
        if (height, width) == picture.shape[:2]:
            return picture.copy()
        resize = _with_pillow if self.library == "pil" else _with_opencv
        try:
            return resize(np.ascontiguousarray(picture), height, width, self.interpolation)
        except (ValueError, MemoryError) as error:
            raise ValueError(f"row {row}: {' x '.join(map(str, picture.shape[:2]))} pixels: {error}") from error

    def graph(self, op: Any, inputs: Wires, pixels: Any) -> dict[str, Any]:
        """Nearest as a choice of pixels, Pillow's other filters as two products with matrices, in its arithmetic."""
        datatype, dims = inputs["pixels"]
        if -1 in dims:
            raise NotImplementedError("the rows have sizes of their own")
        old, new = dims[:2], self._size(dims[0], dims[1])
        if self.interpolation == "nearest":
            rows = op.Gather(pixels, _chosen(self, old[0], new[0]), axis=1)
            return {"resized": op.Gather(rows, _chosen(self, old[1], new[1]), axis=2)}
        if self.library == "opencv":
            raise NotImplementedError(f"no ONNX operator has the arithmetic of OpenCV's {self.interpolation}")
        if datatype != "UINT8" or dims[2] == 4:
            raise NotImplementedError(
                "only bytes without alpha are resized by Pillow in whole numbers, which a graph can do"
            )
        products = dims[2] * (old[0] * old[1] * new[1] + old[0] * new[0] * new[1])
        if products > _MOST_PRODUCTS:
            raise NotImplementedError(f"Pillow is faster than the {products:,} multiplications of a graph")
        resized = op.Cast(op.Transpose(pixels, perm=[0, 3, 1, 2]), to=_DOUBLE)
        for axis in _order(self.interpolation, old, new, dims[2]):
            resized = _filtered_in_graph(op, resized, _whole_weights(self.interpolation, old[axis], new[axis]), axis)
        return {"resized": op.Cast(op.Transpose(resized, perm=[0, 2, 3, 1]), to=_UINT8)}


def _filtered_in_graph(op: Any, planes: Any, weights: NDArray[np.float64], axis: int) -> Any:
    """The planes ``[rows, channels, height, width]`` after one pass; float64 holds all sums without error."""
    summed = op.MatMul(planes, weights) if axis == 1 else op.MatMul(np.ascontiguousarray(weights.T), planes)
    return op.Clip(op.Floor(op.Div(op.Add(summed, _FIXED_POINT / 2), _FIXED_POINT)), 0.0, 255.0)


def _filtered(planes: NDArray[Any], weights: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The same in numpy."""
    summed = planes @ weights if axis == 1 else weights.T @ planes
    return np.asarray(np.clip(np.floor((summed + _FIXED_POINT / 2) / _FIXED_POINT), 0, 255))


def _order(interpolation: str, old: tuple[int, ...], new: tuple[int, ...], channels: int) -> tuple[int, int]:
    """Which axis this Pillow does first, by which the last bit differs: asked with noise, since versions differ.

    Raises:
        NotImplementedError: neither is its arithmetic.
    """
    count = max(2, 200_000 // (old[0] * old[1] * channels))
    noise = np.random.default_rng(0).integers(0, 256, (count, *old, channels), dtype=np.uint8)
    noise[::2] = (noise[::2] > 127) * np.uint8(255)
    wanted = np.stack([_with_pillow(picture, new[0], new[1], interpolation) for picture in noise])
    for order in ((1, 0), (0, 1)):
        planes = noise.transpose(0, 3, 1, 2).astype(np.float64)
        for axis in order:
            planes = _filtered(planes, _whole_weights(interpolation, old[axis], new[axis]), axis)
        if np.array_equal(planes.transpose(0, 2, 3, 1), wanted):
            return order
    raise NotImplementedError(f"this Pillow's {interpolation} is not the arithmetic that a graph would have")


def _chosen(step: Resize, old: int, new: int) -> list[int]:
    """Which of ``old`` pixels each of ``new`` ones is."""
    ramp = np.repeat(np.arange(old, dtype=np.float32)[:, None, None], 2, axis=1)
    resize = _with_pillow if step.library == "pil" else _with_opencv
    found: list[int] = resize(ramp, new, 2, "nearest")[:, 0, 0].astype(int).tolist()
    return found


def _weights(interpolation: str, old: int, new: int) -> NDArray[np.float64]:
    """What each of ``old`` pixels gives to each of ``new`` ones, ``[old, new]``, as Pillow's Resample.c has it."""
    curve, reach = _CURVES[interpolation]
    scale = old / new
    widened = max(scale, 1.0)
    weights = np.zeros((old, new))
    for place in range(new):
        centre = (place + 0.5) * scale
        first = max(int(centre - reach * widened + 0.5), 0)
        last = min(int(centre + reach * widened + 0.5), old)
        found = curve((np.arange(first, last) - centre + 0.5) * (1 / widened))
        weights[first:last, place] = found / sum(found.tolist())
    return weights


def _whole_weights(interpolation: str, old: int, new: int) -> NDArray[np.float64]:
    """As whole numbers of 22 bits, which is how Pillow resizes bytes."""
    weights = _weights(interpolation, old, new)
    return np.asarray(np.trunc(weights * _FIXED_POINT + np.copysign(0.5, weights)))


def _box(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((x >= -3) & (x < 3), np.sinc(x) * np.sinc(x / 3), 0.0)


_CURVES = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0), "area": (_box, 0.5), "lanczos": (_lanczos, 3.0)}


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
