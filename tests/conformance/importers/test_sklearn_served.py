# SPDX-License-Identifier: Apache-2.0
"""Of the scikit-learn zoo, one of each kind through the real server; ``make coverage-frameworks`` runs all."""

import importlib.util
from pathlib import Path

import pytest

from support.zoo import run_case

ZOO = Path(__file__).parents[2] / "zoo" / "sklearn_zoo.py"
SERVED = {
    "ColumnTransformer → LogisticRegression": "onnxruntime",
    "GridSearchCV over a ColumnTransformer": "onnxruntime",
    "MultiOutputClassifier": "onnxruntime",
    "ColumnTransformer with text → LogisticRegression": "sklearn",
    "DictVectorizer": "sklearn",
    "NearestNeighbors": "sklearn",
    "PatchExtractor": "sklearn",
    "RandomForestClassifier (several_classes)": "sklearn",
}


@pytest.fixture(scope="module")
def cases():
    spec = importlib.util.spec_from_file_location("sklearn_zoo", ZOO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {case.name: case for case in module.cases()}


@pytest.mark.parametrize(("name", "backend"), SERVED.items(), ids=SERVED)
def test_the_real_server_answers_as_the_estimator_does(cases, name, backend, tmp_path):
    outcome = run_case(cases[name], tmp_path)
    assert outcome.backend == backend, outcome.reason
    assert bool(outcome.reason) is (backend == "sklearn")
