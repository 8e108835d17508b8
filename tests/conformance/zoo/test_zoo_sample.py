# SPDX-License-Identifier: Apache-2.0
"""A fixed sample of the zoo, through add-model and the real server; ``make coverage-frameworks`` runs all of it."""

import pytest

from support.zoo_run import families, key, load, run_in_process

pytestmark = pytest.mark.slow

SAMPLE = {
    "boosters_zoo": {"reg:squarederror": "onnxruntime", "CatBoostClassifier, text classes": "onnxruntime"},
    "huggingface_zoo": {"bert SequenceClassification": "onnxruntime"},
    "onnx_zoo": {"node/abs": "onnxruntime", "pytorch-operator/operator_sqrt": "onnxruntime"},
    "packages_zoo": {"MLflow/sklearn": "onnxruntime", "perceptron, int8": "onnxruntime"},
    "pytorch_zoo": {"ResNet": "onnxruntime", "Branching (scripted)": "pytorch"},
    "sklearn_zoo": {"ARDRegression": "onnxruntime", "StackingClassifier of Pipelines": "onnxruntime"},
    "tensorflow_zoo": {"keras/convolution 1D, any length": "onnxruntime"},
}


def test_every_family_is_sampled():
    assert set(SAMPLE) == set(families())


@pytest.mark.parametrize("family", SAMPLE)
def test_the_real_server_answers_as_the_framework_does(family):
    keys = [key(case.family, case.name) for case in load(family).cases() if case.name in SAMPLE[family]]
    outcomes = {outcome.name: outcome for outcome in run_in_process(family, keys)}
    assert {name: outcome.backend or outcome.reason for name, outcome in outcomes.items()} == SAMPLE[family]


def test_cases_of_one_name_in_two_families_are_both_run():
    keys = ["XGBoost/dart", "LightGBM/dart"]
    assert [key(outcome.family, outcome.name) for outcome in run_in_process("boosters_zoo", keys)] == keys
