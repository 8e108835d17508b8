# SPDX-License-Identifier: Apache-2.0
"""The data sets of the demo, all shipped with scikit-learn, split the same way every time."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split

SEED = 7
DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Of the digits' training pixels in [0, 1]; also written in digits_reader.yaml, which does the same before the model.
DIGIT_MEAN, DIGIT_STD = 0.305, 0.376

Split = tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic], NDArray[np.generic]]


def breast_cancer() -> Split:
    """569 rows of 30 measurements; is the tumour benign?"""
    data = load_breast_cancer()
    return _split(data.data.astype(np.float32), data.target)


def diabetes() -> Split:
    """442 rows of 10 measurements; the disease's progression after a year."""
    data = load_diabetes()
    return _split(data.data.astype(np.float32), data.target)


def wine() -> Split:
    """178 rows of 13 chemical measurements; which of three cultivars?"""
    data = load_wine()
    return _split(data.data.astype(np.float32), data.target)


def digit_pictures() -> Split:
    """1,797 handwritten digits as uint8 pictures [8, 8]."""
    data = load_digits()
    return _split(np.rint(data.images * (255 / 16)).astype(np.uint8), data.target)


def _split(rows: NDArray[np.generic], answers: NDArray[np.generic]) -> Split:
    train_rows, test_rows, train_answers, test_answers = train_test_split(
        rows, answers, test_size=0.25, random_state=SEED
    )
    return train_rows, test_rows, train_answers, test_answers


def normalised(pictures: NDArray[np.generic]) -> NDArray[np.float32]:
    """uint8 pictures as the networks want them: float32 around 0."""
    scaled = pictures.astype(np.float32) / np.float32(255)
    return (scaled - np.float32(DIGIT_MEAN)) / np.float32(DIGIT_STD)


def save_rows(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Rows for ``--sample``, or answers to compare with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
