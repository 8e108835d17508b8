# SPDX-License-Identifier: Apache-2.0
"""Turn what a YOLO model gives into ``boxes`` (left, top, right, bottom, in pixels) and ``scores`` of the classes."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
FLOAT = 1  # of onnx.TensorProto


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeYolo:
    """Everything is computed in FP32; the boxes are in pixels of the model's own input.

    ``version``: ``v5`` gives [boxes, 5 + classes]: centre, width, height, whether there is anything, the classes; a
    score is the product of the two. ``v8`` gives [4 + classes, boxes]: no such product. ``x`` (YOLOX) is laid out as
    v5.

    ``strides``: how large the cells of each grid are (8, 16, 32), where the export has not decoded the boxes; most
    have. Then v5 is logits, its boxes by stride, anchor, row, column; v8 is [4 x bins + classes, boxes]: logits of the
    distance to each side and of the classes; x is shifts from the cell and logarithms of the size in cells.

    ``height`` and ``width``: the model's input in pixels, with strides.

    ``anchors``: for v5 with strides, for each stride a list of [width, height] in pixels.

    ``bins``: of each distance, for v8 with strides.
    """

    version: Literal["v5", "v8", "x"]
    height: int | None = None
    width: int | None = None
    strides: list[int] | None = None
    anchors: list[list[list[float]]] | None = None
    bins: int = 16

    def __post_init__(self) -> None:
        if self.bins < 1 or any(side is not None and side < 1 for side in (self.height, self.width)):
            raise ValueError("height, width and bins are at least 1")
        if self.strides is None:
            return
        if not self.strides:
            raise ValueError("strides holds one at least")
        if self.height is None or self.width is None:
            raise ValueError("strides need the height and width of the model's input")
        if any(stride < 1 or self.height % stride or self.width % stride for stride in self.strides):
            raise ValueError(f"height {self.height} and width {self.width} must be multiples of {self.strides}")
        if (self.version == "v5") != (self.anchors is not None):
            raise ValueError("v5 with strides, and no other, needs anchors")
        if self.anchors is not None and len(self.anchors) != len(self.strides):
            raise ValueError(f"there are {len(self.strides)} strides, and anchors for {len(self.anchors)}")
        for anchors in self.anchors or []:
            if np.shape(anchors)[1:] != (2,):
                raise ValueError(f"anchors are [width, height], one at least for each stride; one has {anchors}")
            _refuse_unless_finite(anchors=anchors)

    def outputs(self, inputs: Wires) -> Wires:
        """Four corners and a score for each class, for each box."""
        datatype, dims = inputs["predictions"]
        layout = "[numbers, boxes]" if self.version == "v8" else "[boxes, numbers]"
        if datatype not in ("FP16", "FP32", "FP64") or len(dims) != 2:
            raise ValueError(f"'predictions' must be floats {layout}; they are {datatype} {list(dims)}")
        boxes, numbers = dims if self.version != "v8" else dims[::-1]
        if numbers <= self._before_classes():
            before = self._before_classes()
            raise ValueError(
                f"'predictions' must be {layout} of more than {before} numbers; they are {datatype} {list(dims)}"
            )
        if self.strides is not None and boxes != len(self._cells()[0]):
            raise ValueError(f"'predictions' have {boxes} boxes; the grids have {len(self._cells()[0])} cells")
        return {"boxes": ("FP32", (boxes, 4)), "scores": ("FP32", (boxes, numbers - self._before_classes()))}

    def _before_classes(self) -> int:
        if self.version == "v8":
            return 4 if self.strides is None else 4 * self.bins
        return 5

    def _cells(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """For each box the column and row of its cell, the stride, and its anchor's width and height."""
        columns_rows, strides, sizes = [], [], []
        for place, stride in enumerate(self.strides or []):
            rows, columns = np.mgrid[: (self.height or 0) // stride, : (self.width or 0) // stride]
            for size in self.anchors[place] if self.anchors else [[stride, stride]]:
                columns_rows.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
                strides.append(np.full((rows.size, 1), stride))
                sizes.append(np.tile(size, (rows.size, 1)))
        made = [np.concatenate(each).astype(np.float32) for each in (columns_rows, strides, sizes)]
        return made[0], made[1], made[2]

    def run(self, predictions: Any) -> dict[str, Any]:
        """All rows at once; one by one where their numbers of boxes differ."""
        if not isinstance(predictions, list):
            return self._decoded(predictions)
        rows = [self._decoded(row[None]) for row in predictions]
        return {name: [row[name][0] for row in rows] for name in ("boxes", "scores")}

    def _decoded(self, predictions: NDArray[Any]) -> dict[str, Any]:
        wide = predictions.astype(np.float32)
        wide = wide.transpose(0, 2, 1) if self.version == "v8" else wide
        if self.strides is not None and self.version == "v5":
            wide = _sigmoid(wide)
        first = self._before_classes()
        classes = wide[:, :, first:]
        if self.version != "v8":
            scores = wide[:, :, 4:5] * classes
        else:
            scores = classes if self.strides is None else _sigmoid(classes)
        return {"boxes": self._corners(wide[:, :, :first]), "scores": np.ascontiguousarray(scores)}

    def _corners(self, wide: NDArray[Any]) -> NDArray[Any]:
        if self.strides is not None and self.version == "v8":
            return self._by_distances(wide)
        centre, size = wide[:, :, :2], wide[:, :, 2:4]
        if self.strides is not None:
            cells, strides, anchors = self._cells()
            if self.version == "v5":
                centre, size = (centre * 2 - np.float32(0.5) + cells) * strides, (size * 2) * (size * 2) * anchors
            else:
                centre, size = (centre + cells) * strides, np.exp(size) * strides
        half = size / 2
        return np.concatenate([centre - half, centre + half], axis=2)

    def _by_distances(self, wide: NDArray[Any]) -> NDArray[Any]:
        cells, strides, _ = self._cells()
        logits = wide.reshape(*wide.shape[:2], 4, self.bins)
        likely = np.exp(logits - logits.max(axis=3, keepdims=True))
        steps = np.arange(self.bins, dtype=np.float32)
        distances = (likely / likely.sum(axis=3, keepdims=True) * steps).sum(axis=3)
        middle = cells + np.float32(0.5)
        corners = np.concatenate([middle - distances[:, :, :2], middle + distances[:, :, 2:]], axis=2)
        return np.asarray(corners * strides)

    def graph(self, op: Any, inputs: Wires, predictions: Any) -> dict[str, Any]:
        """The same arithmetic in the same order."""
        wide = op.Cast(predictions, to=FLOAT)
        wide = op.Transpose(wide, perm=[0, 2, 1]) if self.version == "v8" else wide
        if self.strides is not None and self.version == "v5":
            wide = op.Sigmoid(wide)
        scores = op.Slice(wide, [self._before_classes()], [2**31 - 1], [2])
        if self.version != "v8":
            scores = op.Mul(op.Slice(wide, [4], [5], [2]), scores)
        elif self.strides is not None:
            scores = op.Sigmoid(scores)
        return {"boxes": self._graph_of_corners(op, wide), "scores": scores}

    def _graph_of_corners(self, op: Any, wide: Any) -> Any:
        if self.strides is not None and self.version == "v8":
            return self._graph_by_distances(op, wide)
        centre, size = op.Slice(wide, [0], [2], [2]), op.Slice(wide, [2], [4], [2])
        if self.strides is not None:
            cells, strides, anchors = self._cells()
            if self.version == "v5":
                centre = op.Mul(op.Add(op.Sub(op.Mul(centre, 2.0), 0.5), cells), strides)
                size = op.Mul(op.Mul(op.Mul(size, 2.0), op.Mul(size, 2.0)), anchors)
            else:
                centre, size = op.Mul(op.Add(centre, cells), strides), op.Mul(op.Exp(size), strides)
        half = op.Div(size, 2.0)
        return op.Concat(op.Sub(centre, half), op.Add(centre, half), axis=2)

    def _graph_by_distances(self, op: Any, wide: Any) -> Any:
        cells, strides, _ = self._cells()
        logits = op.Reshape(op.Slice(wide, [0], [4 * self.bins], [2]), [0, 0, 4, self.bins])
        steps = np.arange(self.bins, dtype=np.float32)
        distances = op.ReduceSum(op.Mul(op.Softmax(logits, axis=3), steps), [3], keepdims=0)
        middle = cells + np.float32(0.5)
        before = op.Sub(middle, op.Slice(distances, [0], [2], [2]))
        after = op.Add(middle, op.Slice(distances, [2], [4], [2]))
        return op.Mul(op.Concat(before, after, axis=2), strides)


def _sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    small = np.exp(-np.abs(logits))  # at most 1
    return np.asarray(np.where(logits >= 0, np.float32(1), small) / (1 + small))


def _refuse_unless_finite(**numbers: Any) -> None:
    for name, given in numbers.items():
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"{name} must be finite; it is {given}")
