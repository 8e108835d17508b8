# SPDX-License-Identifier: Apache-2.0
"""What a client must send and gets, the batch dimension made visible."""

from repo_tool.config import pbtxt
from repo_tool.config.explain import explain


def explained(text):
    return explain(pbtxt.parse(text), name="m")


def rows(tensors):
    return [(tensor.name, tensor.datatype, tensor.shape, *tensor.remarks) for tensor in tensors]


def test_the_batch_stands_in_front_of_the_dims():
    shown = explained(
        """
        max_batch_size: 32
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 4, -1 ] } ]
        input [ { name: "words" data_type: TYPE_STRING dims: [ 1 ] } ]
        output [ { name: "y" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } label_filename: "labels.txt" } ]
        """
    )
    assert rows(shown.sends) == [("x", "FP32", "[batch 1..32, 4, any]"), ("words", "BYTES", "[batch 1..32, 1]")]
    assert rows(shown.gets) == [("y", "INT64", "[batch 1..32, 1]", "classes are named in labels.txt")]
    assert shown.remarks == ()


def test_without_batches_dims_are_the_shape():
    shown = explained(
        """
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 1, 4 ] optional: true } ]
        output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
        model_transaction_policy { decoupled: true }
        """
    )
    assert rows(shown.sends) == [("x", "FP32", "[1, 4]", "optional")]
    assert shown.sends[0].is_optional
    assert rows(shown.gets) == [("y", "FP32", "[any]")]
    assert "any number of responses" in shown.remarks[0]


def test_what_triton_fills_is_not_for_the_client():
    shown = explained(
        """
        max_batch_size: 8
        input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
        output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: "out_state" data_type: TYPE_FP32 dims: [ 2 ] } ]
        batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "length" data_type: TYPE_FP32 source_input: "x" } ]
        sequence_batching {
          control_input [
            { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
            { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
          ]
          state [ { input_name: "in_state" output_name: "out_state" data_type: TYPE_FP32 dims: [ 2 ] } ]
        }
        """
    )
    assert rows(shown.sends) == [
        ("x", "FP32", "[batch 1..8, any]", "ragged: requests that share a batch may differ in shape")
    ]
    assert [row[0] for row in rows(shown.gets)] == ["y"]
    assert rows(shown.fills) == [
        ("START", "INT32", "[1]", "set at the start of a sequence"),
        ("ID", "UINT64", "[1]", "the sequence's ID"),
        ("in_state", "FP32", "[2]", "the sequence's state: out_state of the request before"),
        ("length", "FP32", "[any]", "made from the batch: element count of x"),
    ]
    assert "sequence_id" in shown.remarks[0]


def test_a_configuration_without_tensors_says_who_knows_them():
    assert "ask it for the model's metadata" in explained('backend: "onnxruntime"').remarks[0]


def test_an_explanation_is_plain_values_too():
    assert explained('input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]').to_dict() == {
        "model": "m",
        "send": [{"name": "x", "datatype": "FP32", "shape": "[2]", "optional": False, "remarks": []}],
        "get": [],
        "filled_by_triton": [],
        "remarks": ["tensors that are not declared are left to the server: ask it for the model's metadata"],
    }
