# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that make an answer of what a model gives."""

import numpy as np

from support.step_cases import Case, list_of_rows, rows_of_bytes

RANDOM = np.random.default_rng(3)
LOGITS = RANDOM.normal(0, 20, (5, 3, 4)).astype(np.float32)
EQUALS = RANDOM.choice([0.25, 0.5, 0.75, np.nan, -np.inf], (5, 2, 4)).astype(np.float32)
MASKS = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1], [1, 0, 1]])
NUMBERS = np.concatenate([RANDOM.normal(0, 100, (5, 6)), RANDOM.integers(-9, 9, (5, 6)) + 0.5], axis=1)
NUMBERS[0, :2] = np.nan, np.inf
WORDS = ["red", "green", "blue", "ü"]
LOWS = RANDOM.integers(0, 12, (5, 9, 2))
# On a coarse grid, so that boxes share exactly half or a third; some have no area, one no left side.
BOXES = np.concatenate([LOWS, LOWS + RANDOM.integers(-1, 9, (5, 9, 2))], axis=2).astype(np.float32)
BOXES[1, 3, 0] = np.nan
SCORES = (RANDOM.integers(0, 5, (5, 9, 3)) / 4).astype(np.float32)
SCORES[2, 4, 1] = np.nan
FREE_BOXES = [BOXES[row, : row + 2] for row in range(5)]
FREE_SCORES = [SCORES[row, : row + 2] for row in range(5)]
PICTURES = list_of_rows([(20 + row, 30 - row, 3) for row in range(5)], np.uint8)
GRIDS = {"height": 64, "width": 96, "strides": [16, 32]}  # 24 and 6 cells
TEXTS = rows_of_bytes(b"a", "ü".encode(), b"", b'"', b"\n")

CASES = {
    "softmax": Case({"logits": RANDOM.normal(0, 400, (5, 10)).astype(np.float32)}),
    "softmax: first axis, double": Case({"logits": LOGITS.astype(np.float64)}, {"axis": 0}),
    "softmax: half": Case({"logits": LOGITS.astype(np.float16)}, {"axis": 1}),
    "softmax: sizes of their own": Case({"logits": list_of_rows([(2 + row, 3) for row in range(5)], np.float32)}),
    "sigmoid": Case({"logits": LOGITS * 10}),
    "sigmoid: half": Case({"logits": LOGITS.astype(np.float16)}),
    "sigmoid: sizes of their own": Case({"logits": list_of_rows([(2 + row,) for row in range(5)], np.float64)}),
    "top_k_labels": Case({"probabilities": RANDOM.random((5, 4), dtype=np.float32)}, {"labels": WORDS, "k": 2}),
    "top_k_labels: equals, for each place": Case({"probabilities": EQUALS}, {"labels": WORDS, "k": 4}),
    "top_k_labels: half": Case({"probabilities": EQUALS[:, 0].astype(np.float16)}, {"labels": WORDS, "k": 3}),
    "top_k_labels: two at most": Case({"probabilities": RANDOM.random((5, 2))}, {"labels": WORDS[:2]}),
    "arg_max": Case({"probabilities": RANDOM.random((5, 4), dtype=np.float32)}),
    "arg_max: equals, first axis": Case({"probabilities": EQUALS.astype(np.float64)}, {"axis": 0}),
    "arg_max: half": Case({"probabilities": EQUALS.astype(np.float16)}, {"axis": 1}),
    "threshold": Case({"probabilities": EQUALS}, {"cut_off": 0.5, "above": "pay", "below": "ask"}),
    "threshold: each class its own": Case(
        {"probabilities": EQUALS.astype(np.float64)},
        {"cut_off": [0.25, 0.5, 0.6, 0.8], "above": WORDS, "equal": "below"},
    ),
    "threshold: one class": Case({"probabilities": EQUALS.astype(np.float16)}, {"of_class": 1, "cut_off": 0.75}),
    "threshold: a number or nothing": Case({"probabilities": RANDOM.random((5, 1))}, {"if_nan": "refuse"}),
    "label_lookup": Case({"index": RANDOM.integers(0, 4, (5, 2))}, {"labels": WORDS}),
    "label_lookup: unknown ones": Case(
        {"index": RANDOM.integers(-4, 8, (5, 2))}, {"labels": WORDS, "unknown": "replace", "replacement": "?"}
    ),
    "label_lookup: ids": Case(
        {"index": RANDOM.integers(-2, 9, (5, 3), dtype=np.int8)},
        {"labels": {7: "seven", 3: "three", -1: "none"}, "unknown": "replace", "replacement": "other"},
    ),
    "label_lookup: large ids": Case(
        {"index": np.array([[2**64 - 1], [2**63 - 1], [0], [5], [2**63]], dtype=np.uint64)},
        {"labels": {2**63 - 1: "largest", 5: "five"}, "unknown": "replace", "replacement": "other"},
    ),
    "label_lookup: texts": Case(
        {"index": TEXTS}, {"labels": {"a": "A", "ü": "Ü"}, "unknown": "replace", "replacement": ""}
    ),
    "label_lookup: sizes of their own": Case(
        {"index": [np.arange(1 + row) % 4 for row in range(5)]}, {"labels": WORDS}
    ),
    "round": Case({"values": NUMBERS.astype(np.float32)}, {"decimals": 2}),
    "round: to whole numbers, double": Case({"values": NUMBERS}),
    "round: to hundreds": Case({"values": NUMBERS}, {"decimals": -2}),
    "round: half": Case({"values": NUMBERS.astype(np.float16)}, {"decimals": 1}),
    "round: sizes of their own": Case({"values": list_of_rows([(1 + row,) for row in range(5)], np.float32)}),
    "clip": Case({"values": NUMBERS.astype(np.float32)}, {"least": 0, "most": 0.3}),
    "clip: half, from above": Case({"values": NUMBERS.astype(np.float16)}, {"most": 0.3}),
    "clip: small integers": Case(
        {"values": RANDOM.integers(0, 99, (5, 3)).astype(np.uint16)}, {"least": 5, "most": 50}
    ),
    "clip: integers": Case({"values": RANDOM.integers(-99, 99, (5, 3))}, {"least": -5}),
    "clip: large integers": Case({"values": np.full((5, 4), -3_924_858_634)}, {"least": -5, "most": 2**40}),
    "clip: sizes of their own": Case(
        {"values": list_of_rows([(1 + row,) for row in range(5)], np.float32)}, {"most": 9}
    ),
    "unscale": Case({"answer": NUMBERS.astype(np.float32)}, {"method": "standard", "mean": [23.5], "std": [7.7]}),
    "unscale: columns, double": Case(
        {"answer": LOGITS.astype(np.float64)},
        {"method": "standard", "mean": [1.1, 2.2, 3.3, 0], "std": [0.3, 7.7, 2, 1]},
    ),
    "unscale: between two numbers": Case(
        {"answer": LOGITS}, {"method": "min_max", "low": [1.1, -2.2, 3, 0], "high": [30, 7.7, 3, 1], "to": [-1, 1]}
    ),
    "unscale: sizes of their own": Case(
        {"answer": list_of_rows([(1 + row,) for row in range(5)], np.float32)},
        {"method": "min_max", "low": [2], "high": [5]},
    ),
    "mean_pool": Case({"last_hidden_state": LOGITS, "attention_mask": MASKS}),
    "mean_pool: half": Case(
        {"last_hidden_state": LOGITS.astype(np.float16), "attention_mask": MASKS.astype(np.int32)},
        {"unit_length": True},
    ),
    "mean_pool: sizes of their own": Case(
        {
            "last_hidden_state": list_of_rows([(1 + row, 6) for row in range(5)], np.float32),
            "attention_mask": [np.arange(1 + row) % 3 for row in range(5)],
        },
        {"unit_length": True},
    ),
    "decode_boxes": Case({"raw_boxes": BOXES}, {"form": "xywh"}),
    "decode_boxes: fractions of a picture": Case(
        {"raw_boxes": RANDOM.normal(0.5, 0.4, (5, 9, 4))},
        {"form": "cxcywh", "fractions": True, "keep_inside": True, "height": 100, "width": 300},
    ),
    "decode_boxes: rows first": Case({"raw_boxes": FREE_BOXES}, {"form": "yxyx"}),
    "decode_boxes: anchors": Case(
        {"raw_boxes": RANDOM.normal(size=(5, 9, 4)).astype(np.float32)},
        {"form": "ssd", "anchors": RANDOM.random((9, 4)).tolist()},
    ),
    "decode_yolo": Case({"predictions": RANDOM.random((5, 9, 7), dtype=np.float32)}, {"version": "v5"}),
    "decode_yolo: v8": Case({"predictions": RANDOM.random((5, 7, 9), dtype=np.float32)}, {"version": "v8"}),
    "decode_yolo: v5 on grids": Case(
        {"predictions": RANDOM.normal(size=(5, 60, 7)).astype(np.float32)},
        {"version": "v5", "anchors": [[[10, 13], [16, 30]], [[30, 61], [62, 45]]], **GRIDS},
    ),
    "decode_yolo: v8 on grids": Case(
        {"predictions": RANDOM.normal(size=(5, 19, 30)).astype(np.float32)}, {"version": "v8", "bins": 4, **GRIDS}
    ),
    "decode_yolo: x on grids": Case(
        {"predictions": RANDOM.normal(size=(5, 30, 7)).astype(np.float16)}, {"version": "x", **GRIDS}
    ),
    "non_max_suppression": Case({"boxes": BOXES, "scores": SCORES}),
    "non_max_suppression: few, exactly a third": Case(
        {"boxes": BOXES, "scores": SCORES}, {"iou": 1 / 3, "score": 0, "most": 3}
    ),
    "non_max_suppression: across classes": Case({"boxes": BOXES, "scores": SCORES}, {"across_classes": True}),
    "non_max_suppression: all classes": Case({"boxes": BOXES, "scores": SCORES}, {"all_classes": True, "score": -1}),
    "non_max_suppression: sizes of their own": Case({"boxes": FREE_BOXES, "scores": FREE_SCORES}, {"most": 4}),
    "boxes_to_picture": Case(
        {"boxes": np.nan_to_num(BOXES), "size": RANDOM.integers(1, 99, (5, 2))}, {"height": 12, "width": 12}
    ),
    "boxes_to_picture: rounded, at the top left": Case(
        {"boxes": np.nan_to_num(BOXES), "size": RANDOM.integers(1, 99, (5, 2), dtype=np.int32)},
        {"height": 12, "width": 12, "other_side": "round", "place": "top_left"},
    ),
    "boxes_to_picture: stretched, sizes of their own": Case(
        {"boxes": [np.nan_to_num(row) for row in FREE_BOXES], "size": RANDOM.integers(1, 99, (5, 2))},
        {"height": 12, "width": 24, "fit": "stretch"},
    ),
    "picture_size": Case({"pixels": PICTURES}),
    "crop_boxes": Case({"pixels": PICTURES, "boxes": np.nan_to_num(BOXES)}, {"height": 5, "width": 4}),
    "crop_boxes: with a margin, sizes of their own": Case(
        {"pixels": PICTURES, "boxes": [np.nan_to_num(row) for row in FREE_BOXES]},
        {"height": 5, "width": 4, "margin": 0.1},
    ),
    "json_out": Case(
        {"sure": EQUALS, "name": TEXTS, "kind": RANDOM.integers(0, 4, (5, 1))},
        {"names": ["kind", "sure", "name"], "labels": {"kind": WORDS}, "decimals": {"sure": 1}},
    ),
    "json_out: items": Case(
        {"box": BOXES, "score": SCORES[:, :, 0], "count": np.arange(5)[:, None]},
        {"names": ["box", "score"], "items": ["box", "score"], "count": "count"},
    ),
}
