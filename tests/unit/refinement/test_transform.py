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
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.random.default_rng(3).normal(size=(30, 4)).astype(np.float32)
    forest = make_pipeline(StandardScaler(), RandomForestRegressor(n_estimators=3)).fit(rows, rows[:, 0])
    (tmp_path / "model.onnx").write_bytes(to_onnx(forest, rows[:1], target_opset=17).SerializeToString())
    with pytest.raises(SourceError, match="fp16 is not for models with trees"):
        to_fp16(tmp_path / "model.onnx", tmp_path)


def test_shapes_noted_wrongly_between_operators_do_not_end_the_quantiser(tmp_path):
    weights = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["b", 4])],
        [value("y", TensorProto.FLOAT, ["b", 3])],
        [weights],
        value_info=[value("h", TensorProto.FLOAT, ["b", 7])],
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "in/model.onnx"
    )
    small, _ = to_int8(tmp_path / "in/model.onnx", tmp_path / "out", None)
    assert any("Integer" in node.op_type for node in onnx.load(small).graph.node)
