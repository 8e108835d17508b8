# SPDX-License-Identifier: Apache-2.0
"""Train a classifier of tumours on rows with missing values, and save what it answers.

``python train.py FOLDER`` takes a few seconds and writes into FOLDER:

``tumour.joblib``, ``tumour.sample.npz``  the classifier, and rows for ``repo-tool add-model``
``columns.txt``, ``medians.txt``, ``labels.txt``, ``pipeline.yaml``  the pipeline and the files that it names
``rows.jsonl``  raw samples, a JSON object a line
``test.json``   every row of the test set with its diagnosis, the answered one and its probability
"""

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
SEED = 7
MISSING = 0.08  # of the measurements

Table = NDArray[np.floating]


def with_holes(rows: Table) -> Table:
    """Some measurements were never made."""
    holes = np.random.default_rng(SEED).random(rows.shape) < MISSING
    return np.where(holes, np.nan, rows)


def as_json(row: Table, columns: list[str]) -> str:
    """What is missing is null in one half of the columns and absent in the other."""
    values = {name: None if np.isnan(value) else float(value) for name, value in zip(columns, row, strict=True)}
    absent = {name for place, name in enumerate(columns) if values[name] is None and place % 2}
    return json.dumps({name: value for name, value in values.items() if name not in absent})


def lines(numbers: Table) -> str:
    return "".join(f"{float(number)!r}\n" for number in numbers)


@cache
def split() -> tuple[Table, Table, Table, Table]:
    """Training and test rows, their diagnoses; the same every time."""
    data = load_breast_cancer()
    train, test, answers, truth = train_test_split(
        with_holes(data.data), data.target, test_size=0.25, random_state=SEED
    )
    return train, test, answers, truth


@cache
def medians() -> Table:
    """Of each measurement that was made."""
    return np.nanmedian(split()[0], axis=0)


def imputed(rows: Table) -> Table:
    return np.where(np.isnan(rows), medians(), rows)


def preprocess(row: dict[str, float | None]) -> Table:
    """What the classifier was trained on: for ``repo-tool add-pipeline --reference``."""
    values = [row.get(name) for name in map(str, load_breast_cancer().feature_names)]
    return imputed(np.array([np.nan if value is None else value for value in values]))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = load_breast_cancer()
    columns, diagnoses = list(map(str, data.feature_names)), list(map(str, data.target_names))
    train, test, answers, truth = split()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(imputed(train), answers)
    probabilities = model.predict_proba(imputed(test))
    best = probabilities.argmax(axis=1)

    joblib.dump(model, folder / "tumour.joblib")
    np.savez_compressed(folder / "tumour.sample.npz", features=imputed(train[:64]).astype(np.float32))
    (folder / "columns.txt").write_text("\n".join(columns) + "\n")
    (folder / "medians.txt").write_text(lines(medians()))
    (folder / "labels.txt").write_text("\n".join(diagnoses) + "\n")
    documents = [as_json(row, columns) for row in test]
    (folder / "rows.jsonl").write_text("\n".join(documents[:48]) + "\n")
    told = [
        {"row": row, "diagnosis": diagnoses[true], "answered": diagnoses[place], "probability": float(answer[place])}
        for row, true, place, answer in zip(documents, truth, best, probabilities, strict=True)
    ]
    (folder / "test.json").write_text(json.dumps(told, indent=0))
    print(f"{(best == truth).sum()} of {len(truth)} rows right, {np.isnan(test).sum()} measurements missing")
    if folder.resolve() != HERE:
        shutil.copy(HERE / "pipeline.yaml", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
