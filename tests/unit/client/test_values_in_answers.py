# SPDX-License-Identifier: Apache-2.0
"""An answer is read by name, decoded where it is text, and shows what it holds."""

import numpy as np
import pytest

from repo_client import Answer, DatatypeError, UnexpectedAnswerError, UnknownOutputError


def answer(**outputs):
    return Answer(model_name="digits", model_version="3", request_id="r-1", outputs=outputs)


def texts(*elements):
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def test_text_is_decoded_in_its_shape():
    words = answer(word=texts(b"cat", "é €".encode(), b"", b"d").reshape(2, 2)).text("word")
    assert words.tolist() == [["cat", "é €"], ["", "d"]]
    assert (words == "cat").tolist() == [[True, False], [False, False]]


def test_no_text_at_all_and_a_single_one():
    assert answer(word=texts().reshape(0, 3)).text("word").shape == (0, 3)
    assert answer(word=texts(b"cat").reshape(())).text("word").item() == "cat"


def test_numbers_are_no_text():
    with pytest.raises(DatatypeError, match=r"output 'label' of model 'digits' is no text but int64") as caught:
        answer(label=np.array([1])).text("label")
    assert (caught.value.tensor, caught.value.version, caught.value.request_id) == ("label", "3", "r-1")


def test_bytes_that_are_no_text_stay_bytes():
    found = answer(picture=texts(b"\xff\xd8"))
    with pytest.raises(
        UnexpectedAnswerError, match=r"is no UTF-8: b'\\xff\\xd8'\nhint: its bytes are answer\['picture'\]"
    ):
        found.text("picture")
    assert found["picture"].tolist() == [b"\xff\xd8"]


@pytest.mark.parametrize("name", ["lable", "LABEL"])
def test_the_nearest_name_is_told_whatever_its_case(name):
    with pytest.raises(UnknownOutputError, match="did you mean 'label'"):
        answer(label=np.array([1]), probabilities=np.array([1.0])).text(name)


def test_an_answer_shows_its_outputs():
    shown = repr(
        answer(
            label=np.array([7, 2]),
            scores=np.full((2, 10), 0.25, np.float32),
            word=texts(b"cat", b"x" * 10**6),
            none=np.empty((0, 3), np.float32),
        )
    )
    assert shown == (
        "<Answer of model 'digits', version 3\n"
        "  label   int64[2]  [7, 2]\n"
        "  scores  float32[2, 10]  [[0.25, 0.25, ..., 0.25, 0.25], [0.25, 0.25, ..., 0.25, 0.25]]\n"
        "  word    BYTES[2]  [b'cat', b'xxxxxxxxxxx...xxxxxxxxxxxxx']\n"
        "  none    float32[0, 3]  []>"
    )


def test_a_large_answer_is_shown_in_few_lines():
    assert len(repr(answer(image=np.zeros((8, 224, 224, 3), np.uint8)))) < 250


def test_an_answer_equals_itself_alone():
    one, other = answer(label=np.array([7, 2])), answer(label=np.array([7, 2]))
    assert one == one  # noqa: PLR0124  # what is tested
    assert one != other
    assert other in [one, other]
    assert {one: 1}[one] == 1
