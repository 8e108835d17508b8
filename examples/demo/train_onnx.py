# SPDX-License-Identifier: Apache-2.0
"""Train softmax regression on the wines in numpy alone, and write it as a plain ONNX graph, node by node."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from datasets import save_rows, wine
from onnx import TensorProto, helper, numpy_helper

STEPS, RATE = 2000, 0.1


def train(rows: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [13, 3] and bias [3] of standardised rows, folded back to raw ones."""
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    standard, wanted = (rows - mean) / std, np.eye(3)[answers]
    weights, bias = np.zeros((rows.shape[1], 3)), np.zeros(3)
    for _ in range(STEPS):
        scores = np.exp(standard @ weights + bias)
        error = scores / scores.sum(axis=1, keepdims=True) - wanted
        weights -= RATE * standard.T @ error / len(rows)
        bias -= RATE * error.mean(axis=0)
    raw = weights / std[:, None]
    return raw.astype(np.float32), (bias - mean @ raw).astype(np.float32)


def graph(weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["measurements", "weights", "bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
        helper.make_node("ArgMax", ["probabilities"], ["cultivar"], axis=-1, keepdims=0),
    ]
    built = helper.make_graph(
        nodes,
        "wine",
        [helper.make_tensor_value_info("measurements", TensorProto.FLOAT, ["batch", 13])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("cultivar", TensorProto.INT64, ["batch"]),
        ],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def main(folder: Path) -> None:
    train_rows, test, train_answers, test_answers = wine()
    onnx.save(graph(*train(train_rows.astype(np.float64), train_answers)), folder / "wine.onnx")
    session = onnxruntime.InferenceSession(folder / "wine.onnx", providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"measurements": test})
    (folder / "wine.labels.txt").write_text("barolo\ngrignolino\nbarbera\n")
    save_rows(folder / "wine.sample.npz", measurements=train_rows[:64])
    save_rows(folder / "wine.test.npz", measurements=test, probabilities=probabilities, truth=test_answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
