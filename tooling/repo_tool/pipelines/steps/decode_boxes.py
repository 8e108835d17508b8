# SPDX-License-Identifier: Apache-2.0
"""Turn the boxes of a detector into corners: left, top, right, bottom, in pixels."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
FLOAT = 1  # of onnx.TensorProto


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeBoxes:
    """Everything is computed in FP32.

    ``form``: what the four numbers of a box are. ``xyxy``: the corners already; ``yxyx``: the same, as TensorFlow's
    detectors give them; ``xywh``: left, top, width, height, as in COCO; ``cxcywh``: centre, width, height; ``ssd``:
    shifts of ``anchors``: the centre moves by so many widths and heights of the anchor, and its width and height grow
    by the exponential.

    ``anchors``: for each box centre, width, height.

    ``anchors_file``: the same as an ``.npy`` file [boxes, 4].

    ``variances``: the four shifts are multiplied by these first.

    ``fractions``: the numbers, anchors included, are fractions of a picture of ``height`` x ``width`` pixels.

    ``keep_inside``: what sticks out of that picture is cut off.
    """

    form: Literal["xyxy", "yxyx", "xywh", "cxcywh", "ssd"] = "xyxy"
    height: int | None = None
    width: int | None = None
    fractions: bool = False
    keep_inside: bool = False
    anchors: list[list[float]] | None = None
    anchors_file: Path | None = None
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def __post_init__(self) -> None:
        if any(side is not None and side < 1 for side in (self.height, self.width)):
            raise ValueError(f"height and width are at least 1 pixel; they are {self.height} and {self.width}")
        sized = self.height is not None and self.width is not None
        if (self.fractions or self.keep_inside) and not sized:
            raise ValueError("fractions and keep_inside need the height and width of the picture")
        given = (self.anchors is not None) + (self.anchors_file is not None)
        if given != (self.form == "ssd"):
            raise ValueError("the form ssd, and no other, needs anchors or anchors_file")
        if given and (self._anchors().ndim != 2 or self._anchors().shape[1] != 4):
            raise ValueError(f"anchors must be [boxes, 4]; they are {list(self._anchors().shape)}")
        _refuse_unless_finite(variances=self.variances, anchors=self._anchors() if given else None)

    def outputs(self, inputs: Wires) -> Wires:
        """Four corners for each box."""
        datatype, dims = inputs["raw_boxes"]
        if datatype not in ("FP16", "FP32", "FP64") or len(dims) != 2 or dims[1] != 4:
            raise ValueError(f"'raw_boxes' must be floats [boxes, 4]; they are {datatype} {list(dims)}")
        if self.form == "ssd" and dims[0] != len(self._anchors()):
            raise ValueError(f"'raw_boxes' are {dims[0]}, and there are {len(self._anchors())} anchors")
        return {"boxes": ("FP32", dims)}

    def run(self, raw_boxes: Any) -> dict[str, Any]:
        """All rows at once; one by one where their numbers of boxes differ."""
        if isinstance(raw_boxes, list):
            return {"boxes": [self._decoded(row) for row in raw_boxes]}
        return {"boxes": self._decoded(raw_boxes)}

    def _decoded(self, raw: NDArray[Any]) -> NDArray[Any]:
        first, second = np.split(raw.astype(np.float32), 2, axis=-1)
        if self.form == "ssd":
            place, size = np.split(self._anchors(), 2, axis=-1)
            shift, growth = np.split(np.array(self.variances, dtype=np.float32), 2)
            first, second = first * shift * size + place, np.exp(second * growth) * size
        if self.form == "yxyx":
            first, second = first[..., ::-1], second[..., ::-1]
        if self.form in ("cxcywh", "ssd"):
            half = second / 2
            first, second = first - half, first + half
        if self.form == "xywh":
            second = first + second
        corners = np.concatenate([first, second], axis=-1)
        if self.fractions:
            corners *= self._sides()
        return np.clip(corners, np.float32(0), self._sides()) if self.keep_inside else corners

    def graph(self, op: Any, inputs: Wires, raw_boxes: Any) -> dict[str, Any]:
        """The same arithmetic in the same order."""
        first, second = op.Split(op.Cast(raw_boxes, to=FLOAT), num_outputs=2, axis=-1, _outputs=2)
        if self.form == "ssd":
            place, size = np.split(self._anchors(), 2, axis=-1)
            shift, growth = np.split(np.array(self.variances, dtype=np.float32), 2)
            first = op.Add(op.Mul(op.Mul(first, shift), size), place)
            second = op.Mul(op.Exp(op.Mul(second, growth)), size)
        if self.form == "yxyx":
            first, second = op.Gather(first, [1, 0], axis=-1), op.Gather(second, [1, 0], axis=-1)
        if self.form in ("cxcywh", "ssd"):
            half = op.Div(second, 2.0)
            first, second = op.Sub(first, half), op.Add(first, half)
        if self.form == "xywh":
            second = op.Add(first, second)
        corners = op.Concat(first, second, axis=-1)
        if self.fractions:
            corners = op.Mul(corners, self._sides())
        if self.keep_inside:
            corners = op.Where(op.Less(corners, 0.0), 0.0, corners)
            corners = op.Where(op.Greater(corners, self._sides()), self._sides(), corners)
        return {"boxes": corners}

    def _sides(self) -> NDArray[Any]:
        return np.array([self.width, self.height] * 2, dtype=np.float32)

    def _anchors(self) -> NDArray[Any]:
        if self.anchors_file is not None:
            return _read_anchors(Path(self.anchors_file))
        return np.array(self.anchors, dtype=np.float32)


@lru_cache
def _read_anchors(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    except (OSError, EOFError) as error:
        raise ValueError(f"anchors_file '{path}' is no .npy file of numbers ({error})") from error


def _refuse_unless_finite(**numbers: Any) -> None:
    for name, given in numbers.items():
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"{name} must be finite; it is {given}")
