# SPDX-License-Identifier: Apache-2.0
"""Which changes of a served model a generated client takes, and which it names."""

from dataclasses import replace

import numpy as np
import pytest

from repo_client import Client, InputError, ModelSignature, RankError, SignatureChangedError, TensorSpec
from repo_client._contract import Codec
from repo_client.testing import InMemoryTransport
from repo_client.typed import Contract, Shape, Tensor, TypedModel

CONTRACT = Contract(
    model="m",
    digest="sha256:0",
    batches=True,
    inputs=(
        Tensor("x", "FP32", (3,), columns=("a", "b", "c")),
        Tensor("free", "INT8", (-1,)),
        Tensor("maybe", "FP32", (1,), optional=True),
    ),
    outputs=(Tensor("y", "FP32", (2,)), Tensor("many", "BYTES", (-1,))),
)
X = TensorSpec(name="x", datatype="FP32", shape=(-1, 3), columns=("a", "b", "c"))
FREE = TensorSpec(name="free", datatype="INT8", shape=(-1, -1))
MAYBE = TensorSpec(name="maybe", datatype="FP32", shape=(-1, 1), optional=True)
Y = TensorSpec(name="y", datatype="FP32", shape=(-1, 2))
MANY = TensorSpec(name="many", datatype="BYTES", shape=(-1, -1))
SERVED = ModelSignature(
    name="m", version="", versions=("1",), platform="", max_batch_size=8, inputs=(X, FREE, MAYBE), outputs=(Y, MANY)
)

FINE = {
    "the same": {},
    "a larger batch": {"max_batch_size": 99},
    "a smaller batch": {"max_batch_size": 1},
    "another order": {"inputs": (MAYBE, FREE, X), "outputs": (MANY, Y)},
    "a new optional input": {"inputs": (X, FREE, MAYBE, replace(MAYBE, name="new"))},
    "a new output": {"outputs": (Y, MANY, replace(Y, name="new"))},
    "an input that became optional": {"inputs": (replace(X, optional=True), FREE, MAYBE)},
    "an input of any size": {"inputs": (replace(X, shape=(-1, -1)), FREE, MAYBE)},
    "an output of one size": {"outputs": (Y, replace(MANY, shape=(-1, 5)))},
    "columns that are not told any more": {"inputs": (replace(X, columns=()), FREE, MAYBE)},
    "another version": {"versions": ("7",)},
}
BREAKING = {
    "no batching": ({"max_batch_size": 0}, "does not batch any more"),
    "streams": ({"decoupled": True}, "answers in streams now"),
    "sequences": ({"sequence_batching": True}, "belong to sequences now"),
    "an input less": ({"inputs": (X, MAYBE)}, "input 'free' is gone"),
    "a new input": ({"inputs": (X, FREE, MAYBE, replace(X, name="new"))}, "input 'new' is new"),
    "an input that is needed": ({"inputs": (X, FREE, replace(MAYBE, optional=False))}, "'maybe' may not be left out"),
    "another type": ({"inputs": (replace(X, datatype="FP64"), FREE, MAYBE)}, "input 'x' is FP64, not FP32"),
    "another size": ({"inputs": (replace(X, shape=(-1, 4)), FREE, MAYBE)}, "input 'x' is [-1, 4], not [-1, 3]"),
    "another rank": ({"inputs": (replace(X, shape=(-1, 3, 1)), FREE, MAYBE)}, "input 'x' is [-1, 3, 1]"),
    "a size that was free": ({"inputs": (X, replace(FREE, shape=(-1, 2)), MAYBE)}, "input 'free' is [-1, 2]"),
    "columns in another order": (
        {"inputs": (replace(X, columns=("c", "b", "a")), FREE, MAYBE)},
        "the columns of input 'x' are c, b, a",
    ),
    "an output less": ({"outputs": (MANY,)}, "output 'y' is gone"),
    "an output of another type": ({"outputs": (replace(Y, datatype="INT8"), MANY)}, "output 'y' is INT8, not FP32"),
    "an output of any size": ({"outputs": (replace(Y, shape=(-1, -1)), MANY)}, "output 'y' is [-1, -1], not [-1, 2]"),
}


@pytest.mark.parametrize("change", FINE)
def test_what_breaks_no_caller_is_fine(change):
    CONTRACT.check(replace(SERVED, **FINE[change]))


@pytest.mark.parametrize("change", BREAKING)
def test_what_breaks_callers_is_named(change):
    facts, words = BREAKING[change]
    with pytest.raises(SignatureChangedError) as caught:
        CONTRACT.check(replace(SERVED, **facts))
    assert words in str(caught.value)
    assert "repo-tool client generate" in caught.value.hint


def test_all_changes_are_named_at_once():
    with pytest.raises(SignatureChangedError, match=r"streams now; input 'x' is gone; output 'y' is gone"):
        CONTRACT.check(replace(SERVED, decoupled=True, inputs=(FREE, MAYBE), outputs=(MANY,)))


class Digits(TypedModel):
    contract = Contract(
        model="digits",
        digest="sha256:0",
        batches=True,
        inputs=(Tensor("image", "FP32", (2,)),),
        outputs=(Tensor("label", "BYTES", (1,), is_text=True, words=("zero", "one")), Tensor("score", "FP32", (1,))),
    )

    def predict(self, image):
        return self._predict(dict, {"image": image}, {})


def test_a_server_in_memory_answers_for_a_generated_class_with_words_that_it_knows():
    with Client("grpc://nowhere", transport=InMemoryTransport(Digits.contract)) as client:
        assert Digits(client).predict(np.ones(2, np.float32)) == {"label": "zero", "score": 0.0}


def test_a_word_that_the_class_does_not_know_is_a_change_of_the_model():
    answer = {"label": ["seven"], "score": [0.5]}
    transport = InMemoryTransport(Digits.contract, answer={name: [value] for name, value in answer.items()})
    with (
        Client("grpc://nowhere", transport=transport) as client,
        pytest.raises(SignatureChangedError, match="'label' says 'seven'"),
    ):
        Digits(client).predict(np.ones(2, np.float32))


def test_a_shape_reads_as_it_is_written():
    assert repr(Shape("rows", 13)) == "Shape('rows', 13)"
    assert repr(Shape(13)) == "Shape(13)"


TEXTS = Codec(
    Contract(
        model="m",
        digest="sha256:0",
        batches=True,
        inputs=(Tensor("word", "BYTES", (1,), optional=True), Tensor("words", "BYTES", (-1,), optional=True)),
        outputs=(),
    )
)


def test_numbers_of_numpy_are_those_of_python():
    values = {"x": np.ones(3, np.float32), "free": np.zeros(1, np.int8), "maybe": np.float64(0.5)}
    assert Codec(CONTRACT).one(values, "no")["maybe"].tolist() == [[0.5]]


def test_one_text_is_not_several():
    assert TEXTS.one({"word": "abc", "words": ["abc"]}, "no")["word"].tolist() == [["abc"]]
    with pytest.raises(RankError, match="'words': received one str, expected several"):
        TEXTS.one({"words": "abc"}, "no")
    with pytest.raises(RankError, match="pass a list of bytes"):
        TEXTS.many({"word": b"abc"}, "no")


@pytest.mark.parametrize("row", [None, "abc", (1,)])
def test_a_row_is_a_mapping(row):
    with pytest.raises(InputError, match="a row is a dict of 'word', 'words'"):
        TEXTS.one(row, "no")
