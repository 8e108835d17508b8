# SPDX-License-Identifier: Apache-2.0
"""Models that are called by a label: which version each call asks for, while the label moves."""

import asyncio
import json
import os

import numpy as np
import pytest

from repo_client import AsyncClient, Client, InputError, LabelNotFoundError, ModelNotFoundError
from repo_client.testing import AsyncInMemoryTransport, InMemoryTransport, model_signature
from repo_client.typed import Contract, Tensor, TypedModel
from repo_tool.repository.labels import labels_path, move
from repo_tool.repository.layout import ModelRepository

X = {"x": np.ones((1, 2), np.float32)}
SIGNATURE = model_signature(
    "m",
    inputs={"x": ("FP32", [-1, 2])},
    outputs={"y": ("FP32", [-1, 2])},
    max_batch_size=4,
    versions=["1", "2", "3"],
)
GONE = ModelNotFoundError("version 1 is not there any more")


class Typed(TypedModel):
    contract = Contract(
        model="m",
        digest="sha256:0",
        batches=True,
        inputs=(Tensor("x", "FP32", (2,)),),
        outputs=(Tensor("y", "FP32", (2,)),),
    )

    def predict(self, x):
        return self._predict(dict, {"x": x}, {})


def doubled(inputs):
    return {"y": inputs["x"] * 2}


@pytest.fixture
def transport():
    return InMemoryTransport(SIGNATURE, answer=doubled)


@pytest.fixture
def repository(tmp_path):
    repository = ModelRepository(tmp_path / "models")
    for version in (1, 2, 3):
        repository.model("m").version_path(version).mkdir(parents=True)
    return repository


def opened(transport, labels):
    return Client("grpc://nowhere", transport=transport, labels=labels)


def asked(transport):
    return [call.request.version for call in transport.calls if call.method == "infer"]


def test_each_call_goes_to_the_version_that_the_label_of_the_repository_names(transport, repository):
    move(repository, "m", "stable", 1)
    with opened(transport, repository.path) as client:
        model = client.model("m", label="stable")
        model.infer(X)
        move(repository, "m", "stable", 2)
        model.infer(X)
        move(repository, "m", "stable", 1)
        list(model.infer_many([X, X]))
    assert asked(transport) == ["1", "2", "1", "1"]
    assert model.signature.version == "1"


def test_the_file_of_labels_is_read_only_when_it_was_replaced(transport, repository):
    move(repository, "m", "stable", 1)
    path = labels_path(repository)
    with opened(transport, path) as client:
        model = client.model("m", label="stable")
        status = path.stat()
        path.write_text(path.read_text().replace("1}", "3}"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nobody had written it
        model.infer(X)
        os.utime(path)
        path.unlink()
        move(repository, "m", "stable", 2)
        model.infer(X)
    assert asked(transport) == ["1", "2"]


@pytest.mark.parametrize(
    "labels", [{"m": {"stable": 3}}, lambda model, label: {"m-stable": "3"}.get(f"{model}-{label}")]
)
def test_a_mapping_or_a_function_tells_the_version_as_well(transport, labels):
    with opened(transport, labels) as client:
        client.model("m", label="stable").infer(X)
        with pytest.raises(LabelNotFoundError, match="model 'm' has no label 'canary'") as caught:
            client.model("m", label="canary")
    assert asked(transport) == ["3"]
    assert caught.value.model == "m"


def test_a_typed_class_follows_a_label_as_well(transport):
    with opened(transport, labels := {"m": {"stable": 1}}) as client:
        model = Typed(client, label="stable")
        model.predict([1, 2])
        labels["m"] = {"stable": 2}
        assert list(model.predict([1, 2])["y"]) == [2, 4]
    assert asked(transport) == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        (json.dumps({"schema": 2, "labels": {}}), "no labels of schema 1"),
        (json.dumps({"schema": 1, "labels": {"m": 3}}), "no labels of schema 1"),
    ],
)
def test_labels_that_cannot_be_read_are_told_as_such(transport, tmp_path, content, words):
    path = tmp_path / "labels.json"
    if content is not None:
        path.write_text(content)
    with opened(transport, path) as client, pytest.raises(LabelNotFoundError, match=words):
        client.model("m", label="stable")


def test_a_label_asks_for_labels_and_stands_alone(transport):
    with opened(transport, None) as client, pytest.raises(InputError, match="pass labels= to the client"):
        client.model("m", label="stable")
    with opened(transport, {"m": {"stable": 1}}) as client, pytest.raises(InputError, match="pass one of them"):
        client.model("m", label="stable", version=1)
    with pytest.raises(InputError, match="labels is 7"):
        opened(transport, 7)


class Moving:
    """Labels that name one version after the other, each as often as said."""

    def __init__(self, *versions):
        self.versions = list(versions)

    def __call__(self, model, label):
        return self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]


def test_a_call_whose_version_goes_while_the_label_moves_on_is_made_again(transport):
    with opened(transport, Moving(1, 1, 1, 2)) as client:
        model = client.model("m", label="stable")
        transport.fail(GONE)
        model.infer(X)
    assert asked(transport) == ["1", "2"]


def test_a_version_that_its_label_names_before_it_is_loaded_is_waited_for_within_the_deadline(transport):
    with opened(transport, {"m": {"stable": 1}}) as client:
        model = client.model("m", label="stable")
        transport.fail(GONE, GONE)
        model.infer(X)
        assert asked(transport) == ["1", "1", "1"]
        transport.fail(*[GONE] * 20)
        with pytest.raises(ModelNotFoundError, match="not there any more"):
            model.infer(X, timeout_s=0.1)


def test_a_version_that_was_asked_for_by_its_number_is_not_waited_for(transport):
    with opened(transport, None) as client:
        model = client.model("m", version=1)
        transport.fail(GONE)
        with pytest.raises(ModelNotFoundError, match="not there any more"):
            model.infer(X)
    assert asked(transport) == ["1"]


def test_a_batch_is_answered_by_one_version(transport):
    with opened(transport, Moving(1, 1, 2)) as client:
        model = client.model("m", label="stable")
        transport.fail(None, GONE)
        answer = model.infer_batch({"x": np.ones((12, 2), np.float32)}, max_in_flight=1)
    assert answer["y"].shape == (12, 2)
    assert asked(transport) == ["1", "1", "2", "2", "2"]


def test_a_sequence_stays_with_the_version_that_it_began_with():
    signature = model_signature("m", inputs={"x": ("FP32", [1])}, outputs={"y": ("FP32", [1])}, versions=["1", "2"])
    transport = InMemoryTransport(signature, answer=doubled)
    with opened(transport, Moving(1, 1, 2)) as client, client.model("m", label="stable").sequence() as sequence:
        sequence.infer({"x": [1.0]})
        sequence.infer({"x": [1.0]}, last=True)
    assert asked(transport) == ["1", "1"]


def test_the_asynchronous_side_follows_labels_as_well():
    async def run():
        transport, labels = AsyncInMemoryTransport(SIGNATURE, answer=doubled), {"m": {"stable": 1}}
        async with AsyncClient("grpc://nowhere", transport=transport, labels=labels) as client:
            model = await client.model("m", label="stable")
            await model.infer(X)
            labels["m"] = {"stable": 2}
            await model.infer(X)
        return asked(transport)

    assert asyncio.run(run()) == ["1", "2"]
