# SPDX-License-Identifier: Apache-2.0
"""What ``repo_client.testing`` gives to those who test their own code."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_client import (
    AsyncClient,
    Client,
    ExecutionError,
    InputError,
    LoadRefusedError,
    ModelNotFoundError,
    ModelSignature,
    ServerBusyError,
    ServerUnreachableError,
    SharedMemoryError,
    TensorSpec,
)
from repo_client._contract import Contract, Tensor
from repo_client._documents import read_signature
from repo_client._in_memory import config_document, metadata_document
from repo_client.testing import (
    AsyncInMemoryTransport,
    AsyncRecorder,
    AsyncReplay,
    InMemoryModel,
    InMemoryTransport,
    NotRecordedError,
    Recorder,
    Replay,
    model_signature,
)

DIGITS = model_signature(
    "digits",
    inputs={"image": ("FP32", [-1, 2]), "note": ("BYTES", [-1, 1])},
    outputs={"label": ("INT64", [-1]), "word": ("BYTES", [-1, 1])},
    max_batch_size=8,
    optional=["note"],
)
TICKER = model_signature("ticker", inputs={"times": ("INT32", [1])}, outputs={"tick": ("INT32", [1])}, decoupled=True)
IMAGE = np.array([[0.25, 0.5], [1.0, -1.0], [2.0, 3.0]], np.float32)


def classify(inputs):
    labels = inputs["image"].argmax(axis=1)
    return {"label": labels, "word": [[f"number {label}"] for label in labels]}


def tick(inputs):
    return ({"tick": [number]} for number in range(inputs["times"][0]))


@pytest.fixture
def transport():
    return InMemoryTransport(DIGITS, InMemoryModel(signature=TICKER, answer=tick), answer=classify)


@pytest.fixture
def client(transport):
    with Client("grpc://nowhere", transport=transport) as client:
        yield client


def test_a_function_answers_and_what_it_was_asked_is_kept(client, transport):
    image = IMAGE.copy()
    answer = client.model("digits").infer({"image": image, "note": [["a"], ["b"], ["ü"]]}, request_id="r-1")
    image[:] = 0  # the caller's array again: what was sent stays what it was
    assert answer["label"].tolist() == [1, 0, 1]
    assert answer["word"].tolist() == [[b"number 1"], [b"number 0"], [b"number 1"]]
    assert (answer.request_id, answer.model_version) == ("r-1", "1")
    call = transport.calls[-1]
    assert (call.method, call.model, call.request.request_id) == ("infer", "digits", "r-1")
    np.testing.assert_array_equal(call.inputs["image"], IMAGE)
    assert call.inputs["note"].tolist() == [[b"a"], [b"b"], ["ü".encode()]]


def test_only_the_outputs_asked_for_are_answered(client):
    assert list(client.model("digits").infer({"image": IMAGE}, outputs=["word"])) == ["word"]


def test_without_an_answer_a_signature_is_enough():
    with Client("grpc://nowhere", transport=InMemoryTransport(DIGITS)) as client:
        answer = client.model("digits").infer({"image": IMAGE})
    assert answer["label"].tolist() == [0, 0, 0]
    assert answer["word"].tolist() == [[b""]] * 3


def test_values_answer_every_call_the_same():
    answer = {"label": np.array([7]), "word": [["seven"]]}
    with Client("grpc://nowhere", transport=InMemoryTransport(DIGITS, answer=answer)) as client:
        model = client.model("digits")
        assert [int(model.infer({"image": IMAGE[:1]})["label"][0]) for _ in range(2)] == [7, 7]


def test_a_decoupled_model_answers_as_often_as_its_function_yields(client):
    ticks = [int(answer["tick"][0]) for answer in client.model("ticker").stream({"times": [3]})]
    assert ticks == [0, 1, 2]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"label": [1.5], "word": [["x"]]}, "output 'label'"),
        ({"lable": [1], "word": [["x"]]}, "did you mean 'label'"),
        ({"label": [[1]], "word": [["x"]]}, "output 'label': received"),
        ({"label": [1]}, "'word'"),
        ({}, "no value for"),
        ({"label": [1, 2], "word": [["x"]]}, "'label', 2 for|2 for 'label'"),
        ({"label": [1, 2], "word": [["x"]] * 2}, "output 'label': received 2 rows for 1"),
    ],
)
def test_an_answer_that_no_such_model_could_give_is_refused(answer, message):
    transport = InMemoryTransport(DIGITS, answer=answer)
    with Client("grpc://nowhere", transport=transport) as client, pytest.raises(InputError, match=message) as caught:
        client.model("digits").infer({"image": IMAGE[:1]})
    assert "the answer of the test does not fit" in caught.value.fact


def test_an_answer_that_is_an_error_is_raised():
    def refuse(inputs):
        raise ExecutionError("no picture of a digit")

    transport = InMemoryTransport(DIGITS, answer=refuse)
    with Client("grpc://nowhere", transport=transport) as client, pytest.raises(ExecutionError, match="no picture"):
        client.model("digits").infer({"image": IMAGE})


def test_calls_fail_when_they_are_told_to(client, transport):
    model = client.model("digits")
    transport.fail(ServerBusyError("full"))
    assert model.infer({"image": IMAGE})["label"].tolist() == [1, 0, 1]  # tried again
    assert [call.method for call in transport.calls[-2:]] == ["infer", "infer"]
    transport.fail(None, ServerUnreachableError("gone"))
    assert client.is_ready()
    assert not client.is_ready()
    assert client.is_ready()


def test_models_are_unloaded_and_loaded(client, transport):
    client.admin.unload("digits")
    assert not client.admin.is_model_ready("digits")
    with pytest.raises(ModelNotFoundError, match="it has 'ticker'"):
        client.model("digits")
    states = {entry.name: entry.state for entry in client.admin.repository_index()}
    assert states == {"digits": "UNAVAILABLE", "ticker": "READY"}
    client.admin.load("digits", config={"max_batch_size": 2})
    assert client.model("digits").signature.max_batch_size == 2
    assert client.admin.config("digits").max_batch_size == 2
    assert transport.calls[-1].method == "config"
    with pytest.raises(ModelNotFoundError, match="failed to poll"):
        client.admin.load("nothing_here")
    with pytest.raises(LoadRefusedError, match="is no JSON"):
        client.admin.load("digits", config="{bad")
    with pytest.raises(InputError, match=r"config is no JSON: .*object"):
        client.admin.load("digits", config={"max_batch_size": object()})


def test_a_version_that_is_not_there_is_an_error(client):
    with pytest.raises(ModelNotFoundError):
        client.model("digits", version=9)


def test_statistics_count_what_was_executed(client):
    model = client.model("digits")
    for _ in range(3):
        model.infer({"image": IMAGE})
    assert [(each.name, each.success.count) for each in client.admin.statistics()] == [("digits", 3), ("ticker", 0)]


def test_the_async_side_is_the_same():
    async def ask():
        transport = AsyncInMemoryTransport(DIGITS, InMemoryModel(signature=TICKER, answer=tick), answer=classify)
        async with AsyncClient("grpc://nowhere", transport=transport) as client:
            label = (await (await client.model("digits")).infer({"image": IMAGE}))["label"].tolist()
            ticks = [int(each["tick"][0]) async for each in (await client.model("ticker")).stream({"times": [2]})]
            return label, ticks, transport.calls[-1].method

    assert asyncio.run(ask()) == ([1, 0, 1], [0, 1], "stream")


names = st.text(min_size=1, max_size=8)
specs = st.builds(
    TensorSpec,
    name=names,
    datatype=st.sampled_from(["FP32", "BYTES", "INT8"]),
    shape=st.lists(st.sampled_from([-1, 1, 7]), min_size=2, max_size=2).map(tuple),
)


@given(
    st.builds(
        ModelSignature,
        name=names,
        version=st.sampled_from(["", "2"]),
        versions=st.just(("2", "3")),
        platform=st.sampled_from(["", "ensemble"]),
        max_batch_size=st.integers(0, 9),
        inputs=st.lists(specs, max_size=3, unique_by=lambda tensor: tensor.name).map(tuple),
        outputs=st.lists(specs, max_size=3, unique_by=lambda tensor: tensor.name).map(tuple),
        decoupled=st.booleans(),
        sequence_batching=st.booleans(),
    )
)
def test_a_signature_survives_its_documents(signature):
    documents = metadata_document(signature), config_document(signature)
    assert read_signature(*documents, version=signature.version) == signature


@pytest.fixture
def recording(transport, tmp_path):
    """A recording of some calls, one that failed and one of a stream among them."""
    path = tmp_path / "calls.jsonl"
    with Client("grpc://nowhere", transport=Recorder(transport, path), headers={"x-all": "hush"}) as client:
        use(client)
        client.model("digits").infer({"image": IMAGE[:1], "note": [["secret?"]]}, headers={"x-key": "hush"})
        transport.fail(ExecutionError("it broke", hint="mend it"))
        with pytest.raises(ExecutionError):
            client.admin.statistics("digits")
    return path


def use(client):
    """What a test does twice, with the server and without."""
    model = client.model("digits")
    labels = [model.infer({"image": IMAGE}, request_id=name, timeout_s=9)["label"].tolist() for name in ("a", "b")]
    ticks = [int(answer["tick"][0]) for answer in client.model("ticker").stream({"times": [2]})]
    admin = client.admin
    index = [entry.name for entry in admin.repository_index()]
    return labels, ticks, index, admin.config("digits").max_batch_size, client.is_ready()


def test_what_was_recorded_is_replayed(recording):
    with Client("grpc://elsewhere", transport=Replay(recording)) as client:
        assert use(client) == ([[1, 0, 1]] * 2, [0, 1], ["digits", "ticker"], 8, True)
        answer = client.model("digits").infer({"image": IMAGE}, request_id="another")
        assert answer.request_id == "another"
        with pytest.raises(ExecutionError, match="it broke") as caught:
            client.admin.statistics("digits")
        assert caught.value.hint == "mend it"


def test_either_side_replays_what_the_other_recorded(recording, tmp_path):
    async def again(transport):
        async with AsyncClient("grpc://elsewhere", transport=transport) as client:
            model = await client.model("digits")
            return (await model.infer({"image": IMAGE}))["label"].tolist()

    assert asyncio.run(again(AsyncReplay(recording))) == [1, 0, 1]
    asyncio.run(again(AsyncRecorder(AsyncReplay(recording), tmp_path / "second.jsonl")))
    with Client("grpc://elsewhere", transport=Replay(tmp_path / "second.jsonl")) as client:
        assert client.model("digits").infer({"image": IMAGE})["label"].tolist() == [1, 0, 1]


def test_secrets_of_the_way_are_not_written(recording):
    assert "hush" not in recording.read_text()


def test_answers_come_in_the_order_of_old_and_then_as_the_last_time(tmp_path):
    count = iter(range(10, 20))
    signature = model_signature("counter", inputs={"x": ("INT32", [1])}, outputs={"y": ("INT32", [1])})
    transport = InMemoryTransport(signature, answer=lambda inputs: {"y": [next(count)]})
    with Client("grpc://nowhere", transport=Recorder(transport, tmp_path / "calls")) as client:
        model = client.model("counter")
        for _ in range(3):
            model.infer({"x": [0]})
    with Client("grpc://nowhere", transport=Replay(tmp_path / "calls")) as client:
        model = client.model("counter")
        assert [int(model.infer({"x": [0]})["y"][0]) for _ in range(5)] == [10, 11, 12, 12, 12]


def test_calls_that_ran_side_by_side_are_in_the_order_in_which_they_began(tmp_path):
    """The first is answered last."""
    signature = model_signature("counter", inputs={"x": ("INT32", [1])}, outputs={"y": ("INT32", [1])})

    class Waiting(AsyncInMemoryTransport):
        begun = 0

        async def infer(self, request, *, timeout_s):
            Waiting.begun += 1
            number = Waiting.begun
            await asyncio.sleep(0.02 * (4 - number))
            response = await super().infer(request, timeout_s=timeout_s)
            return replace(response, outputs=(replace(response.outputs[0], data=number.to_bytes(4, "little")),))

    async def ask(transport):
        async with AsyncClient("grpc://nowhere", transport=transport) as client:
            model = await client.model("counter")
            return [int(answer["y"][0]) async for answer in model.infer_many([{"x": [0]}] * 3)]

    path = tmp_path / "calls"
    assert asyncio.run(ask(AsyncRecorder(Waiting(signature), path))) == [1, 2, 3]
    assert asyncio.run(ask(AsyncReplay(path))) == [1, 2, 3]


def test_a_stream_that_was_left_is_not_replayed_as_whole(transport, tmp_path):
    with Client("grpc://nowhere", transport=Recorder(transport, tmp_path / "calls")) as client:
        next(client.model("ticker").stream({"times": [3]}))
    with Client("grpc://nowhere", transport=Replay(tmp_path / "calls")) as client:
        ticks = client.model("ticker").stream({"times": [3]})
        assert int(next(ticks)["tick"][0]) == 0
        with pytest.raises(NotRecordedError, match="has 1 answer of this stream, which was left then"):
            next(ticks)


def test_an_error_that_is_replayed_is_a_new_one_each_time(recording):
    with Client("grpc://nowhere", transport=Replay(recording)) as client:
        errors = []
        for _ in range(2):
            with pytest.raises(ExecutionError) as caught:
                client.admin.statistics("digits")
            errors.append(caught.value)
    assert errors[0] is not errors[1]


OTHER = IMAGE.copy()
OTHER[1, 0] = 9.5


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"image": OTHER}, r"input 'image': 1 of 6 values, the first at \[1, 0\]: 9\.5 here, 1\.0 there"),
        ({"image": IMAGE[:2]}, r"input 'image': FP32 \[2, 2\] here, FP32 \[3, 2\] there"),
        ({"image": IMAGE[:1]}, r"input 'note': only there"),
        (
            {"image": IMAGE[:1], "note": [["secret!"]]},
            r"input 'note': 1 of 1 values, the first at \[0, 0\]: b'secret!' here, b'secret\?' there",
        ),
    ],
)
def test_a_request_that_was_not_recorded_tells_the_nearest(recording, inputs, message):
    with Client("grpc://nowhere", transport=Replay(recording)) as client:
        model = client.model("digits")
        with pytest.raises(NotRecordedError, match=message) as caught:
            model.infer(inputs)
    assert caught.value.fact == "calls.jsonl has no answer to this infer of model 'digits'"
    assert "record it again" in caught.value.hint


def test_a_call_that_was_not_recorded_tells_what_was(recording):
    with Client("grpc://nowhere", transport=Replay(recording)) as client:
        with pytest.raises(NotRecordedError, match="model: 'nothing_here' here, 'digits' there"):
            client.model("nothing_here")
        with pytest.raises(NotRecordedError, match="it has none of this kind"):
            client.admin.load("digits")


@pytest.mark.parametrize("content", ["", "{}\n", "not JSON", '{"format": "repo_client recording", "version": 2}\n'])
def test_another_file_is_no_recording(tmp_path, content):
    path = tmp_path / "calls.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="is no recording"):
        Replay(path)


def test_no_file_names_what_makes_one(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read: No such file[^\n]*\n[^\n]*testing\.Recorder"):
        Replay(tmp_path / "nothing")


def test_a_recorder_needs_the_folder_of_its_file(transport, tmp_path):
    with pytest.raises(InputError, match=r"the folder of .* is not there\nhint: make it: mkdir -p"):
        Recorder(transport, tmp_path / "nowhere" / "calls.jsonl")


def test_a_recording_that_cannot_be_written_closes_the_transport_all_the_same(transport, tmp_path):
    (tmp_path / "calls").mkdir()
    recorder = Recorder(transport, tmp_path / "calls")
    with pytest.raises(OSError, match="calls"):
        recorder.close()
    assert transport.closed


def test_a_run_that_breaks_off_leaves_the_recording_as_it_was(recording, transport):
    before = recording.read_text()
    client = Client("grpc://nowhere", transport=Recorder(transport, recording))
    client.model("digits")
    assert recording.read_text() == before
    client.close()
    assert recording.read_text() != before


def test_the_contract_of_a_generated_client_is_served():
    contract = Contract(
        model="digits",
        digest="any",
        batches=True,
        inputs=(Tensor("image", "FP32", (2,)), Tensor("note", "BYTES", (1,), optional=True)),
        outputs=(Tensor("label", "INT64", ()), Tensor("word", "BYTES", (1,))),
    )
    with Client("grpc://nowhere", transport=InMemoryTransport(contract, answer=classify)) as client:
        model = client.model("digits")
        contract.check(model.signature)
        assert model.infer({"image": IMAGE})["label"].tolist() == [1, 0, 1]


def test_a_signature_that_tells_no_version_has_one():
    with Client("grpc://nowhere", transport=InMemoryTransport(replace(DIGITS, versions=()))) as client:
        assert client.model("digits").infer({"image": IMAGE}).model_version == "1"


LARGE = np.zeros((8, 60_000), np.float32)
WIDE = model_signature("wide", inputs={"x": ("FP32", [-1, 60_000])}, outputs={"y": ("FP32", [-1, 1])}, max_batch_size=8)


class OnThisMachine(InMemoryTransport):
    """A server that would share memory."""

    def server_metadata(self, *, timeout_s):
        return {"name": "triton", "version": "2.51.0", "extensions": ["system_shared_memory"]}

    def register_region(self, name, key, byte_size, *, timeout_s):
        raise AssertionError("a tensor in shared memory would not be recorded")


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_nothing_is_shared_past_a_recorder(tmp_path, mode):
    recorder = Recorder(OnThisMachine(WIDE), tmp_path / "calls")
    with Client("grpc://127.0.0.1", transport=recorder, shared_memory=mode) as client:
        client.model("wide").infer({"x": LARGE})
    with Client("grpc://127.0.0.1", transport=Replay(tmp_path / "calls")) as client:
        assert client.model("wide").infer({"x": LARGE})["y"].shape == (8, 1)


def test_who_insists_on_shared_memory_cannot_record(tmp_path):
    recorder = Recorder(OnThisMachine(WIDE), tmp_path / "calls")
    with Client("grpc://127.0.0.1", transport=recorder, shared_memory="system") as client:
        model = client.model("wide")
        with pytest.raises(SharedMemoryError, match="cannot be recorded"):
            model.infer({"x": LARGE})


def test_sequences_are_replayed_whatever_their_ids(tmp_path):
    signature = model_signature(
        "adder", inputs={"x": ("INT32", [1])}, outputs={"sum": ("INT32", [1])}, sequence_batching=True
    )
    totals = iter([1, 10, 3, 30])
    transport = InMemoryTransport(signature, answer=lambda inputs: {"sum": [next(totals)]})

    def add(client, values):
        model = client.model("adder")
        with model.sequence() as first, model.sequence() as second:
            return [
                int(sequence.infer({"x": [value]}, last=value > 1)["sum"][0])
                for value in values
                for sequence in (first, second)
            ]

    with Client("grpc://nowhere", transport=Recorder(transport, tmp_path / "calls")) as client:
        assert add(client, [1, 2]) == [1, 10, 3, 30]
    with Client("grpc://nowhere", transport=Replay(tmp_path / "calls")) as client:
        assert add(client, [1, 2]) == [1, 10, 3, 30]


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [(InMemoryTransport, AsyncInMemoryTransport), (Recorder, AsyncRecorder), (Replay, AsyncReplay)],
)
def test_both_sides_have_one_surface(blocking, asynchronous):
    assert [name for name in vars(blocking) if name[0] != "_"] == [
        name for name in vars(asynchronous) if name[0] != "_"
    ]
