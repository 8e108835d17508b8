# SPDX-License-Identifier: Apache-2.0
"""What of an artifact decides how its GPU variant runs it."""

import pytest
from onnx import TensorProto, helper, save

from repo_tool.config.derive import DeriveOptions, derive
from repo_tool.datatypes import DataType
from repo_tool.refinement.precision import Precision
from repo_tool.releases import release
from repo_tool.repository.layout import ModelDirectory
from repo_tool.signature import ModelSignature, TensorSpec
from repo_tool.workflows.model_variants import write_variants

RELU = helper.make_node("Relu", ["x"], ["y"])
OF_TREES = helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml")


def branching(node):
    """A node with ``node`` in both of its branches."""
    inside = helper.make_graph([node], "inside", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return helper.make_node("If", ["c"], ["y"], then_branch=inside, else_branch=inside)


def gpu_variant(folder, node, *, shape=(-1, 4), precision=None):
    """The text of configs/gpu.pbtxt for a graph of that one node."""
    batch = ["n", 4] if shape[0] < 0 else list(shape)
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, batch) for name in ("x", "y")]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]  # imported is not yet used
    work = folder / "work"
    work.mkdir()
    save(
        helper.make_model(helper.make_graph([node], "g", tensors[:1], tensors[1:]), opset_imports=imports),
        work / "model.onnx",
    )
    specs = [TensorSpec(name=name, datatype=DataType.FP32, shape=shape) for name in ("x", "y")]
    signature = ModelSignature(inputs=(specs[0],), outputs=(specs[1],))
    directory = ModelDirectory(folder / "model")
    directory.path.mkdir()
    write_variants(
        directory,
        derive(signature, DeriveOptions(name="model", backend="onnxruntime", cores=1)),
        work / "model.onnx",
        precision=precision,
        release=release("26.07"),
        reasons={},
        is_proven=True,
    )
    return directory.variant_path("gpu").read_text()


def test_a_graph_of_standard_operators_is_tensorrt_s(tmp_path):
    assert 'key: "trt_profile_max_shapes" value: "x:32x4"' in gpu_variant(tmp_path, RELU)


@pytest.mark.parametrize("node", [OF_TREES, branching(OF_TREES)], ids=["on top", "in a branch"])
def test_an_operator_of_another_domain_is_found_wherever_it_is(tmp_path, node):
    assert "tensorrt" not in gpu_variant(tmp_path, node)


def test_a_run_that_branches_is_not_recorded(tmp_path):
    assert "trt_cuda_graph_enable" not in gpu_variant(tmp_path, branching(RELU), shape=(1, 4))


def test_a_run_of_fixed_shapes_is(tmp_path):
    assert "trt_cuda_graph_enable" in gpu_variant(tmp_path, RELU, shape=(1, 4))


@pytest.mark.parametrize("precision", [None, *Precision])
def test_tensorrt_computes_in_what_was_asked_for(tmp_path, precision):
    words = precision.value.upper() if precision else "FP32"
    assert f'key: "precision_mode" value: "{words}"' in gpu_variant(tmp_path, RELU, precision=precision)


def test_other_weights_have_another_folder_of_engines(tmp_path):
    texts = set()
    for name, node in (("one", RELU), ("other", helper.make_node("Sigmoid", ["x"], ["y"]))):
        (tmp_path / name).mkdir()
        texts.add(gpu_variant(tmp_path / name, node).partition("trt_engine_cache_path")[2].split('"')[2])
    assert len(texts) == 2
