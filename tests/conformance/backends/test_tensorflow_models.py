# SPDX-License-Identifier: Apache-2.0
"""The embedded ``tensorflow`` backend: SavedModels, every data type, signatures checked at load."""

import numpy as np
import pytest

from support.arrays import EXTREMES, assert_same, rows
from support.inference import infer
from support.onnx_cases import io, parameter

tf = pytest.importorskip("tensorflow")

THREADS = parameter("TF_NUM_INTRA_THREADS", "1") + parameter("TF_NUM_INTER_THREADS", "1")


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """One SavedModel with a signature that echoes every type and one that doubles."""
    specs = {
        f"x_{name}": tf.TensorSpec([None, 3], tf.as_dtype(dtype if name != "STRING" else "string"))
        for name, (dtype, _) in EXTREMES.items()
    }

    @tf.function
    def echo(**tensors):
        return {name.replace("x_", "y_"): tf.identity(tensor) for name, tensor in tensors.items()}

    @tf.function
    def double(x):
        return {"twice": x * 2, "sum": tf.reduce_sum(x)}

    module = tf.Module()
    module.echo, module.double = echo, double
    signatures = {
        "serving_default": echo.get_concrete_function(**specs),
        "doubling": double.get_concrete_function(tf.TensorSpec([None, 3], tf.float32, name="x")),
    }
    folder = tmp_path_factory.mktemp("saved") / "model.savedmodel"
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def write(repository, saved_model):
    def write_model(name, inputs, outputs, *, batch=4, extra=THREADS):
        folder = repository / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.savedmodel").symlink_to(saved_model)
        lines = [f'name: "{name}"\nbackend: "tensorflow"\nplatform: "tensorflow_savedmodel"\nmax_batch_size: {batch}']
        lines += [io("input", *each) for each in inputs] + [io("output", *each) for each in outputs]
        lines += ["instance_group { count: 1 kind: KIND_CPU }", extra]
        (folder.parent / "config.pbtxt").write_text("\n".join(lines))

    return write_model


DOUBLING = parameter("TF_SIGNATURE_DEF", "doubling") + THREADS
X, TWICE = ("x", "FP32", [3]), ("twice", "FP32", [3])


def test_every_data_type_comes_back_as_it_went(write, server, client):
    write("echo", [(f"x_{name}", name, [3]) for name in EXTREMES], [(f"y_{name}", name, [3]) for name in EXTREMES])
    server.load("echo")
    answer = infer(client, "echo", {f"x_{name}": rows(name) for name in EXTREMES})
    assert_same(answer, {f"y_{name}": rows(name) for name in EXTREMES})


def test_the_signature_is_a_parameter(write, server, client):
    write("doubling", [X], [TWICE], extra=DOUBLING)
    server.load("doubling")
    x = np.ones((2, 3), np.float32)
    assert_same(infer(client, "doubling", {"x": x}), {"twice": x * 2})


REFUSALS = {
    "no_such_signature": ([X], [TWICE], parameter("TF_SIGNATURE_DEF", "training"), "no signature 'training'"),
    "input_count": ([X, ("z", "FP32", [3])], [TWICE], DOUBLING, "configuration expects 2 inputs, model provides 1"),
    "output_name": ([X], [("z", "FP32", [3])], DOUBLING, "unexpected inference output 'z'"),
    "dims": ([("x", "FP32", [4])], [TWICE], DOUBLING, "the model expects 2 dimensions (shape [-1,3])"),
    "scalar": ([X], [("sum", "FP32", [1])], DOUBLING, "for the model to support batching"),
}


@pytest.fixture(scope="module")
def refusals(write, server):
    """The reasons by model, loaded side by side because each load imports TensorFlow."""
    for name, (inputs, outputs, extra, _) in REFUSALS.items():
        write(name, inputs, outputs, extra=extra)
    return {outcome.model: outcome.reason for outcome in server.load_all(list(REFUSALS))}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_configuration_that_does_not_fit_is_refused(refusals, name):
    assert REFUSALS[name][-1] in refusals[name]
