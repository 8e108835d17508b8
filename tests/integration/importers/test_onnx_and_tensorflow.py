# SPDX-License-Identifier: Apache-2.0
"""A few models of the zoo through add-model and a real Triton: one for each thing that is mended, kept or refused."""

import pytest

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
    "node/momentum": "Momentum of ai.onnx.preview.training",
}


@pytest.mark.parametrize("name", BY_ONNX_RUNTIME)
def test_served_by_onnx_runtime(name, tmp_path):
    outcome = run_case(CASES[name], tmp_path)
    assert (outcome.backend, outcome.reason) == ("onnxruntime", "")


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
