# SPDX-License-Identifier: Apache-2.0
"""Generated Python against a real server: every model of the repository, and models at the edge of what there is."""

import asyncio
import doctest
import inspect
import re

import numpy as np
import pandas as pd
import pytest

from repo_client import (
    AsyncClient,
    Client,
    InputError,
    NanError,
    ShapeError,
    SignatureChangedError,
    UnexpectedAnswerError,
    UnsupportedCallError,
)
from repo_client.typed import Contract, TypedModel
from repo_tool.samples import read_published_sample
from support.odd_models import TYPES

PUBLISHED = ("BreastCancer", "Diabetes", "DigitsCnn", "DigitsKeras", "DigitsReader", "Wine")
SAMPLED = ("EveryType", "EverySingle", "Model3dUnetV2", "Labelled", "Large")
NUMBERS = tuple(kind for kind in TYPES if kind != "STRING")


@pytest.fixture
def address(code_server):
    return f"grpc://{code_server.grpc_url}"


@pytest.fixture
def client(address):
    with Client(address) as client:
        yield client


@pytest.fixture
def clients(generated):
    return generated.module


def in_numpy(kind):
    return {"BOOL": np.bool_, "BF16": np.float32}.get(kind) or np.dtype(kind.lower().replace("fp", "float"))


def values(kind, shape):
    return np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(in_numpy(kind))


# --- the committed repository


@pytest.mark.parametrize("name", [*PUBLISHED, *SAMPLED])
def test_the_example_of_a_docstring_runs_as_it_is_written(clients, address, name, served_repository, monkeypatch):
    monkeypatch.chdir(served_repository.parent)
    text = inspect.getdoc(getattr(clients, name)).replace("grpc://127.0.0.1:8001", address)
    scope = dict(vars(clients))
    found = doctest.DocTestParser().get_doctest(text, scope, name, None, None)
    assert len(found.examples) > 4
    lines = []
    outcome = doctest.DocTestRunner().run(found, out=lines.append, clear_globs=False)
    found.globs["client"].close()
    assert outcome.failed == 0, "".join(lines)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_row_is_answered_as_it_was_when_it_was_published(clients, client, name, served_repository):
    model = getattr(clients, name)(client)
    contract = model.contract
    sample = read_published_sample(served_repository / contract.model / "1" / "sample.npz")
    (field,) = (tensor.key for tensor in contract.inputs)
    (rows,) = sample.inputs.values()
    flat = [row.item() for row in rows] if rows.dtype == object else rows
    batch = model.predict_batch(**{field: flat})
    results = list(model.predict_many({field: row} for row in flat))
    assert len(batch) == len(results) == len(rows)
    for tensor in contract.outputs:
        expected = sample.outputs[tensor.name]
        if tensor.datatype == "BYTES":
            words = [tuple(value.decode() for value in row) for row in expected]
            assert [getattr(result, tensor.key) for result in results] == [
                row[0] if tensor.shape == (1,) else row for row in words
            ]
            assert list(getattr(batch, tensor.key)) == [row[0] if tensor.shape == (1,) else row for row in words]
        else:
            shape = (len(rows),) if tensor.shape == (1,) else (len(rows), *tensor.shape)
            many = getattr(batch, tensor.key)
            assert many.shape == shape
            np.testing.assert_allclose(many, expected.reshape(shape), rtol=1e-3, atol=1e-4)
            ones = np.array([getattr(result, tensor.key) for result in results])
            np.testing.assert_allclose(ones, many, rtol=1e-3, atol=1e-4)


def test_labels_are_words(clients, client, served_repository):
    rows = read_published_sample(served_repository / "wine" / "1" / "sample.npz").inputs["measurements"]
    batch = clients.Wine(client).predict_batch(measurements=rows)
    best = batch.probabilities.argmax(axis=1)
    assert batch.probabilities_labels == tuple(("barolo", "grignolino", "barbera")[index] for index in best)
    one = clients.Wine(client).predict(measurements=rows[0])
    assert one.probabilities_label == batch.probabilities_labels[0]
    assert type(one.cultivar) is int


def test_the_steps_of_a_pipeline_are_models_like_others(clients, client, served_repository):
    picture = read_published_sample(served_repository / "digits_reader" / "1" / "sample.npz").inputs["image"][0, 0]
    pixels = clients.DigitsReaderPre(client).predict(image=picture).pixels
    assert pixels.shape == (8, 8, 1)
    assert clients.DigitsReaderModel(client).predict(pixels=pixels).label == "five"
    assert clients.DigitsReader(client).predict(image=picture).label == "five"


# --- every type, in every way


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_every_type_comes_back(clients, code_server, scheme):
    address = code_server.grpc_url if scheme == "grpc" else code_server.http_url
    arrays = {f"in_{kind}": values(kind, 2) for kind in NUMBERS}
    with Client(f"{scheme}://{address}") as client:
        row = clients.EveryType(client).predict(**arrays, in_STRING=["a", "é"])
        whole = clients.EveryWhole(client).predict(
            **{name: array[np.newaxis] for name, array in arrays.items()}, in_STRING=[["a", b"\xff"]]
        )
    for kind in NUMBERS:
        found = getattr(row, f"out_{kind}")
        assert found.dtype == in_numpy(kind)
        np.testing.assert_array_equal(found, arrays[f"in_{kind}"])
        np.testing.assert_array_equal(getattr(whole, f"out_{kind}"), [arrays[f"in_{kind}"]])
    assert row.out_STRING == ("a", "é")  # its sample shows that it is text
    assert whole.out_STRING == ((b"a", b"\xff"),)


def test_single_values_are_those_of_python(clients, client):
    given = {f"in_{kind}": values(kind, 1)[0].item() for kind in NUMBERS}
    found = clients.EverySingle(client).predict(**given, in_STRING="word")
    for kind in NUMBERS:
        value = getattr(found, f"out_{kind}")
        assert value == given[f"in_{kind}"]
        assert type(value) is type(given[f"in_{kind}"])
    assert found.out_STRING == "word"


def test_single_values_of_many_rows_have_one_dimension(clients, client):
    rows = 9  # more than two requests of four
    given = {f"in_{kind}": values(kind, rows) for kind in NUMBERS}
    found = clients.EverySingle(client).predict_batch(**given, in_STRING=[str(number) for number in range(rows)])
    assert len(found) == rows
    for kind in NUMBERS:
        np.testing.assert_array_equal(getattr(found, f"out_{kind}"), given[f"in_{kind}"])
    assert found.out_STRING == tuple(str(number) for number in range(rows))


def test_a_model_without_batching_takes_several_requests_as_a_list(clients, client):
    row = {f"in_{kind}": values(kind, (1, 2)) for kind in NUMBERS} | {"in_STRING": [["a", "b"]]}
    longer = row | {"in_FP32": values("FP32", (3, 2))}
    found = clients.EveryWhole(client).predict_batch([row, longer])
    assert [result.out_FP32.shape for result in found] == [(1, 2), (3, 2)]


def test_bytes_that_were_text_when_the_client_was_generated_are_refused_as_text(clients, client):
    with pytest.raises(UnexpectedAnswerError, match="out_STRING") as caught:
        clients.EveryType(client).predict(
            **{f"in_{kind}": values(kind, 2) for kind in NUMBERS}, in_STRING=[b"\xff", "a"]
        )
    assert "generate" in caught.value.hint


def test_an_output_that_is_not_of_its_shape_is_the_servers_fault(clients, client):
    model = clients.Liar(client)
    assert model.predict(x=np.ones(2, np.float32)).y.tolist() == [1, 1]
    with pytest.raises(UnexpectedAnswerError, match=r"'y' is \[1, 3\], not \[1, 2\]") as caught:
        model.predict(x=np.ones(3, np.float32))
    assert (caught.value.model, caught.value.tensor) == ("liar", "y")
    with pytest.raises(UnexpectedAnswerError, match=r"'y' is \[6, 3\], not \[-1, 2\]"):
        model.predict_batch(x=np.ones((6, 3), np.float32))


def test_no_rows_are_refused_before_the_wire(clients, client):
    with pytest.raises(InputError, match="rows"):
        clients.Wine(client).predict_batch(measurements=np.ones((0, 13), np.float32))
    assert list(clients.Wine(client).predict_many([])) == []
    assert clients.EveryWhole(client).predict_batch([]) == []


def test_a_row_that_does_not_fit_is_named_in_its_turn(clients, client):
    right = np.ones(13, np.float32)
    results = clients.Wine(client).predict_many([{"measurements": right}, {"measurement": right}])
    assert next(results).probabilities.shape == (3,)
    with pytest.raises(InputError, match="did you mean 'measurements'"):
        next(results)


# --- odd names and manners


def test_names_that_python_has_not_are_changed_and_still_reach_their_tensors(clients, client):
    found = clients.Model3dUnetV2(client).predict(
        x_0=np.ones(2, np.float32), class_=7, tensor_1=np.ones((3, 2), np.uint8)
    )
    assert found.float_ == 7
    assert found.x_0.tolist() == [1, 1]
    assert found.tensor_2.shape == (3, 2)


def test_names_that_clash_are_told_apart(clients, client):
    names = {"a_b": 1, "a_b_": 2, "a_b_2": 3, "self_": 4, "timeout_s_": 5, "np_": 6, "rows_": 7}
    assert {tensor.key for tensor in clients.Clashes.contract.inputs} == names.keys()
    found = clients.Clashes(client).predict(**names, timeout_s=20)
    answered = [getattr(found, tensor.key) for tensor in clients.Clashes.contract.outputs]
    sent = [names[tensor.key] for tensor in clients.Clashes.contract.inputs]
    assert answered == sent


def test_models_whose_names_clash_have_classes_of_their_own(clients):
    models = [
        value.contract.model
        for name, value in vars(clients).items()
        if isinstance(value, type) and hasattr(value, "contract") and not name.startswith(("Async", "Typed"))
    ]
    assert len(models) == len(set(models))
    assert {"a-b", "a_b", "ab_result"} <= set(models)


def test_an_ensemble_is_a_model_like_others(clients, client):
    assert clients.Chain(client).predict(first=np.array([1, 2], np.float32)).last.tolist() == [1, 2]


def test_what_is_optional_may_be_left_out(clients, client):
    model = clients.Optional(client)
    assert model.predict(x=2.0).weight == 0
    assert model.predict(x=2.0, weight=None).weight == 0
    assert model.predict(x=2.0, weight=3.0).weight == 3
    rows = [{"x": 1.0}, {"x": 2.0, "weight": 5.0}, {"x": 3.0, "weight": None}]
    assert [result.weight for result in model.predict_many(rows)] == [0, 5, 0]


def test_labels_keep_their_order_and_their_quotes(clients, client):
    found = clients.Labelled(client).predict(
        scores=np.array([0, 1, 0], np.float32), others=np.array([0, 1], np.float64)
    )
    assert found.scores_label_ == 'say "x"'
    assert found.scores_label_label == "crane"
    assert clients.LABELLED_LABELS == ("it's", 'say "x"', "back\\slash é")
    assert clients.LABELLED_LABELS2 == ("crane", "crane")


def test_a_table_goes_by_the_names_of_its_columns(clients, client):
    table = pd.DataFrame({"weight": [70.0, 60.0], "age": [30.0, 40.0], "height": [1.8, 1.7]}, dtype=np.float32)
    found = clients.Table(client).predict_batch(people=table)
    np.testing.assert_allclose(found.people, [[30, 1.8, 70], [40, 1.7, 60]])
    assert "columns age, height, weight" in inspect.getdoc(clients.Table.predict)


def test_a_client_that_refuses_nan_refuses_it(clients, client):
    row = np.full(13, np.nan, np.float32)
    with pytest.raises(NanError, match="measurements"):
        clients.Wine(client, nan="refuse").predict(measurements=row)


def test_a_model_of_streams_gives_its_answers_one_by_one(clients, client):
    assert [result.number for result in clients.Countdown(client).predict(start=3)] == [3, 2, 1]


def test_a_stream_is_not_to_be_had_over_http(clients, code_server):
    with (
        Client(f"http://{code_server.http_url}") as client,
        pytest.raises(UnsupportedCallError, match="grpc://"),
    ):
        list(clients.Countdown(client).predict(start=3))


def test_a_sequence_keeps_its_state_and_has_its_own(clients, client):
    model = clients.RunningSum(client)
    with model.sequence() as first:
        assert first.predict(value=1).total == 1
        assert first.predict(value=2).total == 3
        assert first.predict(value=4, last=True).total == 7
    with model.sequence(77) as second:
        assert second.id == 77
        assert second.predict(value=5).total == 5


# --- asyncio


def test_the_async_twins_do_the_same(clients, address, served_repository):
    rows = read_published_sample(served_repository / "wine" / "1" / "sample.npz").inputs["measurements"]

    async def given():
        for row in rows[:5]:
            yield {"measurements": row}

    async def run():
        async with AsyncClient(address) as client:
            wine = clients.AsyncWine(client)
            one = await wine.predict(measurements=rows[0])
            batch = await wine.predict_batch(measurements=rows)
            many = [result async for result in wine.predict_many(given(), max_in_flight=2)]
            counted = [each.number async for each in clients.AsyncCountdown(client).predict(start=2)]
            async with clients.AsyncRunningSum(client).sequence() as sequence:
                sums = [(await sequence.predict(value=value)).total for value in (1, 2)]
            whole = {f"in_{kind}": values(kind, (1, 2)) for kind in NUMBERS} | {"in_STRING": [["a", "b"]]}
            listed = await clients.AsyncEveryWhole(client).predict_batch([whole, whole])
            return one, batch, many, counted, sums, listed

    one, batch, many, counted, sums, listed = asyncio.run(run())
    assert one.cultivar == batch.cultivar[0]
    assert [result.cultivar for result in many] == batch.cultivar[:5].tolist()
    assert counted == [2, 1]
    assert sums == [1, 3]
    assert len(listed) == 2


# --- what is wrong is told


def test_a_row_with_a_batch_dimension_is_refused_with_the_way_out(clients, client):
    with pytest.raises(ShapeError, match="predict_batch") as caught:
        clients.Wine(client).predict(measurements=np.ones((1, 13), np.float32))
    assert caught.value.tensor == "measurements"


def test_a_model_that_changed_is_refused_with_all_that_changed(clients, client):
    class Older(TypedModel):
        contract = Contract(
            model="wine",
            digest="sha256:older",
            batches=True,
            inputs=clients.Diabetes.contract.inputs,
            outputs=(*clients.Diabetes.contract.outputs, *clients.Wine.contract.outputs),
        )

    with pytest.raises(SignatureChangedError) as caught:
        Older(client).check()
    told = str(caught.value)
    for change in ("input 'features' is gone", "input 'measurements' is new", "output 'prediction' is gone"):
        assert change in told
    assert "repo-tool client generate" in told
    assert caught.value.expected == "sha256:older"


def test_a_model_that_is_replaced_while_a_client_lives_is_told_at_the_next_call(
    clients, client, code_server, served_repository
):
    model = clients.ABModel(client)
    assert model.predict(x=np.ones(2, np.float32)).y.tolist() == [1, 1]
    config = served_repository / model.contract.model / "config.pbtxt"
    before = config.read_text()
    try:
        config.write_text(re.sub(r"dims: \[ 2 \]", "dims: [ 3 ]", before))
        client.admin.load(model.contract.model)
        with pytest.raises(SignatureChangedError, match=r"input 'x' is \[-1, 3\], not \[-1, 2\]"):
            model.predict(x=np.ones(2, np.float32))
    finally:
        config.write_text(before)
        client.admin.load(model.contract.model)
    assert model.predict(x=np.ones(2, np.float32)).y.tolist() == [1, 1]
