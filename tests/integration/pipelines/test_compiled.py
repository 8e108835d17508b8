# SPDX-License-Identifier: Apache-2.0
"""Pipeline files compiled and served by a real Triton: with batches or without, in one part or several, with blocks."""

import numpy as np
import pytest
import yaml

from repo_client import Client
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.pipelines.wiring import type_pipeline
from repo_tool.releases import DEFAULT_RELEASE, release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Severity, validate
from repo_tool.triton.server import EmbeddedServer
from support.served_parts import wire, write_compiled, write_python_model

MODELS = {"one": ((1, 3), 0), "any": ((-1, 3), 0), "batched": ((3,), 4)}
SHARES = {"use": "softmax", "inputs": {"logits": "tenfold"}, "outputs": {"probabilities": "shares"}}


def tenfold(model, **more):
    return {"model": model, "inputs": {"x": "numbers"}, "outputs": {"y": "tenfold"}, **more}


PIPELINES = {
    "one_row": {"steps": [tenfold("one"), SHARES]},
    "any_rows": {"steps": [tenfold("any"), SHARES], "merge": False},
    "not_joined": {"steps": [tenfold("batched"), SHARES], "max_batch_size": 0},
    "joined": {"steps": [tenfold("batched"), SHARES], "merge": False},
    "alone_in_python": {"steps": [SHARES | {"inputs": {"logits": "numbers"}}], "merge": False},
    "alone_in_a_graph": {"steps": [SHARES | {"inputs": {"logits": "numbers"}}]},
    "a_member_alone": {"steps": [tenfold("batched") | {"outputs": {"y": "shares"}}]},
    "cascade": {
        "steps": [
            {
                "use": "softmax",
                "inputs": {"logits": "numbers"},
                "outputs": {"probabilities": "easy"},
            },
            {"use": "top_k_labels", "with": {"labels": ["a", "b", "c"], "k": 1}, "inputs": {"probabilities": "easy"}},
            {
                "when": {"wire": "probability", "is_below": 0.9, "otherwise": {"shares": {"wire": "easy"}}},
                "steps": [tenfold("batched"), SHARES],
            },
        ],
    },
    "each_item": {
        "inputs": {"items": {"datatype": "FP32", "dims": [-1, 3]}, "count": {"datatype": "INT32", "dims": [1]}},
        "steps": [
            {
                "for_each": {"items": {"numbers": "items"}, "count": "count", "pad": {"shares": -1}},
                "steps": [tenfold("batched"), SHARES],
                "outputs": ["shares"],
            },
        ],
    },
    "thrice": {
        "steps": [
            {
                "repeat": {"carry": {"tenfold": "numbers"}, "at_most": 3},
                "steps": [tenfold("batched")],
                "outputs": {"tenfold": "shares"},
            },
        ],
    },
}


def publish(repository, name, pipeline):
    path = repository.path.parent / f"{name}.yaml"
    head = {"name": name, "inputs": {"numbers": {"datatype": "FP32", "dims": [3]}}, "outputs": {"parts": "shares"}}
    path.write_text(yaml.safe_dump(head | pipeline))
    compiled = compile_pipeline(read_pipeline(path), repository)
    for model in (*compiled.models, compiled.own):
        write_compiled(repository.path, model)
    return compiled


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled") / "models"
    folder.mkdir()
    for name, (dims, size) in MODELS.items():
        tensors = [wire("FP32", *dims)] * 2
        write_python_model(folder, name, "x * 10", tensors=tensors, max_batch_size=size)
    return ModelRepository(folder)


@pytest.fixture(scope="module")
def compiled(repository):
    return {name: publish(repository, name, pipeline) for name, pipeline in PIPELINES.items()}


@pytest.fixture(scope="module")
def client(repository, compiled):
    with EmbeddedServer(repository.path) as server:
        outcomes = server.load_all()
        assert all(outcome.is_ready for outcome in outcomes), outcomes
        with Client(f"grpc://{server.grpc_url}") as client:
            yield client


def shares(rows):
    exponentials = np.exp(rows - rows.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


ROWS = np.random.default_rng(5).random((4, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
        ("one_row", 1, shares(ROWS * 10)),
        ("any_rows", 4, shares(ROWS * 10)),
        ("not_joined", 3, shares(ROWS * 10)),
        ("joined", 4, shares(ROWS * 10)),
        ("alone_in_python", 4, shares(ROWS)),
        ("alone_in_a_graph", 4, shares(ROWS)),
        ("a_member_alone", 4, ROWS * 10),
        ("cascade", 4, shares(ROWS * 10)),
        ("thrice", 3, ROWS * 1000),
    ],
)
def test_it_answers_as_its_steps_would(client, name, rows, expected):
    answer = client.model(name).infer({"numbers": ROWS[:rows]})["parts"]
    np.testing.assert_allclose(answer, expected[:rows], rtol=1e-5)


def test_rows_for_which_a_condition_does_not_hold_keep_what_they_had(client):
    rows = np.array([[9, 0, 0], [1, 0, 0], [0, 9, 0]], dtype=np.float32)
    expected = np.where([[True], [False], [True]], shares(rows), shares(rows * 10))
    np.testing.assert_allclose(client.model("cascade").infer({"numbers": rows})["parts"], expected, rtol=1e-5)


def test_items_are_rows_of_the_steps_inside(client):
    items, counts = np.random.default_rng(2).random((2, 5, 3), dtype=np.float32), np.array([[5], [2]], dtype=np.int32)
    answer = client.model("each_item").infer({"items": items, "count": counts})["parts"]
    expected = np.stack([shares(row * 10) for row in items])
    expected[1, 2:] = -1
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_what_is_compiled_is_valid(repository, compiled):
    found = validate(repository, release=release(DEFAULT_RELEASE), models=[*compiled])
    assert [each for each in found if each.severity is Severity.ERROR] == []


def test_one_part_is_the_model_itself(compiled):
    backends = {name: each.own.config.backend for name, each in compiled.items() if not each.is_ensemble}
    in_python = dict.fromkeys(["alone_in_python", "cascade", "each_item", "thrice"], "python")
    assert backends == in_python | {"alone_in_a_graph": "onnxruntime"}
    assert all(not compiled[name].models for name in backends)


def test_a_published_pipeline_compiles_to_the_same_again(repository, compiled):
    for name, before in compiled.items():
        published = read_pipeline(repository.model(name).version_path(1) / "pipeline.json")
        assert {step.version for step in published.all_steps() if step.model} <= {1}
        again = type_pipeline(published, repository)
        assert (again.wires, again.outputs, dict(again.members)) == (
            before.typed.wires,
            before.typed.outputs,
            dict(before.typed.members),
        )
