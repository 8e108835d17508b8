# SPDX-License-Identifier: Apache-2.0
"""Train a small CNN on the digits in Keras."""

import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import keras
import numpy as np
from datasets import DIGIT_WORDS, SEED, digit_pictures, normalised, save_rows


def main(folder: Path) -> None:
    keras.utils.set_random_seed(SEED)
    train_pictures, test_pictures, train_answers, test_answers = digit_pictures()
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy")
    model.fit(normalised(train_pictures)[..., None], train_answers, epochs=10, batch_size=64, verbose=0)
    model.save(folder / "digits_keras.keras")

    test = normalised(test_pictures)[..., None]
    (folder / "digits_keras.labels.txt").write_text("\n".join(DIGIT_WORDS) + "\n")
    save_rows(folder / "digits_keras.sample.npz", image=normalised(train_pictures[:64])[..., None])
    probabilities = np.asarray(model(test, training=False))
    save_rows(folder / "digits_keras.test.npz", image=test, output_0=probabilities, truth=test_answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
