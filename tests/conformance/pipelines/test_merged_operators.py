# SPDX-License-Identifier: Apache-2.0
"""Two copies of a graph merged to one answer as each alone: every operator of ONNX's own test cases, with inner graphs.

The copies have every name in common, so that each name has to be kept apart, and each copy whole.
"""

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest

from repo_tool.config.model import ModelConfig
from repo_tool.datatypes import DataType
from repo_tool.pipelines.graphs.merging import merge
from repo_tool.pipelines.graphs.pieces import Piece
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.stages import ModelStage
from repo_tool.pipelines.wire import Wire

EVERY = 10  # of the cases without an inner graph; all 1,884 answered alike when they were tried
INNER = ("if", "loop", "scan")
RANDOM = ("bernoulli", "dropout", "multinomial", "random")
COPIES = ("first", "second")


def cases():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about the operators' own examples
        found = [case for case in collect_testcases(None) if case.model is not None and case.data_sets]
    plain = [case for case in found if not any(word in case.name for word in (*INNER, *RANDOM))]
    inner = [case for case in found if any(f"test_{word}" in case.name for word in INNER)]
    return [*inner, *plain[::EVERY]]


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answered(case):
    """The inputs and what ONNX Runtime answers; None where it cannot, or they are more than tensors of Triton's."""
    values = (*case.model.graph.input, *case.model.graph.output)
    if not case.model.graph.input or any(wire_of(value) is None for value in values):
        return None
    names = [value.name for value in case.model.graph.input]
    feeds = {name: np.asarray(array) for name, array in zip(names, case.data_sets[0][0], strict=False)}
    try:
        return feeds, session(case.model).run(None, feeds)
    except Exception:  # noqa: BLE001 - it has no common base class, and what it cannot run is not asked for
        return None


def wire_of(value):
    if value.type.WhichOneof("value") != "tensor_type":
        return None
    try:
        return Wire(DataType.from_onnx(value.type.tensor_type.elem_type), ())
    except KeyError:
        return None


def twice(model):
    """Both copies, which share no wire, as one graph."""
    wires, stages, pieces = {}, [], []
    for copy in COPIES:
        inputs = {value.name: f"{copy} reads {value.name}" for value in model.graph.input}
        outputs = {value.name: f"{copy} writes {value.name}" for value in model.graph.output}
        wires |= {inputs[value.name]: wire_of(value) for value in model.graph.input}
        wires |= {outputs[value.name]: wire_of(value) for value in model.graph.output}
        config = ModelConfig(name=copy)
        stages.append(ModelStage(config=config, version=1, inputs=inputs, outputs=outputs, name=copy))
        own = onnx.ModelProto.FromString(model.SerializeToString())
        pieces.append(Piece(title=copy, model=own, inputs=inputs, outputs=outputs))
    part = Part(
        kind=PartKind.GRAPH,
        stages=tuple(stages),
        name="twice",
        reason="",
        reads=tuple(wire for stage in stages for wire in stage.inputs.values()),
        writes=tuple(wire for stage in stages for wire in stage.outputs.values()),
        max_batch_size=0,
        rows=-1,
    )
    return merge(part, wires, pieces)[0]


def test_both_copies_answer_as_the_graph_alone():
    compared = 0
    for case in cases():
        answers = answered(case)
        if answers is None:
            continue
        feeds, wanted = answers
        merged = twice(case.model)
        given = {f"{copy} reads {name}": array for copy in COPIES for name, array in feeds.items()}
        found = session(merged).run(None, given)
        for array, own in zip(found, wanted * len(COPIES), strict=True):
            np.testing.assert_array_equal(np.asarray(array), np.asarray(own), err_msg=case.name)
        compared += 1
    assert compared > 100


@pytest.mark.parametrize("name", ["test_if", "test_loop11"])
def test_cases_with_inner_graphs_are_among_them(name):
    assert any(case.name == name and answered(case) for case in cases())
