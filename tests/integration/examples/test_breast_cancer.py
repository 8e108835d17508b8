# SPDX-License-Identifier: Apache-2.0
"""``examples/breast_cancer``: rows of JSON with missing values become a diagnosis, as the training script has it."""

import json

import numpy as np
import pytest

from repo_client import RefusedRequestError
from support.command import repo_tool
from support.examples import ROOT, add, serving, train, words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("breast_cancer")
    train("breast_cancer", folder)
    told = add(folder, {"tumour": ("tumour.joblib", "--sample", "tumour.sample.npz")}, "rows.jsonl", "breast_cancer")
    with serving(folder, told) as served:
        yield served


def test_every_row_of_the_test_set_is_answered_as_in_training(example):
    rows = example.answers
    given = example.ask("row", [row["row"].encode() for row in rows])
    assert given.keys() == {"label", "probability"}
    assert words(given["label"]) == [row["answered"] for row in rows]
    np.testing.assert_allclose(given["probability"][:, 0], [row["probability"] for row in rows], atol=2e-6)
    assert len(rows) == 143
    assert sum("null" in row["row"] for row in rows) > 100
    assert sum(row["answered"] == row["diagnosis"] for row in rows) >= 135


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean radios": 1}, "row 1: there is no column 'mean radios'"),
        ({"mean radius": "14"}, "row 1: column 'mean radius' is the text '14', not a number"),
        ({"mean radius": 1e300}, r"row 1: column 'mean radius' is 1e\+300, too large for FP32"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_step_row_and_column(example, change, words):
    good = json.loads(example.answers[0]["row"])
    with pytest.raises(RefusedRequestError, match=f"step 'json_rows', {words}"):
        example.ask("row", [json.dumps(good).encode(), json.dumps(good | change).encode()])
    assert len(example.ask("row", [json.dumps(good).encode()])["label"]) == 1


def test_a_row_without_a_single_measurement_is_answered_by_the_medians(example):
    answered = example.ask_one("row", b"{}")
    medians = np.loadtxt(example.folder / "medians.txt")
    names = (example.folder / "columns.txt").read_text().splitlines()
    whole = json.dumps(dict(zip(names, medians.tolist(), strict=True))).encode()
    assert answered["probability"] == example.ask_one("row", whole)["probability"]


def test_its_repository_is_without_complaint(example):
    done = repo_tool("validate", "models", "--release", "26.07", "--strict", cwd=example.folder)
    assert done.returncode == 0, done.stdout


def test_the_raw_samples_are_those_that_training_writes(example):
    assert (ROOT / "breast_cancer" / "rows.jsonl").read_text() == (example.folder / "rows.jsonl").read_text()
