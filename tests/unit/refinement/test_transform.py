# SPDX-License-Identifier: Apache-2.0
"""What becomes of a graph in a lower precision, and which graphs have none."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from repo_tool.errors import SourceError
from repo_tool.refinement.transform import to_fp16, to_int8


def test_trees_are_not_rounded_to_half_precision(tmp_path):
    from skl2onnx import to_onnx
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline

    rows = np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32)
    forest = make_pipeline(PCA(3), RandomForestRegressor(n_estimators=3)).fit(rows, rows[:, 0])
    (tmp_path / "model.onnx").write_bytes(to_onnx(forest, rows[:1], target_opset=17).SerializeToString())
    with pytest.raises(SourceError, match="fp16 is not for models with trees"):
        to_fp16(tmp_path / "model.onnx", tmp_path)


def test_a_shape_noted_for_weights_that_the_quantiser_turns_does_not_end_it(tmp_path):
    """As PyTorch's exporter notes it, and a classifier's last layer has it."""
    weights = numpy_helper.from_array(np.ones((2, 32), np.float32), "w")
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", TensorProto.FLOAT, ["b", 32])],
        [value("y", TensorProto.FLOAT, ["b", 2])],
        [weights],
        value_info=[value("w", TensorProto.FLOAT, [2, 32])],
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "in/model.onnx")
    small, _ = to_int8(tmp_path / "in/model.onnx", tmp_path / "out", None)
    assert any("Integer" in node.op_type for node in onnx.load(small).graph.node)
