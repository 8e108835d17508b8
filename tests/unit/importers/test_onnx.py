# SPDX-License-Identifier: Apache-2.0
"""ONNX files: what is published as it is, what is changed, and what is refused."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from repo_tool.errors import ReleaseError, SampleError, SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.onnx import OnnxImporter
from repo_tool.samples import RawSample
from support.importer_sources import write_linear_onnx


def tensor(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def save(path, nodes, inputs, outputs, *, opset=17, ir=8, initializers=(), checked=True, domains=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*domain) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    if checked:
        onnx.checker.check_model(model)
    onnx.save_model(model, path)
    return path


def relu(path, **options):
    inputs, outputs = [tensor("x", ["n", 4])], [tensor("y", ["n", 4])]
    return save(path, [helper.make_node("Relu", ["x"], ["y"])], inputs, outputs, **options)


def bring_in(path, folder, *, sample=None, max_opset=21, max_ir_version=10, backend=None):
    folder.mkdir(exist_ok=True)
    request = ImportRequest(source=str(path), max_opset=max_opset, max_ir_version=max_ir_version, backend=backend)
    return OnnxImporter().bring_in(request, sample, folder)


def test_a_model_that_fits_is_copied_byte_for_byte(tmp_path):
    source = relu(tmp_path / "some.onnx")
    imported = bring_in(source, tmp_path / "in")
    assert imported.artifact == tmp_path / "in" / "model.onnx"
    assert imported.artifact.read_bytes() == source.read_bytes()
    assert imported.notes == ()


def test_an_ir_version_that_nothing_needs_is_lowered_and_told(tmp_path):
    imported = bring_in(relu(tmp_path / "some.onnx", ir=11, opset=21), tmp_path / "in", max_ir_version=9)
    assert onnx.load(imported.artifact).ir_version == 9
    assert imported.notes == ("IR version lowered from 11 to 9; nothing in the graph needs the newer one",)


def test_an_ir_version_newer_than_this_onnx_runtime_is_lowered_too(tmp_path):
    source = relu(tmp_path / "some.onnx", opset=17)
    model = onnx.load(source)
    model.ir_version = onnx.IR_VERSION
    onnx.save(model, source)
    imported = bring_in(source, tmp_path / "in", max_ir_version=9)
    assert onnx.load(imported.artifact).ir_version == 9
    np.testing.assert_array_equal(imported.reference["y"], np.maximum(imported.inputs["x"], 0))


def test_an_ir_version_that_an_element_type_needs_is_left_to_onnx_s_evaluator(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["small"], to=TensorProto.INT4),
        helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
    ]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", ["n"])], [tensor("y", ["n"])], opset=21, ir=10)
    imported = bring_in(source, tmp_path / "in", max_ir_version=9)
    assert imported.backend == "python"
    assert "needs IR version 10, the Triton release loads up to 9" in imported.fallback_reason
    with pytest.raises(ReleaseError, match="needs IR version 10, the Triton release loads up to 9"):
        bring_in(source, tmp_path / "in2", max_ir_version=9, backend="onnxruntime")


def test_an_opset_newer_than_the_release_is_lowered_where_the_answers_stay(tmp_path):
    imported = bring_in(relu(tmp_path / "some.onnx", opset=22, ir=10), tmp_path / "in")
    assert [entry.version for entry in onnx.load(imported.artifact).opset_import] == [21]
    assert imported.notes == ("opset lowered from 22 to 21, the newest that the Triton release loads",)
    np.testing.assert_array_equal(imported.reference["y"], np.maximum(imported.inputs["x"], 0))


def test_an_opset_that_onnx_itself_does_not_know_is_not_lowered(tmp_path):
    source = relu(tmp_path / "some.onnx", opset=onnx.defs.onnx_opset_version() + 1, ir=10, checked=False)
    with pytest.raises(ReleaseError, match="loads up to 21") as refused:
        bring_in(source, tmp_path / "in")
    assert "the installed onnx knows up to" in refused.value.cause


def rms(path):
    scale = onnx.numpy_helper.from_array(np.ones(4, np.float32), "scale")
    nodes = [helper.make_node("RMSNormalization", ["x", "scale"], ["y"])]
    inputs, outputs = [tensor("x", ["n", 4])], [tensor("y", ["n", 4])]
    return save(path, nodes, inputs, outputs, opset=23, ir=10, initializers=[scale])


def test_an_operator_newer_than_the_release_is_spelled_out_in_older_ones(tmp_path):
    imported = bring_in(rms(tmp_path / "some.onnx"), tmp_path / "in")
    assert imported.backend == "onnxruntime"
    model = onnx.load(imported.artifact)
    assert [entry.version for entry in model.opset_import] == [21]
    assert "RMSNormalization" not in {node.op_type for node in model.graph.node}
    assert imported.notes[0].startswith("RMSNormalization spelled out")
    x = imported.inputs["x"]
    expected = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(imported.reference["y"], expected, rtol=1e-5)
    (answers,) = onnx_graph.open_session(imported.artifact).run(None, {"x": x})
    np.testing.assert_allclose(answers, expected, rtol=1e-5)


def test_an_operator_that_only_widened_its_types_is_lowered_and_held_to_the_evaluator(tmp_path):
    node = helper.make_node("Range", ["zero", "n", "one"], ["y"])
    ends = [
        onnx.numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("zero", 0), ("one", 1))
    ]
    made = save(
        tmp_path / "some.onnx", [node], [tensor("n", [])], [tensor("y", ["m"])], opset=27, ir=10, initializers=ends
    )
    imported = bring_in(made, tmp_path / "in", sample=RawSample(origin="rows", array=np.array(3.0, np.float32)))
    assert imported.backend == "onnxruntime"
    assert imported.notes[0] == "opset lowered from 27 to 21, the newest that the Triton release loads"
    assert imported.reference["y"].tolist() == [0.0, 1.0, 2.0]


def swap(path, **options):
    """BitShift of int16, which came with opset 28."""
    values = [tensor(name, ["n"], TensorProto.INT16) for name in "xyz"]
    node = helper.make_node("BitShift", ["x", "y"], ["z"], direction="LEFT")
    return save(path, [node], values[:2], values[2:], opset=28, ir=10, **options)


def test_what_onnx_runtime_has_not_is_answered_by_onnx_s_evaluator_and_the_reason_names_it(tmp_path):
    sample = RawSample(origin="rows", tensors={"x": np.array([1, 3], np.int16), "y": np.array([4, 1], np.int16)})
    imported = bring_in(swap(tmp_path / "some.onnx"), tmp_path / "in", sample=sample)
    assert (imported.backend, imported.artifact.name) == ("python", "model.py")
    assert sorted(entry.name for entry in (tmp_path / "in").iterdir()) == ["model.onnx", "model.py"]
    assert (tmp_path / "in" / "model.onnx").read_bytes() == (tmp_path / "some.onnx").read_bytes()
    assert imported.reference["z"].tolist() == [16, 6]
    assert "opset 28 of ai.onnx" in imported.fallback_reason
    assert "BitShift" in imported.fallback_reason
    assert "slow" in imported.fallback_reason
    assert "package onnx" in imported.notes[-1]


def test_the_evaluator_does_not_stand_in_for_a_backend_that_was_asked_for(tmp_path):
    with pytest.raises(ReleaseError, match=r"opset 28 of ai\.onnx, the Triton release loads up to 21") as refused:
        bring_in(swap(tmp_path / "some.onnx"), tmp_path / "in", backend="onnxruntime")
    assert "--release" in refused.value.next_step


def test_the_evaluator_can_be_asked_for(tmp_path):
    imported = bring_in(relu(tmp_path / "some.onnx"), tmp_path / "in", backend="python")
    assert imported.backend == "python"
    assert imported.signature.can_batch
    np.testing.assert_array_equal(imported.reference["y"], np.maximum(imported.inputs["x"], 0))


def test_what_nobody_runs_is_refused_with_both_reasons(tmp_path):
    node = helper.make_node("Gradient", ["x"], ["y"], domain="ai.onnx.preview.training", xs=["x"], y="y")
    source = save(
        tmp_path / "some.onnx",
        [node],
        [tensor("x", ["n"])],
        [tensor("y", ["n"])],
        domains=[("ai.onnx.preview.training", 1)],
    )
    with pytest.raises(SourceError, match=r"Gradient of ai\.onnx\.preview\.training") as refused:
        bring_in(source, tmp_path / "in")
    assert "they come from a library of their own" in refused.value.cause
    assert "No registered implementation for operator 'Gradient'" in refused.value.cause
    assert list((tmp_path / "in").iterdir()) == []


def test_random_numbers_that_only_the_evaluator_draws_are_refused(tmp_path):
    node = helper.make_node("Bernoulli", ["x"], ["y"])
    values = [tensor("x", ["n"]), tensor("y", ["n"])]
    source = save(tmp_path / "some.onnx", [node], values[:1], values[1:], opset=22, ir=10)
    sample = RawSample(origin="rows", array=np.full(64, 0.5, np.float32))
    with pytest.raises(SourceError) as refused:
        bring_in(source, tmp_path / "in", sample=sample, max_opset=22)
    assert "draws random numbers" in refused.value.cause


def test_an_output_that_is_always_empty_is_left_to_the_evaluator_and_named(tmp_path):
    nodes = [helper.make_node("Shape", ["x"], ["y"], start=2, end=1)]
    outputs = [tensor("y", ["m"], TensorProto.INT64)]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", [3, 4, 5])], outputs)
    imported = bring_in(source, tmp_path / "in")
    assert imported.reference["y"].shape == (0,)
    assert "output 'y' never holds a value: its shape is [0]" in imported.fallback_reason


def test_an_opset_that_onnx_runtime_dropped_is_raised(tmp_path):
    nodes = [helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=1)]
    bias = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "b")
    inputs, outputs = [tensor("x", [2, 4]), tensor("b", [4])], [tensor("y", [2, 4])]
    source = save(tmp_path / "some.onnx", nodes, inputs, outputs, opset=6, ir=3, initializers=[bias])
    imported = bring_in(source, tmp_path / "in")
    assert [spec.name for spec in imported.signature.inputs] == ["x"]
    np.testing.assert_array_equal(imported.reference["y"], imported.inputs["x"] + np.arange(4, dtype=np.float32))
    assert "opset raised from 6" in imported.notes[0]


def test_an_ml_opset_that_nothing_needs_is_lowered(tmp_path):
    source = relu(tmp_path / "some.onnx", domains=[("ai.onnx.ml", 5)])
    imported = bring_in(source, tmp_path / "in", max_opset=19)
    assert [(entry.domain, entry.version) for entry in onnx.load(imported.artifact).opset_import] == [
        ("", 17),
        ("ai.onnx.ml", 3),
    ]
    assert imported.notes == ("opset lowered from 5 to 3, the newest that the Triton release loads",)


@pytest.mark.parametrize("content", [b"\x08", b"not a protobuf at all", b"PK\x03\x04"])
def test_a_file_that_is_no_onnx_is_refused(tmp_path, content):
    (tmp_path / "some.onnx").write_bytes(content)
    with pytest.raises(SourceError, match="does not read as ONNX"):
        bring_in(tmp_path / "some.onnx", tmp_path / "in")


def test_a_file_cut_short_is_refused(tmp_path):
    source = tmp_path / "some.onnx"
    write_linear_onnx(source)
    source.write_bytes(source.read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"some\.onnx"):
        bring_in(source, tmp_path / "in")


def test_a_graph_that_the_checker_refuses_is_refused_in_its_words(tmp_path):
    nodes = [helper.make_node("Relu", ["nowhere"], ["y"])]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", [1])], [tensor("y", [1])], checked=False)
    with pytest.raises(SourceError, match="is not valid ONNX") as refused:
        bring_in(source, tmp_path / "in")
    assert "nowhere" in refused.value.cause


def test_another_backend_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not served by the backend 'pytorch'"):
        bring_in(relu(tmp_path / "some.onnx"), tmp_path / "in", backend="pytorch")


# --- what Triton cannot carry ----------------------------------------------------------------------------------------


def test_a_zipmap_is_named_with_the_way_to_switch_it_off(tmp_path):
    rows = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("y", helper.make_sequence_type_proto(rows))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    source = save(tmp_path / "some.onnx", [node], [tensor("x", ["n", 2])], [output], domains=[("ai.onnx.ml", 1)])
    with pytest.raises(SourceError, match="Triton carries tensors only") as refused:
        bring_in(source, tmp_path / "in")
    assert "ZipMap" in refused.value.cause
    assert "'zipmap': False" in refused.value.next_step


def test_a_sequence_is_refused(tmp_path):
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceConstruct", ["x", "x"], ["y"])
    with pytest.raises(SourceError, match=r"output 'y' is seq\(tensor\(float\)\)"):
        bring_in(save(tmp_path / "some.onnx", [node], [tensor("x", ["n"])], [output]), tmp_path / "in")


def test_an_optional_output_is_refused(tmp_path):
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["n"]))
    node = helper.make_node("Optional", ["x"], ["y"])
    source = save(tmp_path / "some.onnx", [node], [tensor("x", ["n"])], [helper.make_value_info("y", kind)])
    with pytest.raises(SourceError, match="output 'y' is optional"):
        bring_in(source, tmp_path / "in")


@pytest.mark.parametrize(
    ("kind", "carried"),
    [
        (TensorProto.BFLOAT16, np.float32),
        (TensorProto.FLOAT8E4M3FN, np.float32),
        (TensorProto.INT4, np.int8),
        (TensorProto.UINT4, np.uint8),
    ],
)
def test_element_types_that_triton_has_not_are_cast_on_the_way_in_and_out(tmp_path, kind, carried):
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [tensor("x", ["n"], kind), tensor("y", ["n"], kind)]
    source = save(tmp_path / "some.onnx", [node], values[:1], values[1:], opset=21, ir=10)
    numbers = np.array([1.0, 3.0, 7.0])
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="rows", array=numbers.astype(carried)))
    assert imported.signature.input("x").datatype.numpy == carried
    assert imported.reference["y"].dtype == carried
    np.testing.assert_array_equal(imported.reference["y"], numbers)
    assert [note.split(" is ")[0] for note in imported.notes] == ["input 'x'", "output 'y'"]


def test_complex_numbers_are_refused(tmp_path):
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [tensor("x", ["n"], TensorProto.COMPLEX64), tensor("y", ["n"], TensorProto.COMPLEX64)]
    with pytest.raises(SourceError, match="'x' holds complex numbers"):
        bring_in(save(tmp_path / "some.onnx", [node], values[:1], values[1:]), tmp_path / "in")


def test_an_operator_that_onnx_runtime_has_not_is_refused_by_name(tmp_path):
    node = helper.make_node("Polish", ["x"], ["y"], domain="my.shop")
    inputs, outputs = [tensor("x", ["n"])], [tensor("y", ["n"])]
    source = save(tmp_path / "some.onnx", [node], inputs, outputs, domains=[("my.shop", 1)])
    with pytest.raises(SourceError, match=r"Polish of my\.shop"):
        bring_in(source, tmp_path / "in")


def test_a_function_of_the_model_s_own_is_no_foreign_operator(tmp_path):
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("my.shop", "Polish", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    node = helper.make_node("Polish", ["x"], ["y"], domain="my.shop")
    graph = helper.make_graph([node], "graph", [tensor("x", ["n"])], [tensor("y", ["n"])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.shop", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8)
    onnx.save_model(model, tmp_path / "some.onnx")
    imported = bring_in(tmp_path / "some.onnx", tmp_path / "in")
    np.testing.assert_array_equal(imported.reference["y"], np.maximum(imported.inputs["x"], 0))


def test_a_model_without_inputs_is_refused(tmp_path):
    value = onnx.numpy_helper.from_array(np.zeros(2, np.float32))
    source = save(
        tmp_path / "some.onnx", [helper.make_node("Constant", [], ["y"], value=value)], [], [tensor("y", [2])]
    )
    with pytest.raises(SourceError, match="takes no input"):
        bring_in(source, tmp_path / "in")


def test_an_output_without_a_rank_gets_the_one_that_is_inferred_or_seen(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", ["n", 4])], [tensor("y", None)], checked=False)
    assert bring_in(source, tmp_path / "in").signature.output("y").shape == (-1, 4)
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs = [tensor("x", ["n"]), tensor("shape", ["rank"], TensorProto.INT64)]
    source = save(tmp_path / "other.onnx", nodes, inputs, [tensor("y", None)], checked=False)
    sample = RawSample(origin="rows", tensors={"x": np.arange(6.0, dtype=np.float32), "shape": np.array([3, 2])})
    assert bring_in(source, tmp_path / "in2", sample=sample).signature.output("y").shape == (-1, -1)
    with pytest.raises(SourceError, match="output 'y' does not say how many dimensions it has"):
        onnx_graph.read_signature(onnx_graph.open_session(source), onnx.load(source))


# --- the signature ---------------------------------------------------------------------------------------------------


def test_shapes_are_those_that_onnx_runtime_infers(tmp_path):
    source = tmp_path / "some.onnx"
    write_linear_onnx(source)
    model = onnx.load(source)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "width"
    onnx.save(model, source)
    assert bring_in(source, tmp_path / "in").signature.output("y").shape == (-1, 3)


def test_a_frozen_batch_dimension_is_told_by_the_signature(tmp_path):
    shape = onnx.numpy_helper.from_array(np.array([2, -1]), "shape")
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", ["n", 4])], [tensor("y", ["n", 4])], initializers=[shape])
    signature = bring_in(source, tmp_path / "in").signature
    assert signature.output("y").shape[0] == 2
    assert not signature.can_batch


def test_an_initializer_that_may_be_overridden_is_no_input(tmp_path):
    bias = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "bias")
    nodes = [helper.make_node("Add", ["x", "bias"], ["y"])]
    inputs = [tensor("x", ["n", 4]), tensor("bias", [4])]
    source = save(tmp_path / "some.onnx", nodes, inputs, [tensor("y", ["n", 4])], initializers=[bias])
    imported = bring_in(source, tmp_path / "in")
    assert [spec.name for spec in imported.signature.inputs] == ["x"]
    assert imported.notes == ("fixed to the default that the file has: input 'bias'",)


def test_text_goes_in_and_comes_out_as_bytes(tmp_path):
    values = [tensor(name, ["n"], TensorProto.STRING) for name in ("x", "y")]
    source = save(tmp_path / "some.onnx", [helper.make_node("Identity", ["x"], ["y"])], values[:1], values[1:])
    words = np.array(["grün", "", "b"], dtype=object)
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="rows", tensors={"x": words}))
    assert imported.reference["y"].tolist() == ["grün".encode(), b"", b"b"]


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    values = [tensor(name, ["n"], TensorProto.STRING) for name in ("x", "y")]
    source = save(tmp_path / "some.onnx", [helper.make_node("Identity", ["x"], ["y"])], values[:1], values[1:])
    words = RawSample(origin="rows", tensors={"x": np.array([b"\xff"], dtype=object)})
    with pytest.raises(SampleError, match="input 'x' is not UTF-8"):
        bring_in(source, tmp_path / "in", sample=words)


def test_a_model_that_fails_on_its_own_shapes_is_refused(tmp_path):
    shape = onnx.numpy_helper.from_array(np.array([7, 1]), "shape")
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", ["n"])], [tensor("y", [7, 1])], initializers=[shape])
    with pytest.raises(SourceError, match=r"fails on rows of the shapes it declares: x \[16\]"):
        bring_in(source, tmp_path / "in")


def test_a_scalar_input_takes_one_value_and_the_graph_still_sees_a_scalar(tmp_path):
    nodes = [helper.make_node("Shape", ["x"], ["y"])]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", [])], [tensor("y", [0], TensorProto.INT64)])
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="rows", array=np.array(3.0, np.float32)))
    assert imported.signature.input("x").shape == (1,)
    assert imported.inputs["x"].tolist() == [3.0]
    assert imported.reference["y"].shape == (0,)


def test_an_empty_dimension_is_free(tmp_path):
    nodes = [helper.make_node("Concat", ["x", "x"], ["y"], axis=1)]
    source = save(tmp_path / "some.onnx", nodes, [tensor("x", [2, 0])], [tensor("y", [2, 0])])
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="rows", array=np.ones((2, 0), np.float32)))
    assert (imported.signature.input("x").shape, imported.signature.output("y").shape) == ((2, -1), (2, -1))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("CumSum", ["x", "axis"], ["y"]), "a row's answer depends on the rows beside it"),
        (helper.make_node("Concat", ["x", "x"], ["y"], axis=0), "output 'y' has 32 rows for 16"),
    ],
)
def test_rows_that_depend_on_one_another_are_not_batched(tmp_path, node, words):
    axis = onnx.numpy_helper.from_array(np.array(0), "axis")
    source = save(tmp_path / "some.onnx", [node], [tensor("x", ["n", 4])], [tensor("y", ["m", 4])], initializers=[axis])
    imported = bring_in(source, tmp_path / "in")
    assert imported.signature.output("y").has_free_first_dimension
    assert not imported.signature.can_batch
    (note,) = imported.notes
    assert note.startswith("batching is off: ")
    assert words in note


def test_first_dimensions_of_different_sizes_are_no_batch(tmp_path):
    inputs = [tensor("x", ["n", 4]), tensor("w", ["m", 4])]
    nodes = [helper.make_node("Transpose", ["w"], ["v"], perm=[1, 0]), helper.make_node("MatMul", ["x", "v"], ["y"])]
    source = save(tmp_path / "some.onnx", nodes, inputs, [tensor("y", ["n", "m"])])
    arrays = {"x": np.ones((5, 4), np.float32), "w": np.ones((2, 4), np.float32)}
    imported = bring_in(source, tmp_path / "in", sample=RawSample(origin="rows", tensors=arrays))
    assert imported.reference["y"].shape == (5, 2)
    assert not imported.signature.can_batch


def test_made_up_rows_take_the_size_that_a_model_takes(tmp_path):
    weights = onnx.numpy_helper.from_array(np.ones((1, 3, 9, 9), np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    inputs, outputs = [tensor("x", ["n", 3, "h", "v"])], [tensor("y", ["n", 1, "a", "b"])]
    imported = bring_in(save(tmp_path / "some.onnx", nodes, inputs, outputs, initializers=[weights]), tmp_path / "in")
    assert imported.inputs["x"].shape[2:] == (16, 16)


# --- external data ---------------------------------------------------------------------------------------------------


def with_location(folder, location):
    source = folder / "some.onnx"
    write_linear_onnx(source, external="w.bin")
    model = onnx.load(source, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    source.write_bytes(model.SerializeToString())
    return source


def test_external_data_comes_along_under_its_own_path(tmp_path):
    write_linear_onnx(tmp_path / "some.onnx", external="weights/w.bin")
    imported = bring_in(tmp_path / "some.onnx", tmp_path / "in")
    assert (tmp_path / "in/weights/w.bin").read_bytes() == (tmp_path / "weights/w.bin").read_bytes()
    rows = {"x": np.eye(4, dtype=np.float32)}
    answers = onnx_graph.run(onnx_graph.open_session(imported.artifact), rows)
    np.testing.assert_array_equal(answers["y"], np.arange(12).reshape(4, 3))


@pytest.mark.parametrize(("opset", "backend"), [(22, None), (22, "python")], ids=["in an older opset", "evaluated"])
def test_external_data_comes_along_with_a_graph_in_other_words(tmp_path, opset, backend):
    source = tmp_path / "some.onnx"
    write_linear_onnx(source, external="weights/w.bin")
    model = onnx.load(source, load_external_data=False)
    model.opset_import[0].version, model.ir_version = opset, 10
    source.write_bytes(model.SerializeToString())
    imported = bring_in(source, tmp_path / "in", backend=backend)
    assert imported.backend == (backend or "onnxruntime")
    assert sorted(entry.name for entry in (tmp_path / "in").iterdir())[-1] == "weights"
    answers = onnx_graph.run(onnx_graph.open_session(tmp_path / "in" / "model.onnx"), imported.inputs)
    np.testing.assert_allclose(answers["y"], imported.reference["y"], rtol=1e-5)


@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("../w.bin", "it points outside the model's folder"),
        ("/etc/passwd", "it is an absolute path"),
        ("gone.bin", "there is no such file beside the model"),
        ("linked.bin", "it is a symbolic link"),
        ("linked_folder/w.bin", "it is a symbolic link"),
        ("hard.bin", "it is a hard link to a file elsewhere"),
    ],
)
def test_external_data_from_elsewhere_is_refused(tmp_path, location, cause):
    folder = tmp_path / "model"
    folder.mkdir()
    source = with_location(folder, location)
    (tmp_path / "w.bin").write_bytes(b"secret" * 100)
    (folder / "linked.bin").symlink_to(tmp_path / "w.bin")
    (folder / "linked_folder").symlink_to(tmp_path)
    os.link(tmp_path / "w.bin", folder / "hard.bin")
    with pytest.raises(SourceError, match="cannot be taken along") as refused:
        bring_in(source, tmp_path / "in")
    assert refused.value.cause == cause
    assert list((tmp_path / "in").iterdir()) == []


def test_external_data_of_a_subgraph_is_found_too(tmp_path):
    inner = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "inner")
    inner.ClearField("raw_data")
    inner.data_location = TensorProto.EXTERNAL
    inner.external_data.add(key="location", value="../outside.bin")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["z"])], "branch", [], [tensor("z", [4])], [inner]
    )
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)
    flag = tensor("flag", [], TensorProto.BOOL)
    source = save(tmp_path / "some.onnx", [node], [flag], [tensor("y", [4])], checked=False)
    with pytest.raises(SourceError, match="points outside the model's folder"):
        bring_in(source, tmp_path / "in")


# --- the shared graph work -------------------------------------------------------------------------------------------


def test_renaming_reaches_subgraphs_and_moves_what_is_in_the_way(tmp_path):
    branch = helper.make_graph([helper.make_node("Relu", ["label"], ["z"])], "branch", [], [tensor("z", ["n"])])
    nodes = [
        helper.make_node("Neg", ["x"], ["label"]),
        helper.make_node("If", ["flag"], ["raw"], then_branch=branch, else_branch=branch),
    ]
    inputs = [tensor("x", ["n"]), tensor("flag", [], TensorProto.BOOL)]
    model = onnx.load(save(tmp_path / "some.onnx", nodes, inputs, [tensor("raw", ["n"])]))
    onnx_graph.rename_tensors(model, {"raw": "label"})
    onnx.checker.check_model(model)
    session = onnx_graph.open_session(onnx_graph.write(model, tmp_path))
    answers = onnx_graph.run(session, {"x": np.array([1, -1], np.float32), "flag": np.array(True)})
    np.testing.assert_array_equal(answers["label"], [0, 1])


def test_a_domain_listed_twice_is_listed_once(tmp_path):
    model = onnx.load(relu(tmp_path / "some.onnx"))
    model.opset_import.add(domain="", version=18)
    request = ImportRequest(source="some.onnx", max_opset=18, max_ir_version=8)
    assert onnx_graph.fit_release(model, request) == ()
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]


def test_a_wrongly_declared_width_is_corrected(tmp_path):
    model = onnx.load(relu(tmp_path / "some.onnx"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9
    found = {"y": np.zeros((5, 4), np.float32)}
    assert onnx_graph.declare_shapes(model, found)
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 4
    assert not onnx_graph.declare_shapes(model, found)
