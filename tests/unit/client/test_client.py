# SPDX-License-Identifier: Apache-2.0
"""The client over a server in memory that keeps what it is asked."""

import inspect
import itertools
import subprocess
import sys

import numpy as np
import pytest

import repo_client
from repo_client import (
    Admin,
    AsyncAdmin,
    AsyncClient,
    AsyncModel,
    Client,
    ClosedClientError,
    ConnectionLostError,
    DeadlineExceededError,
    Duration,
    IndexEntry,
    InferResponse,
    InputError,
    Model,
    ModelSignature,
    RepoClientError,
    ServerUnreachableError,
    TensorSpec,
    TlsError,
    UnexpectedAnswerError,
    UrlError,
    WireTensor,
)
from repo_client.testing import InMemoryTransport, model_signature

DIGITS = model_signature(
    "digits",
    inputs={"image": ("FP32", [-1, 2])},
    outputs={"image_out": ("FP32", [-1, 2])},
    max_batch_size=8,
    versions=("2", "7"),
)
IMAGE = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("grpc://triton", "grpc://triton:8001"),
        ("grpcs://triton:9", "grpcs://triton:9"),
        ("http://127.0.0.1", "http://127.0.0.1:8000"),
        ("https://[::1]:8443/behind/a/proxy/", "https://[::1]:8443/behind/a/proxy"),
    ],
)
def test_a_url_names_protocol_and_place(url, whole):
    with Client(url, transport=InMemoryTransport(DIGITS)) as client:
        assert client.url == whole


@pytest.mark.parametrize(
    "url",
    [
        "",
        "triton",
        "127.0.0.1:8001",
        "ftp://triton",
        "grpc://",
        "grpc://triton/v2",
        "http://triton:8000/v2",
        "http://a:b@triton",
        "http://t:x",
        "http://t:0",
        "http://t\nx",
    ],
)
def test_what_is_no_url_is_refused_with_an_example(url):
    with pytest.raises(UrlError, match=r"grpc://127\.0\.0\.1:8001"):
        Client(url)


@pytest.mark.parametrize(
    "url",
    [
        "grpc://bob:secret@h:8001",
        "grpc://bob:se/secret@h",
        "http://bob:99999secret@h",
        "bob:secret@h",
        "http://h/?key=secret",
        "http://h#secret",
    ],
)
def test_what_may_be_a_secret_of_a_url_is_not_repeated(url):
    with pytest.raises(UrlError, match="headers= or token=") as caught:
        Client(url)
    assert "secret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"


def asked(transport, method):
    return [call for call in transport.calls if call.method == method]


def echo(inputs):
    return {"image_out": inputs["image"]}


def test_the_signature_is_read_once():
    transport = InMemoryTransport(DIGITS)
    with Client("grpc://nowhere", transport=transport) as client:
        model = client.model("digits", version=2)
        model.infer({"image": IMAGE})
        model.infer({"image": IMAGE})
    assert len(asked(transport, "metadata")) == len(asked(transport, "config")) == 1
    assert model.signature == ModelSignature(
        name="digits",
        version="2",
        versions=("2", "7"),
        platform="",
        max_batch_size=8,
        inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, 2)),),
        outputs=(TensorSpec(name="image_out", datatype="FP32", shape=(-1, 2)),),
    )


def test_a_call_carries_its_options_to_the_wire():
    transport = InMemoryTransport(DIGITS, answer=echo)
    with Client("grpc://nowhere", transport=transport) as client:
        model = client.model("digits", version="7")
        answer = model.infer(
            {"image": IMAGE},
            outputs=["image_out"],
            timeout_s=2.5,
            request_id="r-1",
            priority=1,
            parameters={"mood": "good"},
            headers={"x-user": "me"},
        )
    call = asked(transport, "infer")[0]
    sent = call.request
    assert (sent.version, sent.outputs, sent.timeout_us, sent.request_id) == ("7", ("image_out",), 2_500_000, "r-1")
    assert sent.parameters == {"mood": "good", "priority": 1}
    assert sent.headers == {"x-user": "me"}
    # On the wire goes what is left of the deadline.
    assert 2.0 < call.timeout_s <= 2.5
    np.testing.assert_array_equal(call.inputs["image"], IMAGE)
    assert (answer.model_name, answer.model_version, answer.request_id, list(answer)) == (
        "digits",
        "7",
        "r-1",
        ["image_out"],
    )


def test_every_call_has_the_deadline_of_the_client_or_its_own():
    transport = InMemoryTransport(DIGITS)
    with Client("grpc://nowhere", timeout_s=3.0, transport=transport) as client:
        admin = client.admin
        for ask in (admin.is_live, client.is_ready, admin.repository_index, admin.server_metadata, admin.statistics):
            ask()
            ask(timeout_s=1.0)
        for ask in (admin.is_model_ready, admin.load, admin.unload, admin.load, admin.statistics, admin.config):
            ask("digits")
            ask("digits", timeout_s=1.0)
        for options in ({}, {"timeout_s": 1.0}):
            client.model("digits", **options).infer({"image": IMAGE}, **options)
    own = [call for call in transport.calls if call.method not in ("metadata", "config", "infer")]
    assert [call.timeout_s for call in own] == [3.0, 1.0] * 10
    for method, times in (("metadata", 2), ("config", 4), ("infer", 2)):
        limits = [call.timeout_s for call in asked(transport, method)]
        assert len(limits) == times
        assert all(1.0 < limit <= 3.0 for limit in limits[::2])
        assert all(0.0 < limit <= 1.0 for limit in limits[1::2])


def test_index_and_statistics_are_typed():
    # As gRPC gives it: 64-bit integers are strings, and zeros are left out.
    class OverGrpc(InMemoryTransport):
        def repository_index(self, *, timeout_s):
            return [{"name": "digits", "version": "1", "state": "READY"}, {"name": "never_loaded"}]

        def statistics(self, name, version, *, timeout_s):
            times = {"success": {"count": "2", "ns": "3000000"}}
            batches = [{"batch_size": "4", "compute_infer": {"count": "1"}}, {"batch_size": "1"}]
            document = {"name": name, "version": "1", "inference_count": "5", "inference_stats": times}
            responses = {"10": {"cancel": {"count": "1"}}, "2": {}}
            return [document | {"batch_stats": batches, "response_stats": responses}]

    with Client("grpc://nowhere", transport=OverGrpc(DIGITS)) as client:
        index = client.admin.repository_index()
        assert index == (
            IndexEntry(name="digits", version="1", state="READY", reason=""),
            IndexEntry(name="never_loaded", version="", state="", reason=""),
        )
        assert [entry.is_ready for entry in index] == [True, False]
        statistics = client.admin.statistics("digits")[0]
    assert statistics.inference_count == 5
    assert statistics.success == Duration(count=2, total_ns=3_000_000)
    assert statistics.success.mean_ms == 1.5
    assert statistics.fail == Duration(count=0, total_ns=0)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in statistics.batches] == [(1, 0), (4, 1)]
    assert [(response.index, response.cancel.count) for response in statistics.responses] == [(2, 0), (10, 1)]


@pytest.mark.parametrize("kind", [ServerUnreachableError, ConnectionLostError, DeadlineExceededError])
def test_a_server_that_does_not_answer_is_not_ready(kind):
    transport = InMemoryTransport(DIGITS, failures=itertools.repeat(kind("gone")))
    with Client("grpc://nowhere", transport=transport) as client:
        assert (client.admin.is_live(), client.is_ready(), client.admin.is_model_ready("digits")) == (
            False,
            False,
            False,
        )


def test_a_server_without_trust_is_an_error_even_to_a_question():
    transport = InMemoryTransport(DIGITS, failures=itertools.repeat(TlsError("no trust")))
    with Client("grpcs://nowhere", transport=transport) as client:
        for ask in (client.admin.is_live, client.is_ready, lambda: client.admin.is_model_ready("digits")):
            with pytest.raises(TlsError):
                ask()


def test_waiting_ends_when_the_server_is_ready():
    transport = InMemoryTransport(DIGITS, failures=[ServerUnreachableError("not yet")] * 2)
    with Client("grpc://nowhere", transport=transport) as client:
        client.wait_until_ready(timeout_s=10.0)
    assert [call.method for call in transport.calls] == ["is_ready"] * 3


def test_waiting_ends_at_the_deadline():
    transport = InMemoryTransport(DIGITS, failures=itertools.repeat(ServerUnreachableError("not yet")))
    with (
        Client("grpc://nowhere", transport=transport) as client,
        pytest.raises(DeadlineExceededError, match=r"was not ready after 0\.1 s"),
    ):
        client.wait_until_ready(timeout_s=0.1)


def test_a_closed_client_says_so():
    transport = InMemoryTransport(DIGITS)
    client = Client("grpc://nowhere", transport=transport)
    model = client.model("digits")
    client.close()
    client.close()
    with pytest.raises(ClosedClientError, match="closed"):
        model.infer({"image": IMAGE})
    assert asked(transport, "infer") == []
    assert transport.closed


@pytest.mark.parametrize(
    "tensor",
    [
        WireTensor(name="y", datatype="FP32", shape=(2,), data=b"\0" * 7),
        WireTensor(name="y", datatype="FP32", shape=(3,), data=b"\0" * 8),
        WireTensor(name="y", datatype="FP128", shape=(1,), data=b"\0" * 16),
        WireTensor(name="y", datatype="BYTES", shape=(1,), data=b"\x05\0\0\0abc"),
        WireTensor(name="y", datatype="BYTES", shape=(1,), data=b"\x05\0"),
    ],
)
def test_an_answer_whose_bytes_do_not_fit_is_the_servers_fault(tensor):
    class Answering(InMemoryTransport):
        def infer(self, request, *, timeout_s):
            return InferResponse(model="digits", version="1", request_id="", outputs=(tensor,))

    with Client("grpc://nowhere", transport=Answering(DIGITS)) as client:
        model = client.model("digits")
        with pytest.raises(UnexpectedAnswerError, match="output 'y' cannot be read"):
            model.infer({"image": IMAGE})


def _surface(kind):
    members = inspect.getmembers(kind, lambda member: inspect.isfunction(member) or isinstance(member, property))
    return {name for name, _ in members if not name.startswith("_")}


def test_both_sides_have_one_surface():
    assert _surface(Client) == _surface(AsyncClient)
    assert _surface(Model) == _surface(AsyncModel)
    assert _surface(Admin) == _surface(AsyncAdmin)


def test_the_drawn_error_tree_is_the_real_one():
    drawn = sys.modules[RepoClientError.__module__].__doc__
    kinds = [kind for kind in vars(repo_client).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in kinds:
        branch = [base.__name__ for base in kind.__mro__ if issubclass(base, RepoClientError)]
        depth = len(branch) - 1
        line = next(line for line in drawn.splitlines() if kind.__name__ in line.replace("─", " ").split())
        column = line.index(kind.__name__) - 4
        assert column == 4 * depth, f"{kind.__name__} is drawn at another depth than {branch}"


@pytest.mark.parametrize("name", [name for name in repo_client.__all__ if name.endswith("Error")])
def test_every_error_is_one_of_the_tree(name):
    assert issubclass(getattr(repo_client, name), RepoClientError)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import repo_client", {"grpc", "tritonclient", "urllib3", "aiohttp"}),
        ("from repo_client import Client; Client('grpc://nowhere')", {"urllib3", "aiohttp"}),
        ("from repo_client import Client; Client('http://nowhere')", {"grpc", "tritonclient", "aiohttp"}),
    ],
)
def test_only_the_library_of_the_protocol_is_imported(code, absent):
    program = f"import sys; {code}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not absent & set(run.stdout.split())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"retries": 5}, r"retries is 5\nhint: pass retries=Retries\(...\)"),
        ({"connection": {"connections": 3}}, r"pass connection=ConnectionOptions\(...\)"),
        ({"shared_memory": "systm"}, "shared_memory is 'systm'\nhint: one of 'auto', 'system'"),
    ],
)
def test_an_option_of_another_kind_says_what_to_pass(option, words):
    with pytest.raises(InputError, match=words):
        Client("grpc://nowhere", **option)
