# SPDX-License-Identifier: Apache-2.0
"""A few models of the zoo through add-model and a real Triton: one for each thing that is mended, kept or refused."""

import numpy as np
import onnx.backend.test.loader
import pytest

from repo_tool.repository.layout import ModelRepository
from repo_tool.repository.provenance import read_provenance
from repo_tool.samples import as_bytes, read_published_sample
from repo_tool.workflows.add_model import AddModelRequest, add_model
from repo_tool.workflows.progress import RecordedProgress
from support.zoo import run_case
from support.zoo_run import load

pytest.importorskip("tensorflow")

CASES = {case.name: case for module in ("onnx_zoo", "tensorflow_zoo") for case in load(module).cases()}
BY_ONNX_RUNTIME = (
    "node/if",
    "node/loop11",
    "node/string_concat",
    "node/scan9_scalar",  # a scalar input
    "node/castlike_INT4_to_FLOAT",  # an element type that Triton has not
    "node/reduce_sum_empty_set",  # an empty dimension
    "node/not_2d",
    "pytorch-converted/Linear",  # an opset that ONNX Runtime dropped
    "saved model/rows that depend on one another",
)
BY_TENSORFLOW = ("saved model/lookup table",)
REFUSED = {
    "node/identity_sequence": "Triton carries tensors only",
    "simple/gradient_of_add": "Gradient of ai.onnx.preview.training",
}
BY_ONNX_S_EVALUATOR = {
    "bitshift_left_int16": "BitShift",  # a newer opset than the release has
    "adam": "Adam of ai.onnx.preview.training",
    "gru_batchwise": "Batchwise recurrent operations",
    "strnormalizer_export_monday_casesensintive_upper": "locale",
}
IN_OTHER_WORDS = ("range_float16_type_positive_delta", "swiglu", "flexattention", "attention_local_window")


@pytest.mark.parametrize("name", BY_ONNX_RUNTIME)
def test_served_by_onnx_runtime(name, tmp_path):
    outcome = run_case(CASES[name], tmp_path)
    assert (outcome.backend, outcome.reason) == ("onnxruntime", "")


def published(name, folder):
    """What came of adding a node test, and its published answers beside those that ONNX expects."""
    built = CASES[f"node/{name}"].build(folder)
    request = AddModelRequest(source=built.source, sample=built.sample, name="model", repository=folder / "models")
    added = add_model(request, RecordedProgress())
    sample = read_published_sample(ModelRepository(folder / "models").model("model").sample_path(1))
    return added.imported, sample.outputs


def expected(name):
    """By output name."""
    (test,) = (test for test in onnx.backend.test.loader.load_model_tests(kind="node") if test.name == f"test_{name}")
    values = [
        onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
        for value in test.data_sets[0][1]
    ]
    return {output.name: value for output, value in zip(test.model.graph.output, values, strict=True)}


def require_equal(answers, name):
    for output, wanted in expected(name).items():
        if wanted.dtype.kind == "O":
            assert answers[output].tolist() == as_bytes(wanted).tolist()
        else:
            np.testing.assert_allclose(answers[output].reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", BY_ONNX_S_EVALUATOR)
def test_what_onnx_runtime_lacks_is_served_with_the_answers_that_onnx_publishes(name, tmp_path):
    imported, answers = published(name, tmp_path)
    assert imported.backend == "python"
    assert BY_ONNX_S_EVALUATOR[name] in imported.fallback_reason
    require_equal(answers, name)


@pytest.mark.parametrize("name", IN_OTHER_WORDS)
def test_in_other_words_onnx_runtime_gives_the_answers_that_onnx_publishes(name, tmp_path):
    imported, answers = published(name, tmp_path)
    assert (imported.backend, imported.fallback_reason) == ("onnxruntime", "")
    require_equal(answers, name)


@pytest.mark.slow(reason="the backend loads TensorFlow; conformance/backends does so in every run")
@pytest.mark.parametrize("name", BY_TENSORFLOW)
def test_served_by_tensorflow_for_a_reason(name, tmp_path):
    outcome = run_case(CASES[name], tmp_path)
    assert outcome.backend == "tensorflow"
    assert outcome.reason


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name, tmp_path):
    outcome = run_case(CASES[name], tmp_path)
    assert not outcome.served
    assert REFUSED[name] in outcome.reason


@pytest.mark.slow(reason="converted and proven, and then again by another backend")
def test_what_the_server_alone_finds_to_differ_is_left_to_tensorflow(tmp_path):
    """tf2onnx rounds the quotient of negative integers towards zero: here that matters in batches of three only."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def __call__(self, x):
            three = tf.cast(tf.equal(tf.shape(x)[0], 3), tf.int32)
            return {"y": x + tf.cast(-three // 2 + three, tf.float32)}  # of three and of others: x

    model = Model()
    tf.saved_model.save(model, tmp_path / "saved", signatures={"serving_default": model.__call__})
    progress = RecordedProgress()
    request = AddModelRequest(
        source=str(tmp_path / "saved"), name="model", repository=tmp_path / "models", trusted_source=True
    )
    added = add_model(request, progress)
    assert (added.config.backend, added.parity.equal, added.parity.largest_absolute) == ("tensorflow", True, 0)
    difference = "served answers differ by up to 1 in output 'y'"
    reason = f"as ONNX its {difference}"
    assert added.imported.fallback_reason == reason
    steps = [step.detail for step in progress.steps]
    assert difference in steps
    assert f"served by: tensorflow backend; reason: {reason}" in steps
    version = ModelRepository(tmp_path / "models").model("model").version_path(1)
    assert {entry.name for entry in version.iterdir()} == {"model.savedmodel", "sample.npz", "provenance.json"}
    facts = read_provenance(version / "provenance.json")
    assert (facts["backend"], facts["fallback_reason"], facts["options"].get("backend")) == ("tensorflow", reason, None)
