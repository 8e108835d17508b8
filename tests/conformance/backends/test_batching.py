# SPDX-License-Identifier: Apache-2.0
"""What the dynamic batcher puts together, a backend takes apart again: every client gets the answer to its own rows."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from support.arrays import assert_same
from support.inference import infer
from support.onnx_cases import Case, classifier, config, identity, relu

DELAYED = "dynamic_batching { max_queue_delay_microseconds: 100000 }"
ANY = [("x", "FP32", [-1])], [("y", "FP32", [-1])]
WORDS = [("x", "STRING", [-1])], [("y", "STRING", [-1])]
CLASSES = [("x", "FP32", [4])], [("label", "INT64", [1], "reshape { shape: [ ] }"), ("probabilities", "FP32", [2])]
CASES = (
    Case("floats", relu(), config(*ANY, batch=64, extra=DELAYED)),
    Case("words", identity(TensorProto.STRING, ("N", "M")), config(*WORDS, batch=64, extra=DELAYED)),
    Case("classes", classifier(), config(*CLASSES, batch=8)),
)


@pytest.fixture(scope="module", autouse=True)
def loaded(repository, server):
    for case in CASES:
        case.write(repository)
        server.load(case.name)


def executions(server, model):
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/stats") as reply:
        return json.load(reply)["model_stats"][0]["execution_count"]


def together(client, model, feeds):
    with ThreadPoolExecutor(len(feeds)) as pool:
        return list(pool.map(lambda feed: infer(client, model, feed), feeds))


def test_requests_of_different_row_counts_share_a_run(server, client):
    before = executions(server, "floats")
    feeds = [{"x": np.full((rows, 3), rows, np.float32)} for rows in range(1, 9)]
    for feed, answer in zip(feeds, together(client, "floats", feeds), strict=True):
        assert_same(answer, {"y": feed["x"]})
    assert executions(server, "floats") - before < len(feeds)


def test_requests_of_different_widths_are_answered_each_in_its_own(client):
    feeds = [{"x": np.full((2, width), width, np.float32)} for width in (1, 5, 2, 5, 7, 1)]
    for feed, answer in zip(feeds, together(client, "floats", feeds), strict=True):
        assert_same(answer, {"y": feed["x"]})


def test_strings_of_a_batch_stay_with_their_request(client):
    feeds = [{"x": np.array([[f"{number} ä".encode(), b""]] * number, object)} for number in range(1, 7)]
    for feed, answer in zip(feeds, together(client, "words", feeds), strict=True):
        assert_same(answer, {"y": feed["x"]})


def test_bytes_that_are_no_text_are_refused_not_garbled(client):
    with pytest.raises(InferenceServerException, match="input 'x' holds bytes that are no UTF-8 text"):
        infer(client, "words", {"x": np.array([[b"\xff\xfe"]], object)})


def test_only_the_outputs_that_were_asked_for_come_back(client):
    answer = infer(client, "classes", {"x": np.zeros((2, 4), np.float32)}, outputs=["label"])
    assert_same(answer, {"label": np.zeros((2, 1), np.int64)})
