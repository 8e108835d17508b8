# SPDX-License-Identifier: Apache-2.0
"""Train a scikit-learn Pipeline (breast cancer) and a regressor (diabetes); save them and their answers."""

import sys
from pathlib import Path

import joblib
import numpy as np
from datasets import SEED, breast_cancer, diabetes, save_rows
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train_breast_cancer(folder: Path) -> None:
    train, test, train_answers, test_answers = breast_cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, train_answers)
    joblib.dump(model, folder / "breast_cancer.joblib")
    (folder / "breast_cancer.labels.txt").write_text("malignant\nbenign\n")
    save_rows(folder / "breast_cancer.sample.npz", features=train[:64])
    save_rows(
        folder / "breast_cancer.test.npz",
        features=test,
        probabilities=model.predict_proba(test).astype(np.float32),
        truth=test_answers,
    )


def train_diabetes(folder: Path) -> None:
    train, test, train_answers, test_answers = diabetes()
    model = GradientBoostingRegressor(random_state=SEED).fit(train, train_answers)
    joblib.dump(model, folder / "diabetes.joblib")
    save_rows(folder / "diabetes.sample.npz", features=train[:64])
    save_rows(
        folder / "diabetes.test.npz",
        features=test,
        prediction=model.predict(test).astype(np.float32).reshape(-1, 1),
        truth=test_answers,
    )


if __name__ == "__main__":
    train_breast_cancer(Path(sys.argv[1]))
    train_diabetes(Path(sys.argv[1]))
