# SPDX-License-Identifier: Apache-2.0
"""A pipeline over colour pictures, its model, some pictures, and training code that agrees with it or does not."""

from pathlib import Path

import numpy as np
from PIL import Image

PIPELINE = """
name: colour_reader
inputs:
  image: {datatype: BYTES, dims: [1]}
steps:
  - use: decode_image
  - use: resize
    with: {height: 8, width: 8}
  - use: normalise
    with: {mean: [0.4, 0.45, 0.5], std: [0.2, 0.25, 0.3]}
    inputs: {pixels: resized}
  - model: colours
    inputs: {x: tensor}
  - use: softmax
  - use: top_k_labels
    with: {k: 2, labels: {file: labels.txt}}
outputs: [label, probability]
"""
CASCADE = """
name: colour_cascade
inputs:
  image: {datatype: BYTES, dims: [1]}
steps:
  - use: decode_image
    with: {height: 8, width: 8}
  - use: normalise
    with: {mean: [0.4, 0.45, 0.5], std: [0.2, 0.25, 0.3]}
  - model: colours
    inputs: {x: tensor}
  - use: softmax
  - use: top_k_labels
    with: {k: 1, labels: {file: labels.txt}}
  - name: unsure
    when: {wire: probability, is_below: 0.5, otherwise: {second: {wire: logits}}}
    steps:
      - use: normalise
        name: brighter
        with: {mean: [0.3, 0.35, 0.4], std: [0.2, 0.25, 0.3]}
        outputs: {tensor: brighter}
      - model: colours
        name: again
        inputs: {x: brighter}
        outputs: {logits: second}
outputs: [label, second]
"""
TRAINING = """
import io

import numpy as np
from PIL import Image

MEAN, STD = np.array([0.4, 0.45, 0.5], dtype=np.float32), np.array([0.2, 0.25, 0.3], dtype=np.float32)


def preprocess(image, *, filter=Image.Resampling.BILINEAR, mean=MEAN, channels=slice(None)):
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB").resize((8, 8), filter))[:, :, channels]
    return {"tensor": ((pixels.astype(np.float32) / 255 - mean) / STD).transpose(2, 0, 1), "resized": pixels}


def model_input(image):
    return preprocess(image)["tensor"]


def bgr(image):
    return preprocess(image, channels=slice(None, None, -1))


def bgr_model_input(image):
    return bgr(image)["tensor"]


def other_mean(image):
    return preprocess(image, mean=np.array([0.485, 0.456, 0.406], dtype=np.float32))


def other_words(image):
    return {"label": b"violet"}


def other_interpolation(image):
    return preprocess(image, filter=Image.Resampling.BICUBIC)["tensor"]
"""


def write_workshop(folder: Path) -> None:
    """``colours.onnx``, both pipelines with ``labels.txt``, ``train.py``, and six ``pictures/`` of 17 x 20 pixels."""
    write_model(folder / "colours.onnx")
    (folder / "colours.yaml").write_text(PIPELINE)
    (folder / "cascade.yaml").write_text(CASCADE)
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    (folder / "train.py").write_text(TRAINING)
    (folder / "pictures").mkdir()
    random = np.random.default_rng(0)
    for index in range(6):
        small = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        small.resize((20, 17), Image.Resampling.BICUBIC).save(folder / "pictures" / f"{index}.png")


def write_model(path: Path) -> None:
    """Logits [batch, 3] of pictures [batch, 3, 8, 8]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = (np.random.default_rng(1).standard_normal((192, 3)) / 10).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
