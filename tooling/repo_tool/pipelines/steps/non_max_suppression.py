# SPDX-License-Identifier: Apache-2.0
"""Keep of boxes that overlap the one with the best score, as the ONNX operator of this name does."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
INT32, INT64 = 6, 7  # of onnx.TensorProto
_NEVER = float("-inf")  # the score of what is no candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class NonMaxSuppression:
    """A box is two opposite corners. One with a corner that is not finite is dropped, as is a score that is no number.

    ``iou``: a box is dropped where what it shares with a better one is more than that part of both.

    ``score``: a box needs more than that.

    ``most``: so many boxes are given, best first, and of equal scores in the order of classes, then of boxes; where
    fewer are left the rest is 0, and ``count`` tells how many there are.

    ``across_classes``: a box drops others of any class, else of its own only.

    ``all_classes``: a box stands for each class whose score suffices, else for its best one alone (the first of
    equals).
    """

    iou: float = 0.5
    score: float = 0.25
    most: int = 100
    across_classes: bool = False
    all_classes: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.iou <= 1:
            raise ValueError(f"iou is {self.iou}, and a share of the area is between 0 and 1")
        if self.most < 1:
            raise ValueError(f"most is {self.most}, and one box is the least")
        if self.across_classes and self.all_classes:
            raise ValueError("all_classes gives a box several times, which across_classes drops again: choose one")
        _refuse_unless_finite(score=self.score)

    def outputs(self, inputs: Wires) -> Wires:
        """As many boxes for every row, and how many of them count."""
        boxes, scores = inputs["boxes"], inputs["scores"]
        if boxes[0] != "FP32" or len(boxes[1]) != 2 or boxes[1][1] != 4:
            raise ValueError(f"'boxes' must be FP32 [boxes, 4]; they are {boxes[0]} {list(boxes[1])}")
        if scores[0] != "FP32" or len(scores[1]) != 2 or scores[1][0] != boxes[1][0] or scores[1][1] == -1:
            raise ValueError(
                f"'scores' must be FP32 [{boxes[1][0]}, classes], for each box; they are {scores[0]} {list(scores[1])}"
            )
        return {
            "kept_boxes": ("FP32", (self.most, 4)),
            "kept_scores": ("FP32", (self.most,)),
            "kept_classes": ("INT64", (self.most,)),
            "count": ("INT32", (1,)),
        }

    def run(self, boxes: Any, scores: Any) -> dict[str, Any]:
        """Row by row, in float32 throughout."""
        rows = len(boxes)
        kept: dict[str, NDArray[Any]] = {
            "kept_boxes": np.zeros((rows, self.most, 4), dtype=np.float32),
            "kept_scores": np.zeros((rows, self.most), dtype=np.float32),
            "kept_classes": np.zeros((rows, self.most), dtype=np.int64),
            "count": np.zeros((rows, 1), dtype=np.int32),
        }
        for row in range(rows):
            if len(boxes[row]) != len(scores[row]):
                raise ValueError(f"row {row}: there are {len(boxes[row])} boxes and scores of {len(scores[row])}")
            candidates, classes = self._candidates(boxes[row], scores[row])
            group, box = self._survivors(boxes[row], candidates)
            kept["kept_boxes"][row, : len(box)] = boxes[row][box]
            kept["kept_scores"][row, : len(box)] = candidates[box, group]
            kept["kept_classes"][row, : len(box)] = classes[box] if self.across_classes else group
            kept["count"][row] = len(box)
        return kept

    def _candidates(self, boxes: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Scores ``[boxes, groups]``, one group for each class or a single one, and the best class of each box."""
        finite = np.isfinite(boxes).all(axis=1, keepdims=True)
        usable = np.where(finite & (scores > np.float32(self.score)), scores, np.float32(_NEVER))
        best = usable.argmax(axis=1)
        if self.across_classes:
            return np.take_along_axis(usable, best[:, None], axis=1), best
        if self.all_classes:
            return usable, best
        return np.where(np.arange(scores.shape[1]) == best[:, None], usable, np.float32(_NEVER)), best

    def _survivors(self, boxes: NDArray[Any], candidates: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Group and box of each that is kept, best first."""
        pairs = [(group, box) for group, scores in enumerate(candidates.T) for box in self._of_group(boxes, scores)]
        group, box = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        best_first = np.lexsort((box, group, -candidates[box, group]))[: self.most]
        return group[best_first], box[best_first]

    def _of_group(self, boxes: NDArray[Any], scores: NDArray[Any]) -> list[int]:
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > _NEVER]
        corners = boxes[order].reshape(-1, 2, 2)
        low, high = corners.min(axis=1), corners.max(axis=1)
        kept: list[int] = []
        left = np.arange(len(order))
        while len(left) and len(kept) < self.most:
            best, left = left[0], left[1:]
            kept.append(int(order[best]))
            left = left[~self._covers(low[best], high[best], low[left], high[left])]
        return kept

    def _covers(
        self, low: NDArray[Any], high: NDArray[Any], others_low: NDArray[Any], others_high: NDArray[Any]
    ) -> NDArray[Any]:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            common = np.maximum(np.minimum(high, others_high) - np.maximum(low, others_low), 0).prod(axis=1)
            own, others = (high - low).prod(), (others_high - others_low).prod(axis=1)
            share = common / (own + others - common)
            return np.asarray((common > 0) & (own > 0) & (others > 0) & (share > np.float32(self.iou)))

    def graph(self, op: Any, inputs: Wires, boxes: Any, scores: Any) -> dict[str, Any]:
        """The operator of this name, whose list of all rows is spread out again and sorted."""
        rows = op.Shape(boxes, start=0, end=1)
        if inputs["boxes"][1][0] == -1:  # a row without any box gets one that is no candidate
            boxes = op.Concat(boxes, op.Expand(0.0, op.Concat(rows, [1, 4], axis=0)), axis=1)
            one = op.Concat(rows, [1, inputs["scores"][1][1]], axis=0)
            scores = op.Concat(scores, op.Expand(_NEVER, one), axis=1)
        candidates, classes = self._graph_of_candidates(op, inputs, boxes, scores)
        chosen = op.NonMaxSuppression(boxes, candidates, [self.most], [self.iou], [self.score])
        spread = op.ScatterND(op.Expand(_NEVER, op.Shape(candidates)), chosen, op.GatherND(candidates, chosen))
        spare = op.Expand(_NEVER, op.Concat(rows, [self.most], axis=0))  # so that there are `most` in any case
        everything = op.Concat(op.Reshape(spread, [0, -1]), spare, axis=1)
        best, place = op.TopK(everything, [self.most], axis=1, largest=1, sorted=1, _outputs=2)
        how_many = op.Shape(candidates, start=2, end=3)
        box, group = op.Unsqueeze(op.Mod(place, how_many), [2]), op.Div(place, how_many)
        if self.across_classes:
            group = op.Squeeze(op.GatherND(classes, box, batch_dims=1), [2])
        counts = op.Greater(best, _NEVER)
        return {
            "kept_boxes": op.Where(op.Unsqueeze(counts, [2]), op.GatherND(boxes, box, batch_dims=1), 0.0),
            "kept_scores": op.Where(counts, best, 0.0),
            "kept_classes": op.Where(counts, group, 0),
            "count": op.ReduceSum(op.Cast(counts, to=INT32), [1], keepdims=1),
        }

    def _graph_of_candidates(self, op: Any, inputs: Wires, boxes: Any, scores: Any) -> tuple[Any, Any]:
        broken = op.IsNaN(op.ReduceSum(op.Mul(boxes, 0.0), [2], keepdims=1))  # 0 times infinity is no number either
        usable = op.Where(op.Greater(scores, self.score), scores, _NEVER)
        usable = op.Where(broken, _NEVER, usable)
        classes = op.ArgMax(usable, axis=2, keepdims=1)
        if self.across_classes:
            usable = op.ReduceMax(usable, [2], keepdims=1)
        elif not self.all_classes:
            every_class = np.arange(inputs["scores"][1][1])
            usable = op.Where(op.Equal(every_class, classes), usable, _NEVER)
        return op.Transpose(usable, perm=[0, 2, 1]), classes


def _refuse_unless_finite(**numbers: Any) -> None:
    for name, given in numbers.items():
        if given is not None and not np.isfinite(given).all():
            raise ValueError(f"{name} must be finite; it is {given}")
