# SPDX-License-Identifier: Apache-2.0
"""``examples/text``: a sentence becomes the name of its language, as the training script has it."""

import numpy as np
import pytest

from repo_client import RefusedRequestError
from support.examples import add, serving, train, words

pytestmark = pytest.mark.slow(reason="an example that is trained, added and served")


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    train("text", folder)
    told = add(folder, {"language": ("language.pt2", "--sample", "language.sample.npz")}, "texts.txt", "text")
    with serving(folder, told) as served:
        yield served


def test_every_text_of_the_test_set_is_answered_as_in_training(example):
    rows = example.answers
    given = example.ask("text", [row["text"].encode() for row in rows])
    assert given.keys() == {"label", "probability", "top_labels", "top_probabilities"}
    assert words(given["label"]) == [row["answered"][0] for row in rows]
    assert [[label.decode() for label in labels] for labels in given["top_labels"]] == [row["answered"] for row in rows]
    wanted = [row["probabilities"] for row in rows]
    np.testing.assert_allclose(given["top_probabilities"], wanted, rtol=0, atol=5e-6)
    np.testing.assert_array_equal(given["probability"], given["top_probabilities"][:, :1])
    assert len({row["language"] for row in rows}) == 27
    assert sum(row["answered"][0] == row["language"] for row in rows) > 0.9 * len(rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "step 'clean_text', row 0: the text is empty"),
        (b" \n ", "step 'clean_text', row 0: the text is empty"),
        (b"Das ist ein \xff", r"step 'clean_text', row 0: the text is not UTF-8 \(byte 12\)"),
        (b"word " * 200_000, "step 'clean_text', row 0: the text has 1000000 bytes, and at most 20000 are taken"),
    ],
    ids=["empty", "white space", "not UTF-8", "a megabyte"],
)
def test_what_is_no_text_is_refused_by_step_and_row(example, text, words):
    with pytest.raises(RefusedRequestError, match=words):
        example.ask_one("text", text)
    assert example.ask_one("text", "Das ist ein deutscher Satz über das Wetter.".encode())["label"].item() == b"de"


def test_a_long_text_is_cut_as_in_training_and_a_word_of_any_script_is_answered(example):
    long = "Ceci est une phrase en français, et une autre encore. " * 300
    assert example.ask_one("text", long.encode())["label"].item() == b"fr"
    assert example.ask_one("text", "\u0000🤷‍♀️ ᚠᛇᚻ".encode())["label"].item().decode() in words_of(example)


def words_of(example):
    return (example.folder / "labels.txt").read_text().split()
