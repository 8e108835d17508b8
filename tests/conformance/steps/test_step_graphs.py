# SPDX-License-Identifier: Apache-2.0
"""What every step promises that tells its arithmetic as a graph: ONNX Runtime answers by it as ``run`` does."""

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conformance.steps.all_cases import CASES
from repo_tool.datatypes import DataType
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.graphs import is_arithmetic
from repo_tool.pipelines.graphs.lowering import OPSET, lowered
from repo_tool.pipelines.stages import StepStage
from repo_tool.pipelines.wire import Wire
from repo_tool.samples import as_bytes
from support.step_cases import ROWS, step_for, step_of, wires_of

# All other steps must be equal bit by bit. Numpy and ONNX Runtime have exponentials of their own, each within some
# units in the last place, and may add up in another order; ONNX Runtime's Sigmoid is 0 where it is smaller than such a
# unit. A box is the difference of a centre and half a size: its error is that of the largest number in it.
UNITS = {"softmax": 16, "sigmoid": 2, "decode_boxes": 8, "decode_yolo": 8, "mean_pool": 2, "standardise": 2}

# Steps that refuse rows which a graph cannot refuse, because no step before them gives such: a picture without pixels.
REFUSES = ("boxes_to_picture",)


def stage_of(key):
    """The step of a case with every tensor wired to its own name; an output called like an input gets another."""
    step = step_for(key, CASES[key])
    read = wires_of(CASES[key])
    written = {tensor: f"{tensor}_" if tensor in read else tensor for tensor in step.output_wires(read)}
    wires = {**read, **{written[tensor]: wire for tensor, wire in step.output_wires(read).items()}}
    return StepStage(step=step, inputs={name: name for name in read}, outputs=written, name=step.name), wires


@cache
def reason_against(key):
    """Why the case has no graph; None where it has."""
    return is_arithmetic(*stage_of(key))


ARITHMETIC = [key for key in CASES if reason_against(key) is None]


@cache
def loaded(key):
    stage, wires = stage_of(key)
    piece = lowered(stage, wires, opset=OPSET)
    onnx.checker.check_model(piece.model)
    session = onnxruntime.InferenceSession(piece.model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = {output: name for name, output in piece.outputs.items()}
    return stage, session, {tensor: names[wire] for tensor, wire in stage.outputs.items()}


def answers(key, inputs):
    _, session, names = loaded(key)
    found = dict(zip(names, session.run(list(names.values()), inputs), strict=True))
    return {tensor: as_bytes(array) if array.dtype.kind in "OSU" else array for tensor, array in found.items()}


def ran(key, inputs):
    """What the step gives, where a free dim is a list of rows, as one array."""
    stage = loaded(key)[0]
    free = {name for name, wire in stage_of(key)[1].items() if -1 in wire.dims}
    given = {name: list(array) if name in free else array for name, array in inputs.items()}
    with np.errstate(all="ignore"):  # what is no number, or infinite, is an answer too
        found = stage.step.run(given)
    return {tensor: np.stack(rows) if isinstance(rows, list) else rows for tensor, rows in found.items()}


def assert_equal(key, found, wanted):
    assert found.keys() == wanted.keys()
    for tensor, array in wanted.items():
        assert (found[tensor].dtype, found[tensor].shape) == (array.dtype, array.shape)
        if array.dtype.kind == "f" and step_of(key) in UNITS:
            unit = UNITS[step_of(key)] * np.finfo(array.dtype).eps
            largest = np.max(np.abs(array), where=np.isfinite(array), initial=1)
            np.testing.assert_allclose(found[tensor], array, rtol=unit, atol=unit * largest)
        else:
            np.testing.assert_array_equal(found[tensor], array)


def stacked(rows):
    """As many of the first rows as are of one shape, as one array."""
    return np.stack([row for row in rows if row.shape == rows[0].shape])


# Steps without a graph: they read or write bytes or texts, or pixels by a library, or ask how large a picture is.
NO_GRAPH = {
    *("decode_image", "crop_boxes", "decode_wav", "clean_text", "lower_case", "tokenize_text", "vocabulary"),
    *("csv_rows", "json_rows", "json_out", "picture_size"),
}


def test_each_step_of_arithmetic_has_a_graph():
    assert {step_of(key) for key in CASES} - {step_of(key) for key in ARITHMETIC} == NO_GRAPH


NUMBERS = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
ODD = (0.0, -0.0, 0.5, -1.0, 2049.0000001, 65519.9, 65520.0, 3e-8, 1e-40, 1e300, np.nan, np.inf, -np.inf)


def numbers_of(dtype):
    """Rows with what is hard to round, what is largest, and a thousand others of every size."""
    if dtype.kind == "b":
        return np.array([[False], [True]])
    if dtype.kind == "f":
        many = np.random.default_rng(0).normal(size=1_000) * np.logspace(-9, 5, 1_000)
        with np.errstate(over="ignore"):
            return np.array([*ODD, *many]).astype(dtype)[:, None]
    limits = np.iinfo(dtype)
    whole = [number for number in (2049, 65519, 65520, 2**24 + 1, 2**53 + 1) if number <= limits.max]
    many = np.random.default_rng(0).integers(limits.min, limits.max, 1_000, dtype=dtype)
    return np.array([limits.min, limits.max, *whole, *many.tolist()], dtype=dtype)[:, None]


@pytest.mark.parametrize("given_type", NUMBERS)
def test_the_graph_casts_as_numpy_does_for_every_pair_of_types(given_type):
    rows, compared = numbers_of(DataType[given_type].numpy), 0
    for wanted_type in NUMBERS:
        step = step_kind("cast").with_parameters({"datatype": wanted_type})
        wires = {"values": Wire(DataType[given_type], (1,))}
        wires |= step.output_wires(wires)
        stage = StepStage(step=step, inputs={"values": "values"}, outputs={"cast": "cast"}, name="cast")
        if is_arithmetic(stage, wires) is not None:
            continue
        piece = lowered(stage, wires, opset=OPSET)
        session = onnxruntime.InferenceSession(piece.model.SerializeToString(), providers=["CPUExecutionProvider"])
        with np.errstate(all="ignore"):
            wanted = step.run({"values": rows})["cast"]
        (found,) = session.run(None, {"values": rows})
        np.testing.assert_array_equal(found, wanted, err_msg=f"{given_type} to {wanted_type}", strict=True)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("key", ARITHMETIC)
def test_the_graph_answers_as_the_step_row_by_row(key):
    for row in range(ROWS):
        inputs = {name: np.asarray(rows[row])[np.newaxis] for name, rows in CASES[key].inputs.items()}
        assert_equal(key, answers(key, inputs), ran(key, inputs))


@pytest.mark.parametrize("key", ARITHMETIC)
def test_the_graph_answers_as_the_step_in_a_batch(key):
    inputs = {name: stacked(rows) for name, rows in CASES[key].inputs.items()}
    rows = min(map(len, inputs.values()))
    inputs = {name: array[:rows] for name, array in inputs.items()}
    assert_equal(key, answers(key, inputs), ran(key, inputs))


def values(dtype):
    if dtype.kind == "f":
        return st.floats(-1e4, 1e4, width=dtype.itemsize * 8) | st.sampled_from([np.nan, np.inf, -np.inf, -0.0])
    return None  # any of that type


@pytest.mark.parametrize("key", ARITHMETIC)
def test_the_graph_answers_as_the_step_on_any_rows(key):
    wires = {name: wire for name, wire in stage_of(key)[1].items() if name in CASES[key].inputs}

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def compare(data):
        rows, size = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
        inputs = {}
        for name, wire in wires.items():
            shape = (rows, *(size if dim < 0 else dim for dim in wire.dims))
            dtype = wire.datatype.numpy
            inputs[name] = data.draw(arrays(dtype, shape, elements=values(dtype)), label=name)
        try:
            wanted = ran(key, inputs)
        except ValueError:
            assert step_of(key) in REFUSES
            reject()
        assert_equal(key, answers(key, inputs), wanted)

    compare()
