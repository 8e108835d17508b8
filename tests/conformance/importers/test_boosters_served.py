# SPDX-License-Identifier: Apache-2.0
"""Of the boosters that ONNX cannot express, one of each kind through the real server, by their libraries."""

import importlib.util
from pathlib import Path

import pytest

from support.zoo import run_case

ZOO = Path(__file__).parents[2] / "zoo" / "boosters_zoo.py"
SERVED = {
    "CatBoost Logloss, categories": "python",
    "CatBoost CatBoostClassifier, threshold": "python",
    "CatBoost CatBoostClassifier, threshold, text classes": "python",
    "CatBoost CatBoostClassifier, broken numbers": "onnxruntime",
    "LightGBM linear trees": "python",
}
SLOW = ("LightGBM linear trees",)


@pytest.fixture(scope="module")
def cases():
    spec = importlib.util.spec_from_file_location("boosters_zoo", ZOO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {f"{case.family} {case.name}": case for case in module.cases()}


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param(
            *case,
            id=case[0],
            marks=[pytest.mark.slow(reason="integration/importers has it")] if case[0] in SLOW else [],
        )
        for case in SERVED.items()
    ],
)
def test_the_real_server_answers_as_the_booster_does(cases, name, backend, tmp_path):
    outcome = run_case(cases[name], tmp_path)
    assert outcome.backend == backend, outcome.reason
    assert bool(outcome.reason) is (backend == "python")
