# SPDX-License-Identifier: Apache-2.0
"""Rows of JSON feed fitted scikit-learn Pipelines: an input for each column, texts, numbers and what is missing."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from repo_client import RefusedRequestError
from support.examples import add, serving

pytestmark = pytest.mark.slow

PIPELINE = """
name: churn
inputs:
  row: {datatype: BYTES, dims: [1]}
steps:
  - use: json_rows
    with: {columns: {age: FP32, visits: INT64, city: BYTES, member: BOOL}, missing: empty}
  - model: in_onnx
    outputs: {label: label_in_onnx, probabilities: in_onnx}
  - model: in_scikit_learn
    outputs: {label: label_in_scikit_learn, probabilities: in_scikit_learn}
outputs: [in_onnx, in_scikit_learn]
"""


def visitors():
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "age": random.integers(18, 80, 200).astype(float),
            "visits": random.integers(0, 9, 200),
            "city": random.choice(["Köln", "Berlin", "Ulm"], 200).astype(object),
            "member": random.choice([True, False], 200),
        }
    )
    stays = ((table["age"] > 40) ^ (table["city"] == "Ulm")).astype(int)
    table.loc[random.random(200) < 0.2, "age"] = np.nan
    table.loc[random.random(200) < 0.2, "city"] = np.nan
    return table, stays


def fitted(table, stays, city):
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "visits"]),
            ("city", city, ["city"]),
            ("member", "passthrough", ["member"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(table, stays)


@pytest.fixture(scope="module")
def answers():
    """The rows, and what each estimator answers to them."""
    table, stays = visitors()
    encoder = OneHotEncoder(handle_unknown="ignore")
    whole = table.assign(city=table["city"].fillna(""))
    in_onnx = fitted(whole, stays, encoder)
    # skl2onnx converts no imputer of texts that are missing as NaN, so this one is served by scikit-learn.
    in_scikit_learn = fitted(table, stays, make_pipeline(SimpleImputer(strategy="most_frequent"), encoder))
    return {
        "rows": [json.dumps(row).encode() for row in json.loads(table.to_json(orient="records"))],
        "in_onnx": (in_onnx, whole),
        "in_scikit_learn": (in_scikit_learn, table),
    }


@pytest.fixture(scope="module")
def example(answers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("churn")
    models = {}
    for name in ("in_onnx", "in_scikit_learn"):
        estimator, table = answers[name]
        joblib.dump(estimator, folder / f"{name}.joblib")
        table[:32].to_json(folder / f"{name}.json", orient="records")
        models[name] = (f"{name}.joblib", "--sample", f"{name}.json")
    (folder / "pipeline.yaml").write_text(PIPELINE)
    (folder / "rows.jsonl").write_bytes(b"\n".join(answers["rows"][:32]))
    with serving(folder, add(folder, models, "rows.jsonl")) as served:
        yield served


@pytest.mark.parametrize("name", ["in_onnx", "in_scikit_learn"])
def test_every_row_is_answered_as_scikit_learn_answers_it(example, answers, name):
    estimator, table = answers[name]
    given = example.ask("row", answers["rows"])[name]
    np.testing.assert_allclose(given, estimator.predict_proba(table), atol=2e-6)
    assert table.isna().to_numpy().sum() > 20


def test_one_is_an_onnx_graph_and_the_other_served_by_scikit_learn(example):
    configs = [path.read_text() for path in example.folder.glob("models/*/config.pbtxt")]
    assert sum('backend: "sklearn"' in config for config in configs) == 1
    assert sum('backend: "onnxruntime"' in config for config in configs) >= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"visits": None}, "column 'visits' is null"),
        ({"city": 50667}, "column 'city' is the number 50667, not a text"),
        ({"membr": True}, "there is no column 'membr'$"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_its_column(example, answers, changes, words):
    row = json.loads(answers["rows"][0]) | changes
    with pytest.raises(RefusedRequestError, match=f"step 'json_rows', row 0: {words}"):
        example.ask_one("row", json.dumps(row).encode())
