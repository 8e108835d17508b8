# SPDX-License-Identifier: Apache-2.0
"""Train a scikit-learn ColumnTransformer and a classifier on a CSV of wines, and save what they answer.

``python train.py FOLDER`` takes a few seconds and writes into FOLDER:

``wine.csv``       the data: twelve measurements, the colour in a word, and the cultivar
``wine_columns.joblib``, ``wine_columns.sample.csv``  the fitted ColumnTransformer, and rows for ``repo-tool add-model``
``wine_cultivar.joblib``, ``wine_cultivar.sample.npz``  the classifier that follows it, and rows
``header.txt``, ``labels.txt``, ``pipeline.yaml``  the pipeline and the files that it names
``rows.txt``       raw samples, a line of CSV each
``test.json``      every row of the test set with its cultivar, the answered one and its probability
"""

import io
import json
import shutil
import sys
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
SEED = 7
COLOURS, COLOUR_LIMITS = ("pale", "ruby", "deep"), (3.5, 5.5)
CULTIVARS = ("barolo", "grignolino", "barbera")


def wines() -> tuple[pd.DataFrame, pd.Series]:
    """The colour's intensity as somebody who looks at the glass would tell it."""
    data = load_wine(as_frame=True)
    table = data.data.rename(columns={"od280/od315_of_diluted_wines": "diluted_ratio"})
    words = [COLOURS[place] for place in np.digitize(table["color_intensity"], COLOUR_LIMITS)]
    return table.assign(color_intensity=words).rename(columns={"color_intensity": "colour"}), data.target


def columns_transformer(names: list[str]) -> ColumnTransformer:
    numbers = [name for name in names if name != "colour"]
    skewed = ["proline", "magnesium"]
    return ColumnTransformer(
        [
            ("bounded", MinMaxScaler(), skewed),
            ("standard", StandardScaler(), [name for name in numbers if name not in skewed]),
            ("colour", OneHotEncoder(handle_unknown="error", sparse_output=False), ["colour"]),
        ]
    )


def csv_lines(table: pd.DataFrame) -> list[str]:
    return table.to_csv(index=False, header=False).splitlines()


@cache
def split() -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.Series]:
    """Training and test wines, their cultivars; the same every time."""
    train, test, answers, truth = train_test_split(*wines(), test_size=0.4, random_state=SEED)
    return train, test, answers, truth


@cache
def fitted() -> ColumnTransformer:
    train = split()[0]
    return columns_transformer(list(train.columns)).fit(train)


def preprocess(row: str) -> dict[str, NDArray[np.float64]]:
    """What the classifier was trained on: for ``repo-tool add-pipeline --reference``."""
    table = pd.read_csv(io.StringIO(row), names=list(split()[0].columns))
    return {"transformed": fitted().transform(table)[0]}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table, cultivars = wines()
    table.assign(cultivar=[CULTIVARS[place] for place in cultivars]).to_csv(folder / "wine.csv", index=False)
    train, test, answers, truth = split()
    transformer = fitted()
    classifier = LogisticRegression(C=0.1).fit(transformer.transform(train), answers)
    probabilities = classifier.predict_proba(transformer.transform(test))
    best = probabilities.argmax(axis=1)

    joblib.dump(transformer, folder / "wine_columns.joblib")
    train[:64].to_csv(folder / "wine_columns.sample.csv", index=False)
    joblib.dump(classifier, folder / "wine_cultivar.joblib")
    features = transformer.transform(train)[:64].astype(np.float32)
    np.savez_compressed(folder / "wine_cultivar.sample.npz", features=features)
    (folder / "header.txt").write_text("\n".join(table.columns) + "\n")
    (folder / "labels.txt").write_text("\n".join(CULTIVARS) + "\n")
    rows = csv_lines(test)
    (folder / "rows.txt").write_text("\n".join(rows[:32]) + "\n")
    told = [
        {"row": row, "cultivar": CULTIVARS[true], "answered": CULTIVARS[place], "probability": float(answer[place])}
        for row, true, place, answer in zip(rows, truth, best, probabilities, strict=True)
    ]
    (folder / "test.json").write_text(json.dumps(told, indent=0))
    print(f"{(best == truth).sum()} of {len(truth)} wines right")
    if folder.resolve() != HERE:
        shutil.copy(HERE / "pipeline.yaml", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
