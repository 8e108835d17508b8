# SPDX-License-Identifier: Apache-2.0
"""The same promises by all four clients, kept against a real server."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from repo_client import (
    AsyncClient,
    Client,
    ConnectionLostError,
    DeadlineExceededError,
    ExecutionError,
    LoadRefusedError,
    ModelNotFoundError,
    NetworkError,
    RefusedRequestError,
    Retries,
    ServerUnreachableError,
    TensorSpec,
    TlsError,
    UnexpectedAnswerError,
)
from repo_tool.triton.ports import free_ports
from repo_tool.triton.server import EmbeddedServer, ServerOptions

ONCE = Retries(attempts=1)


def until(condition, *, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)  # between two looks of a poll with a deadline


EXTREMES = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 2**16 - 1]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[-65504.0, 6e-8], [np.nan, -np.inf]], np.float16),
    "FP32": np.array([[3e38, -1e-45], [np.nan, np.inf]], np.float32),
    "FP64": np.array([[1e308, -5e-324], [np.nan, -0.0]], np.float64),
    "STRING": np.array([[b"", "é €".encode()], [b"\0\xff", b"x" * 70_000]], object),
    "BF16": np.array([[1.5, -2.0], [np.inf, np.nan]], np.float32),
}


@pytest.mark.parametrize("datatype", EXTREMES)
def test_every_datatype_comes_back_equal(client, datatype):
    sent = EXTREMES[datatype]
    answer = client.model("echo").infer({f"in_{datatype}": sent})
    back = answer[f"out_{datatype}"]
    assert (back.dtype, back.shape) == (sent.dtype, sent.shape)
    np.testing.assert_array_equal(back, sent)


@pytest.mark.parametrize("datatype", EXTREMES)
def test_every_datatype_may_be_empty(client, datatype):
    sent = np.empty((0, 3), EXTREMES[datatype].dtype)
    back = client.model("echo").infer({f"in_{datatype}": sent})[f"out_{datatype}"]
    assert (back.dtype, back.shape) == (sent.dtype, (0, 3))


def test_all_datatypes_go_in_one_request(client):
    answer = client.model("echo").infer({f"in_{name}": array for name, array in EXTREMES.items()})
    assert set(answer) == {f"out_{name}" for name in EXTREMES}
    for name, array in EXTREMES.items():
        np.testing.assert_array_equal(answer[f"out_{name}"], array)


def test_the_signature_is_that_of_the_configuration(client):
    signature = client.model("rows").signature
    assert (signature.name, signature.versions, signature.max_batch_size) == ("rows", ("1",), 4)
    assert signature.inputs == (
        TensorSpec(name="image", datatype="FP32", shape=(-1, 2, 3)),
        TensorSpec(name="weight", datatype="FP32", shape=(-1, 1), optional=True),
    )
    assert signature.outputs == (
        TensorSpec(name="label", datatype="BYTES", shape=(-1, 1)),
        TensorSpec(name="total", datatype="FP32", shape=(-1, 1)),
    )


@pytest.mark.parametrize("rows", [1, 4])
def test_a_batch_is_answered_row_by_row(client, rows):
    image = np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3) - 20
    answer = client.model("rows", version=1).infer({"image": image}, request_id="row-by-row")
    total = image.sum(axis=(1, 2))[:, None]
    np.testing.assert_array_equal(answer["total"], total)
    assert answer["label"].tolist() == np.where(total > 0, b"high", b"low").astype(object).tolist()
    assert (answer.model_name, answer.model_version, answer.request_id) == ("rows", "1", "row-by-row")


def test_only_the_outputs_asked_for_are_sent(client):
    answer = client.model("rows").infer({"image": np.ones((1, 2, 3), np.float32)}, outputs=["label"])
    assert dict(answer) == {"label": [[b"high"]]}


def test_an_optional_input_changes_the_answer_when_it_is_sent(client):
    answer = client.model("rows").infer({"image": [[[1, 1, 1], [1, 1, 1]]], "weight": -2.0})
    assert answer["total"].tolist() == [[-12.0]]


@pytest.fixture
def shrinkable_rows(client, client_repository):
    """Changes ``max_batch_size`` of the model ``rows`` on disk and in the server, and puts it back."""
    path = client_repository / "rows" / "config.pbtxt"
    original = path.read_text()

    def shrink(size):
        path.write_text(original.replace("max_batch_size: 4", f"max_batch_size: {size}"))
        client.admin.load("rows")

    yield shrink
    path.write_text(original)
    client.admin.load("rows")


def test_what_only_the_server_notices_keeps_its_words(client, shrinkable_rows):
    model = client.model("rows")
    shrinkable_rows(2)
    with pytest.raises(RefusedRequestError) as caught:
        model.infer({"image": np.zeros((3, 2, 3), np.float32)}, request_id="too-late")
    assert (caught.value.model, caught.value.request_id) == ("rows", "too-late")
    assert "batch-size must be <= 2" in caught.value.server_words
    assert "open it again" in caught.value.hint


def test_health_is_told_apart(client):
    assert client.admin.is_live()
    assert client.is_ready()
    client.wait_until_ready(timeout_s=5.0)
    assert client.admin.is_model_ready("rows")
    assert client.admin.is_model_ready("rows", version=1)
    assert not client.admin.is_model_ready("rows", version=9)
    assert not client.admin.is_model_ready("broken")
    assert not client.admin.is_model_ready("never heard of")


@pytest.mark.parametrize(
    ("name", "version"), [("never heard of", None), ("a/b?c", None), ("rows", 9), ("broken", None)]
)
def test_a_model_that_is_not_served_says_so(client, name, version):
    with pytest.raises(ModelNotFoundError) as caught:
        client.model(name, version=version)
    assert caught.value.model == name
    assert caught.value.server_words


def test_statistics_count_what_was_asked(client):
    model = client.model("rows")
    before = client.admin.statistics("rows", version=1)[0]
    model.infer({"image": np.zeros((3, 2, 3), np.float32)})
    until(lambda: client.admin.statistics("rows")[0].success.count > before.success.count)  # counted behind the answer
    after = client.admin.statistics("rows")[0]
    assert after.inference_count - before.inference_count == 3
    assert after.success.count - before.success.count == 1
    assert after.success.total_ns > before.success.total_ns
    with pytest.raises(ModelNotFoundError):
        client.admin.statistics("never heard of")


def test_a_model_comes_and_goes(client):
    model = client.model("moody")
    client.admin.unload("moody")
    until(lambda: not client.admin.is_model_ready("moody"))
    with pytest.raises(ModelNotFoundError):
        model.infer({"seconds": 0.0})
    client.admin.load("moody")
    assert model.infer({"seconds": 0.0})["slept"].tolist() == [0.0]
    states = {entry.name: entry.state for entry in client.admin.repository_index()}
    assert states["moody"] == "READY"


def test_a_refused_load_has_the_servers_reason(client):
    with pytest.raises(LoadRefusedError) as caught:
        client.admin.load("broken")
    assert caught.value.model == "broken"
    assert "this model never loads" in caught.value.server_words
    reasons = {entry.name: entry.reason for entry in client.admin.repository_index()}
    client.admin.unload("broken")  # a refused model leaves the server unready until it is unloaded
    assert "this model never loads" in reasons["broken"]


def test_loading_what_is_not_there_is_no_refusal(client):
    with pytest.raises(ModelNotFoundError):
        client.admin.load("never heard of")


def test_a_model_that_fails_is_the_one_at_fault(client):
    with pytest.raises(ExecutionError, match="time runs forward") as caught:
        client.model("moody").infer({"seconds": -1.0}, request_id="backwards")
    assert (caught.value.model, caught.value.request_id) == ("moody", "backwards")


def test_a_slow_answer_misses_the_deadline(client):
    model = client.model("moody")
    with pytest.raises(DeadlineExceededError, match=r"no answer from .* in time"):
        model.infer({"seconds": 2.0}, timeout_s=0.1)
    assert model.infer({"seconds": 0.0}, timeout_s=30.0)["slept"].tolist() == [0.0]


def test_nobody_at_the_address(opener, variant):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    client = opener.open(variant, grpc_url=address, http_url=address)
    with pytest.raises(ServerUnreachableError, match=f"no server answers at .*{address}") as caught:
        client.model("rows")
    assert caught.value.__cause__ is not None
    assert not client.admin.is_live()


def test_no_such_host(opener, variant):
    client = opener.open(variant, grpc_url="host.invalid:8001", http_url="host.invalid:8000")
    with pytest.raises(ServerUnreachableError, match=r"host\.invalid"):
        client.model("rows")


def test_tls_to_a_server_without_it(client_server, opener, variant):
    client = opener.open(variant, grpc_url=client_server.grpc_url, http_url=client_server.http_url, secure=True)
    with pytest.raises(TlsError):
        client.admin.is_live()


def test_the_port_of_the_other_protocol(client_server, opener, variant):
    client = opener.open(variant, grpc_url=client_server.http_url, http_url=client_server.grpc_url)
    with pytest.raises((NetworkError, UnexpectedAnswerError), match="8000"):
        client.model("rows")


def test_an_http_server_that_answers_everything_is_no_triton(client_server, opener):
    """Triton's own metrics port answers 200 and nothing to any path."""
    address = client_server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    for variant in ("sync-http", "async-http"):
        client = opener.open(variant, grpc_url=address, http_url=address)
        with pytest.raises(UnexpectedAnswerError, match="none of the Open Inference Protocol"):
            client.model("rows")


def _one_row(number):
    return {"image": np.full((1, 2, 3), number, np.float32)}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_threads_may_share_a_client(client_server, protocol):
    url = f"{protocol}://{getattr(client_server, f'{protocol}_url')}"
    with Client(url) as client, ThreadPoolExecutor(8) as pool:
        model = client.model("rows")
        totals = pool.map(lambda number: model.infer(_one_row(number))["total"].item(), range(64))
        assert list(totals) == [6.0 * number for number in range(64)]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tasks_may_share_a_client(client_server, protocol):
    async def ask():
        async with AsyncClient(f"{protocol}://{getattr(client_server, f'{protocol}_url')}") as client:
            model = await client.model("rows")
            return await asyncio.gather(*(model.infer(_one_row(number)) for number in range(64)))

    assert [answer["total"].item() for answer in asyncio.run(ask())] == [6.0 * number for number in range(64)]


def test_a_server_that_dies_in_mid_call(client_repository, opener):
    """All four clients have a call under way when the server is killed."""
    variants = ("sync-grpc", "async-grpc", "sync-http", "async-http")
    failures = {}

    def ask(model, variant):
        try:
            model.infer({"seconds": 60.0}, request_id=variant)
        except NetworkError as error:
            failures[variant] = type(error)

    with EmbeddedServer(client_repository, ServerOptions(graceful_stop_s=0)) as server:
        server.load("moody")
        urls = {"grpc_url": server.grpc_url, "http_url": server.http_url}
        models = {variant: opener.open(variant, **urls, retries=ONCE).model("moody") for variant in variants}
        threads = [threading.Thread(target=ask, args=(model, variant)) for variant, model in models.items()]
        for thread in threads:
            thread.start()
        version = client_repository / "moody" / "1"
        until(lambda: all((version / f"{variant}.begun").exists() for variant in variants))
        server.stop()
        for thread in threads:
            thread.join(timeout=30.0)
    assert failures == dict.fromkeys(variants, ConnectionLostError)
