# SPDX-License-Identifier: Apache-2.0
"""Take boxes from the pixels of the model's input back to those of the client's picture."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
FLOAT, DOUBLE = 1, 11  # of onnx.TensorProto


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxesToPicture:
    """``size`` [height, width] is the picture as the client sent it. What sticks out of it is cut off.

    ``height`` and ``width``: the model's input in pixels.

    ``fit``: ``stretch`` undoes a resize to exactly that size; ``letterbox`` one that made the longer side fit (the
    step ``resize`` with ``longer``) and padded the rest (``pad``).

    ``other_side``: as ``resize`` had it.

    ``place``: as ``pad`` had it.
    """

    height: int
    width: int
    fit: Literal["stretch", "letterbox"] = "letterbox"
    other_side: Literal["floor", "round"] = "floor"
    place: Literal["centre", "top_left"] = "centre"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError("height and width are at least 1 pixel")
        if self.fit == "letterbox" and self.height != self.width:
            raise ValueError("letterbox fits the longer side, so height and width must be equal")

    def outputs(self, inputs: Wires) -> Wires:
        """The boxes keep their shape."""
        datatype, dims = inputs["boxes"]
        if datatype != "FP32" or len(dims) != 2 or dims[1] != 4:
            raise ValueError(f"'boxes' must be FP32 [boxes, 4]; they are {datatype} {list(dims)}")
        if inputs["size"] not in (("INT64", (2,)), ("INT32", (2,))):
            raise ValueError(f"'size' must be INT64 or INT32 [2], height and width; it is {inputs['size']}")
        return {"picture_boxes": (datatype, dims)}

    def run(self, boxes: Any, size: NDArray[Any]) -> dict[str, Any]:
        """Row by row."""
        rows = [self._placed(row, *given) for row, given in enumerate(zip(boxes, size, strict=True))]
        return {
            "picture_boxes": rows if isinstance(boxes, list) else np.array(rows, dtype=np.float32).reshape(boxes.shape)
        }

    def _placed(self, row: int, boxes: NDArray[Any], size: NDArray[Any]) -> NDArray[Any]:
        if size.min() < 1:
            raise ValueError(f"row {row}: a picture of {size[0]} x {size[1]} pixels cannot be")
        old = size.astype(np.float64)
        new = self._shown(old)
        rest = np.array([self.height, self.width]) - new
        start = np.floor(rest / 2) if self.place == "centre" and self.fit == "letterbox" else rest * 0
        moved = boxes - _corners(start)
        return np.asarray(np.clip(moved * _corners(old / new), np.float32(0), _corners(old)))

    def _shown(self, old: NDArray[Any]) -> NDArray[Any]:
        """Height and width that the picture has in the model's input."""
        if self.fit == "stretch":
            return np.array([self.height, self.width], dtype=np.float64)
        if self.other_side == "floor":
            return np.asarray(np.maximum(np.floor(self.height * old / old.max()), 1))
        return np.asarray(np.maximum(np.round(old * (self.height / old.max())), 1))

    def graph(self, op: Any, inputs: Wires, boxes: Any, size: Any) -> dict[str, Any]:
        """The same arithmetic in the same order; a size below 1 is not refused."""
        old = op.Cast(size, to=DOUBLE)
        model = np.array([self.height, self.width], dtype=np.float64)
        new = model if self.fit == "stretch" else self._graph_of_shown(op, old)
        scale = _graph_of_corners(op, op.Div(old, new))
        if self.fit == "letterbox" and self.place == "centre":
            boxes = op.Sub(boxes, _graph_of_corners(op, op.Floor(op.Div(op.Sub(model, new), np.float64(2)))))
        moved, most = op.Mul(boxes, scale), _graph_of_corners(op, old)
        moved = op.Where(op.Less(moved, 0.0), 0.0, moved)
        return {"picture_boxes": op.Where(op.Greater(moved, most), most, moved)}

    def _graph_of_shown(self, op: Any, old: Any) -> Any:
        longest, wanted = op.ReduceMax(old, [1], keepdims=1), np.float64(self.height)
        if self.other_side == "floor":
            return op.Max(op.Floor(op.Div(op.Mul(old, wanted), longest)), np.float64(1))
        return op.Max(op.Round(op.Mul(old, op.Div(wanted, longest))), np.float64(1))


def _corners(height_width: NDArray[Any]) -> NDArray[Any]:
    return np.tile(height_width[::-1], 2).astype(np.float32)


def _graph_of_corners(op: Any, height_width: Any) -> Any:
    return op.Unsqueeze(op.Cast(op.Gather(height_width, [1, 0, 1, 0], axis=1), to=FLOAT), [1])
