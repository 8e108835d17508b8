# SPDX-License-Identifier: Apache-2.0
"""``examples/wine``: lines of CSV go through a scikit-learn ColumnTransformer to a cultivar, as in training."""

import re

import numpy as np
import pytest

from repo_client import RefusedRequestError
from support.examples import ROOT, add, serving, train, words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wine")
    train("wine", folder)
    models = {
        "wine_columns": ("wine_columns.joblib", "--sample", "wine_columns.sample.csv"),
        "wine_cultivar": ("wine_cultivar.joblib", "--sample", "wine_cultivar.sample.npz"),
    }
    with serving(folder, add(folder, models, "rows.txt", "wine")) as served:
        yield served


def test_every_wine_of_the_test_set_is_answered_as_in_training(example):
    rows = example.answers
    given = example.ask("row", [row["row"].encode() for row in rows])
    assert given.keys() == {"label", "probability"}
    assert words(given["label"]) == [row["answered"] for row in rows]
    np.testing.assert_allclose(given["probability"][:, 0], [row["probability"] for row in rows], atol=2e-6)
    assert len(rows) == 72
    assert sum(row["answered"] == row["cultivar"] for row in rows) >= 68


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",ruby,", ",rubi,", "step 'category', row 0: 'rubi' is no known category; did you mean 'ruby'"),
        (",ruby,", ",,", "step 'csv_rows', row 0: column 'colour' is empty"),
        (",ruby,", ",ruby,1,", "step 'csv_rows', row 0: it has 14 fields, and the header 13"),
        ("^[^,]+", "NaN", "step 'csv_rows', row 0: column 'alcohol' is 'NaN', not a number"),
        ("^[^,]+", "1_3", "step 'csv_rows', row 0: column 'alcohol' is '1_3', not a number"),
    ],
    ids=["unknown category", "empty field", "a field more", "NaN", "a number of Python"],
)
def test_a_line_that_does_not_fit_is_refused_by_step_row_and_column(example, old, new, words):
    line = next(row["row"] for row in example.answers if ",ruby," in row["row"])
    with pytest.raises(RefusedRequestError, match=words):
        example.ask_one("row", re.sub(old, new, line, count=1).encode())
    assert len(example.ask_one("row", line.encode())["label"]) == 1


def test_the_raw_samples_are_those_that_training_writes(example):
    assert (ROOT / "wine" / "rows.txt").read_text() == (example.folder / "rows.txt").read_text()
