# SPDX-License-Identifier: Apache-2.0
"""A sample of the boosters' zoo through the real server; all of it is ``make coverage-frameworks``."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "zoo"))

from boosters_zoo import cases

from support.zoo import run_case

CASES = {f"{case.family} {case.name}": case for case in cases()}


@pytest.mark.parametrize(
    ("name", "backend", "reason"),
    [
        ("XGBoost multi:softprob, categories", "onnxruntime", ""),
        pytest.param(
            "LightGBM early stopping, text classes",
            "onnxruntime",
            "",
            marks=pytest.mark.slow(reason="another one has trees on ONNX Runtime"),
        ),
        ("LightGBM linear trees", "python", "linear models"),
        ("CatBoost MultiClass, categories", "python", "categorical features"),
    ],
)
def test_triton_answers_as_the_library(tmp_path, name, backend, reason):
    outcome = run_case(CASES[name], tmp_path)
    assert (outcome.backend, outcome.served) == (backend, True), outcome.reason
    assert reason in outcome.reason
    assert outcome.largest_difference < 1e-5
