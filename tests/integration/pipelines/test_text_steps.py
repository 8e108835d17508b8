# SPDX-License-Identifier: Apache-2.0
"""Text through Triton: ids as long as the longest text beside them, and counted words before a linear model."""

from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from conformance.steps.cases_text import TOKENIZER, tokenizer
from repo_client import RefusedRequestError
from support.examples import add, serving

TEXTS = ["good wine", "bad wine, BAD", "Ein Satz", "very good indeed " * 9, "very bad", "good good", "de"]
LIKED = [1, 0, 1, 1, 0, 1, 0]
PIPELINE = r"""
name: mood_reader
inputs: {text: {datatype: BYTES, dims: [1]}}
steps:
  - use: tokenize_text
    with: {tokenizer: {file: tokenizer.json}, length: 64, padding: longest}
  - model: sums
  - use: lower_case
    with: {most_bytes: 1000}
  - use: vocabulary
    with: {vocabulary: {file: words.txt}, gives: counts, word: '\b\w\w+\b'}
    inputs: {text: lowered}
  - model: mood
    inputs: {features: counts}
outputs: [total, probabilities]
"""


def write_sums(path):
    """The sum of the ids that the mask lets through, of any length."""
    sizes = ["batch", "length"]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "axes"], ["total"], keepdims=1),
        ],
        "sums",
        [helper.make_tensor_value_info(name, TensorProto.INT64, sizes) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("total", TensorProto.INT64, ["batch", 1])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture(scope="module")
def mood():
    """How words are counted, and what is made of the counts."""
    counter = CountVectorizer().fit(TEXTS)
    counts = counter.transform(TEXTS).toarray().astype(np.float32)
    return counter, LogisticRegression().fit(counts, LIKED), counts


@pytest.fixture(scope="module")
def example(mood, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mood")
    counter, classifier, counts = mood
    write_sums(folder / "sums.onnx")
    joblib.dump(classifier, folder / "mood.joblib")
    np.save(folder / "mood.npy", counts)
    (folder / TOKENIZER[0]).write_bytes(TOKENIZER[1])
    (folder / "words.txt").write_text("\n".join(counter.get_feature_names_out()) + "\n")
    (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    (folder / "pipeline.yaml").write_text(PIPELINE)
    models = {"sums": ("sums.onnx",), "mood": ("mood.joblib", "--sample", "mood.npy")}
    with serving(folder, add(folder, models, "texts.txt")) as served:
        yield served


def sum_of_ids(text):
    return sum(tokenizer().encode(text).ids)


def test_texts_of_any_length_go_in_one_request(example, mood):
    counter, classifier, _ = mood
    answered = example.ask("text", [text.encode() for text in TEXTS])
    assert answered["total"].ravel().tolist() == [sum_of_ids(text) for text in TEXTS]
    expected = classifier.predict_proba(counter.transform(TEXTS).toarray())
    np.testing.assert_allclose(answered["probabilities"], expected, atol=2e-6)


def test_requests_of_different_lengths_that_meet_are_answered_each_by_itself(example):
    def ask(text):
        try:
            return example.ask_one("text", text)["total"].item()
        except RefusedRequestError as error:
            return str(error)

    texts = [*TEXTS, "", "x" * 1001] * 6
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, [text.encode() for text in texts]))
    for text, answer in zip(texts, answers, strict=True):
        if text == "":
            assert "step 'tokenize_text', row 0: the text is empty" in answer
        elif text.startswith("x"):
            assert "step 'lower_case', row 0: the text has 1001 bytes, and at most 1000 are taken" in answer
        else:
            assert answer == sum_of_ids(text)
