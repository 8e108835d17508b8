# SPDX-License-Identifier: Apache-2.0
"""The steps that make an answer of what a model gives, each against something that is known to be right."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.wire import Wire
from support.step_cases import rows_of_bytes


def run(name, inputs, **parameters):
    return step_kind(name).with_parameters(parameters).run(inputs)


def operator(kind, inputs, outputs, **attributes):
    """One ONNX operator run by ONNX Runtime."""
    node = onnx.helper.make_node(kind, list(inputs), outputs, **attributes)
    typed = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    told = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    told[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    graph = onnx.helper.make_graph([node], "g", typed, told)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, dict(inputs))


@pytest.mark.parametrize("iou", [0.0, 1 / 3, 0.5, 1.0])
def test_the_boxes_kept_are_those_of_the_onnx_operator(iou):
    random = np.random.default_rng(7)
    low = random.integers(0, 12, (8, 40, 2))
    boxes = np.concatenate([low, low + random.integers(-1, 9, (8, 40, 2))], axis=2).astype(np.float32)
    scores = (random.integers(0, 9, (8, 40, 3)) / 8).astype(np.float32)
    limits = {"most": np.array([40]), "iou": np.float32([iou]), "score": np.float32([0.25])}
    by_class = {"boxes": boxes, "scores": scores.transpose(0, 2, 1).copy()}
    (chosen,) = operator("NonMaxSuppression", by_class | limits, ["chosen"])
    kept = run("non_max_suppression", {"boxes": boxes, "scores": scores}, iou=iou, most=120, all_classes=True)
    for row in range(8):
        wanted = sorted((-scores[row, box, group], group, box) for index, group, box in chosen if index == row)
        count = kept["count"][row, 0]
        assert count == len(wanted) > 3
        np.testing.assert_array_equal(kept["kept_scores"][row, :count], [-score for score, _, _ in wanted])
        np.testing.assert_array_equal(kept["kept_classes"][row, :count], [group for _, group, _ in wanted])
        np.testing.assert_array_equal(kept["kept_boxes"][row, :count], boxes[row, [box for _, _, box in wanted]])
        assert not kept["kept_boxes"][row, count:].any()
        assert not kept["kept_scores"][row, count:].any()


def test_a_box_stands_for_its_best_class_and_drops_its_own_kind_only():
    boxes = np.float32([[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 10]]])
    scores = np.float32([[[0.9, 0.8], [0.7, 0.3], [0.1, 0.6]]])
    kept = run("non_max_suppression", {"boxes": boxes, "scores": scores}, most=3)
    assert kept["kept_classes"].tolist() == [[0, 1, 0]]
    assert kept["kept_scores"].tolist() == np.float32([[0.9, 0.6, 0]]).tolist()
    across = run("non_max_suppression", {"boxes": boxes, "scores": scores}, most=3, across_classes=True)
    assert across["count"].tolist() == [[1]]


def test_rounding_is_that_of_numpy():
    values = np.concatenate([np.arange(-40, 40) / 8, [2.675, 1e30, np.nan, -np.inf]])[:, None]
    for dtype in (np.float32, np.float64):
        for decimals in (-1, 0, 1, 2):
            rounded = run("round", {"values": values.astype(dtype)}, decimals=decimals)["rounded"]
            np.testing.assert_array_equal(rounded, np.round(values.astype(dtype), decimals))
    assert run("round", {"values": np.float64([[0.5, 1.5, 2.5, -0.5]])})["rounded"].tolist() == [[0, 2, 2, 0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unscaling_gives_what_scikit_learn_gives(dtype):
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    random = np.random.default_rng(4)
    target = random.normal(300, 77, (60, 2))
    answer = random.normal(0, 2, (60, 2)).astype(dtype)
    standard = StandardScaler().fit(target)
    numbers = {"mean": standard.mean_.tolist(), "std": standard.scale_.tolist()}
    ours = run("unscale", {"answer": answer}, method="standard", **numbers)["values"]
    np.testing.assert_array_equal(ours, standard.inverse_transform(answer))
    bounded = MinMaxScaler((-1, 1)).fit(target)
    numbers = {"low": bounded.data_min_.tolist(), "high": bounded.data_max_.tolist()}
    ours = run("unscale", {"answer": answer}, method="min_max", to=[-1, 1], **numbers)["values"]
    np.testing.assert_array_equal(ours, bounded.inverse_transform(answer))


def test_a_text_is_the_mean_of_its_tokens_without_the_padding():
    vectors = np.float32([[[3, 0], [0, 8], [np.nan, 99]], [[1, 1], [1, 1], [1, 1]]])
    inputs = {"last_hidden_state": vectors, "attention_mask": np.array([[1, 1, 0], [0, 0, 0]])}
    assert run("mean_pool", inputs)["embedding"].tolist() == [[1.5, 4], [0, 0]]
    long = run("mean_pool", inputs, unit_length=True)["embedding"]
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), [1, 0], rtol=1e-6)


def test_a_mask_of_other_tokens_is_refused():
    step = step_kind("mean_pool").with_parameters({})
    with pytest.raises(PipelineError) as raised:
        step.output_wires(
            {"last_hidden_state": Wire(DataType.FP32, (7, 3)), "attention_mask": Wire(DataType.INT64, (8,))}
        )
    assert "'attention_mask' must be INT64 or INT32 [7]" in raised.value.cause
    with pytest.raises(ValueError, match="row 0: there are 2 tokens, and 3 in attention_mask"):
        step.run({"last_hidden_state": [np.zeros((2, 3), np.float32)], "attention_mask": [np.ones(3, np.int64)]})


def test_a_business_cut_off_belongs_to_above():
    decided = run(
        "threshold", {"probabilities": np.float32([[0.7, 0.69, np.nan]])}, cut_off=0.7, above="pay", below="ask"
    )
    assert decided["label"].tolist() == [[b"pay", b"ask", b"ask"]]
    assert decided["decision"].tolist() == [[True, False, False]]
    below = run("threshold", {"probabilities": np.float32([[0.7]])}, cut_off=0.7, equal="below")
    assert below["label"].tolist() == [[b"no"]]


def test_a_probability_that_is_no_number_can_be_refused_by_row():
    with pytest.raises(ValueError, match="row 1: a probability is not a number"):
        run("threshold", {"probabilities": np.float32([[0.1], [np.nan]])}, if_nan="refuse")


@pytest.mark.parametrize("index", [-1, 2])
def test_an_id_without_a_label_is_refused_by_row(index):
    with pytest.raises(ValueError, match=f"row 1: '{index}' has no label; there are 2"):
        run("label_lookup", {"index": np.array([[0], [index]])}, labels=["a", "b"])


def test_ids_of_a_map_are_numbers_or_texts():
    labels = {3: "three", "n01": "tench"}
    assert run("label_lookup", {"index": np.array([[3]])}, labels={3: "three"})["label"].tolist() == [[b"three"]]
    assert run("label_lookup", {"index": rows_of_bytes(b"3")}, labels=labels)["label"].tolist() == [[b"three"]]
    assert run("label_lookup", {"index": rows_of_bytes(b"n01")}, labels=labels)["label"].tolist() == [[b"tench"]]


@pytest.mark.parametrize("identifier", [-1, 256, "n01", "07"])
def test_an_id_that_the_type_of_the_wire_cannot_hold_is_refused(identifier):
    step = step_kind("label_lookup").with_parameters({"labels": {identifier: "x", 5: "five"}})
    with pytest.raises(PipelineError) as raised:
        step.output_wires({"index": Wire(DataType.UINT8, (1,))})
    assert raised.value.cause == f"'index' is UINT8, which cannot be '{identifier}'"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"labels": {"1": "x", 1: "y"}}, "labels has the id 1 twice"),
        ({"labels": {False: "x"}}, "labels: the key false is a truth value"),
        ({"labels": ["yes", False]}, "labels[1]: false is a truth value"),
        ({"labels": ["a"], "replacement": "b"}, "a replacement `unknown: replace`"),
    ],
)
def test_labels_that_yaml_reads_otherwise_or_that_collide_are_refused(parameters, words):
    with pytest.raises(PipelineError) as raised:
        step_kind("label_lookup").with_parameters(parameters)
    assert words in raised.value.cause


def test_anchors_may_be_a_file(tmp_path):
    anchors = np.random.default_rng(1).random((6, 4)).astype(np.float32)
    np.save(tmp_path / "anchors.npy", anchors)
    raw = {"raw_boxes": np.random.default_rng(2).normal(size=(2, 6, 4)).astype(np.float32)}
    of_file = run("decode_boxes", raw, form="ssd", anchors_file=tmp_path / "anchors.npy")
    of_list = run("decode_boxes", raw, form="ssd", anchors=anchors.tolist())
    np.testing.assert_array_equal(of_file["boxes"], of_list["boxes"])


def test_shifts_of_anchors_by_hand():
    raw = {"raw_boxes": np.float32([[[1, -2, 0.5, 0]]])}
    boxes = run("decode_boxes", raw, form="ssd", anchors=[[0.5, 0.5, 0.2, 0.1]])["boxes"]
    centre, size = np.array([0.5 + 0.1 * 0.2, 0.5 - 2 * 0.1 * 0.1]), np.array([0.2 * np.exp(0.1), 0.1])
    np.testing.assert_allclose(boxes[0, 0], [*(centre - size / 2), *(centre + size / 2)], rtol=1e-6)


def test_a_letterbox_is_undone_to_the_pixel():
    pixels = np.zeros((300, 500, 3), dtype=np.uint8)
    pixels[50:150, 200:350] = 255
    small = run("resize", {"pixels": [pixels]}, longer=100)["resized"]
    padded = run("pad", {"pixels": small}, height=100, width=100)["padded"]
    rows, columns = np.nonzero(padded[0, :, :, 0] > 127)
    found = np.float32([[[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]])
    size = run("picture_size", {"pixels": [pixels]})["size"]
    back = run("boxes_to_picture", {"boxes": found, "size": size}, height=100, width=100)["picture_boxes"]
    assert back.tolist() == [[[200, 50, 350, 150]]]


def test_crops_are_those_of_pillow():
    pixels = np.random.default_rng(1).integers(0, 256, (1, 30, 40, 3), dtype=np.uint8)
    boxes = np.float32([[[3.5, 2, 20, 19.25], [-5, -5, 99, 99], [0, 0, 0, 0]]])
    crops = run("crop_boxes", {"pixels": pixels, "boxes": boxes}, height=8, width=6)["crops"][0]
    picture = Image.fromarray(pixels[0])
    bilinear = Image.Resampling.BILINEAR
    np.testing.assert_array_equal(crops[0], np.asarray(picture.resize((6, 8), bilinear, box=(3.5, 2, 20, 19.25))))
    np.testing.assert_array_equal(crops[1], np.asarray(picture.resize((6, 8), bilinear)))
    assert not crops[2].any()


def test_a_box_that_is_no_place_is_refused_by_row():
    pixels = np.zeros((2, 4, 4, 1), dtype=np.uint8)
    boxes = np.float32([[[0, 0, 1, 1]], [[0, np.nan, 1, 1]]])
    with pytest.raises(ValueError, match="row 1: box 0"):
        run("crop_boxes", {"pixels": pixels, "boxes": boxes}, height=2, width=2)


def test_json_has_names_labels_and_null_for_what_is_no_number():
    inputs = {
        "box": np.float32([[[1.26, np.nan], [3, 4]]]),
        "kind": np.array([[1, 0]]),
        "sure": np.float32([[0.1]]),
        "word": rows_of_bytes("ü".encode()),
        "good": np.array([[True, False]]),
        "count": np.int32([[1]]),
    }
    names = [name for name in inputs if name != "count"]
    labels = {"kind": ["circle", "square"]}
    (text,) = run(
        "json_out", inputs, names=names, items=["box", "kind"], count="count", labels=labels, decimals={"box": 1}
    )["json"][0]
    assert text.decode() == (
        '{"items": [{"box": [1.3, null], "kind": "square"}], "sure": 0.1, "word": "ü", "good": [true, false]}'
    )
    assert json.loads(text)["sure"] == 0.1


@pytest.mark.parametrize(
    ("inputs", "parameters", "reason"),
    [
        ({"word": rows_of_bytes(b"a", b"\xff")}, {}, "row 1: 'word' is no UTF-8 text"),
        (
            {"word": np.array([[0], [2]])},
            {"labels": {"word": ["a", "b"]}},
            "row 1: 'word' is 2, and there are 2 labels",
        ),
        (
            {"word": np.zeros((2, 3)), "count": np.array([[3], [4]])},
            {"items": ["word"], "count": "count"},
            "row 1: 'count' is 4, and there are 3",
        ),
    ],
    ids=["no text", "no label", "too many"],
)
def test_json_that_cannot_be_is_refused_by_row(inputs, parameters, reason):
    with pytest.raises(ValueError, match=reason):
        run("json_out", inputs, names=["word"], **parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("threshold", {"cut_off": [0.1, 0.2], "of_class": 1}, "of_class is one class"),
        ("round", {"decimals": 11}, "decimals is 11"),
        ("clip", {}, "neither least nor most"),
        ("clip", {"least": 2, "most": 1}, "least is 2.0, and most is 1.0"),
        ("clip", {"least": float("nan")}, "a bound must be a number"),
        ("threshold", {"cut_off": [0.1, float("nan")]}, "cut_off must be finite"),
        ("unscale", {"method": "standard", "mean": [1], "std": [0]}, "std must be above 0"),
        ("unscale", {"method": "min_max", "low": [1], "high": [2], "std": [1]}, "neither the others'"),
        ("threshold", {"above": []}, "one at least"),
        ("top_k_labels", {"labels": []}, "labels is empty"),
        ("top_k_labels", {"labels": ["a"], "k": 2}, "k is 2, and there are 1 labels"),
        ("decode_boxes", {"height": 0, "width": -5}, "at least 1 pixel"),
        ("decode_boxes", {"form": "ssd", "anchors": [[0, 0, 1, float("nan")]]}, "anchors must be finite"),
        ("decode_yolo", {"version": "v8", "bins": 0}, "at least 1"),
        ("decode_yolo", {"version": "v8", "strides": [8], "height": -32, "width": 32}, "at least 1"),
        ("decode_yolo", {"version": "v8", "strides": [], "height": 32, "width": 32}, "one at least"),
        (
            "decode_yolo",
            {"version": "v5", "strides": [8], "height": 8, "width": 8, "anchors": [[[1, 2, 3]]]},
            "width, h",
        ),
        ("non_max_suppression", {"score": float("nan")}, "score must be finite"),
        ("json_out", {"names": ["a"], "decimals": 10**9}, "between -20 and 20"),
        ("decode_boxes", {"form": "ssd"}, "needs anchors"),
        ("decode_boxes", {"form": "ssd", "anchors_file": Path("none.npy")}, "anchors_file 'none.npy' is no"),
        ("decode_boxes", {"fractions": True}, "need the height and width"),
        ("decode_yolo", {"version": "v8", "strides": [8]}, "strides need the height"),
        ("decode_yolo", {"version": "v5", "strides": [8], "height": 8, "width": 12}, "must be multiples"),
        ("non_max_suppression", {"across_classes": True, "all_classes": True}, "choose one"),
        ("boxes_to_picture", {"height": 2, "width": 3}, "height and width must be equal"),
        ("json_out", {"names": ["a"], "labels": {"b": ["c"]}}, "'b' is not among names"),
    ],
)
def test_parameters_that_can_never_work_are_refused(name, parameters, reason):
    with pytest.raises(PipelineError) as raised:
        step_kind(name).with_parameters(parameters)
    assert reason in raised.value.cause
