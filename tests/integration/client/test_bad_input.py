# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: each its own error, by all four clients of a real server."""

import os
import shutil
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from repo_client import (
    BatchSizeError,
    ConnectionLostError,
    DatatypeError,
    DeadlineExceededError,
    InputError,
    MissingInputError,
    ModelNotFoundError,
    NanError,
    RankError,
    ServerUnreachableError,
    ShapeError,
    Tls,
    TlsError,
    UnknownTensorError,
    UnsupportedCallError,
)
from repo_tool.triton.ports import free_ports
from repo_tool.triton.server import EmbeddedServer, ServerOptions
from support.certificates import Authority
from support.http_relay import Relay, server_context
from support.own_triton import own_triton

VARIANTS = ("sync-grpc", "async-grpc", "sync-http", "async-http")
IMAGE = np.ones((2, 2, 3), np.float32)
NAN = np.full((2, 2, 3), np.nan, np.float32)

# The call; the error's class; what its message says; the tensor, what was expected and what was received.
CALLS = {
    "a wrong name": (
        {"imaeg": IMAGE},
        UnknownTensorError,
        "has no input 'imaeg'\nhint: did you mean 'image'?",
        ("imaeg", "'image', 'weight'", "imaeg"),
    ),
    "no value": ({}, MissingInputError, "no value for input 'image'", ("image", "'image', 'weight'", "none")),
    "a wrong shape": (
        {"image": np.ones((2, 3, 2), np.float32)},
        ShapeError,
        "received shape [2, 3, 2], expected [-1, 2, 3]",
        ("image", "[-1, 2, 3]", "[2, 3, 2]"),
    ),
    "a wrong rank": (
        {"image": IMAGE[0]},
        RankError,
        "received rank 2, shape [2, 3], expected [-1, 2, 3]\nhint: the batch dimension is first",
        ("image", "[-1, 2, 3]", "[2, 3]"),
    ),
    "a wrong type": (
        {"image": IMAGE.astype(np.int32)},
        DatatypeError,
        "received a numpy array of int32, expected FP32",
        ("image", "FP32", "a numpy array of int32"),
    ),
    "too large a batch": (
        {"image": np.ones((5, 2, 3), np.float32)},
        BatchSizeError,
        "received 5 rows, expected 1 to 4 rows",
        ("image", "1 to 4 rows", "5 rows"),
    ),
}


@pytest.mark.parametrize(("inputs", "kind", "message", "facts"), CALLS.values(), ids=CALLS.keys())
def test_a_wrong_call_is_refused_with_its_facts(client, inputs, kind, message, facts):
    model = client.model("rows")
    with pytest.raises(kind) as caught:
        model.infer(inputs)
    assert type(caught.value) is kind
    assert isinstance(caught.value, InputError)
    assert message in str(caught.value)
    error = caught.value
    assert (error.model, error.tensor, error.expected, error.received) == ("rows", *facts)


def test_a_wrong_output_is_refused_with_the_nearest_one(client):
    with pytest.raises(UnknownTensorError, match="no output 'totals'\nhint: did you mean 'total'"):
        client.model("rows").infer({"image": IMAGE}, outputs=["totals"])


def test_nan_is_refused_where_that_was_asked_for(client):
    careful, careless = client.model("rows", nan="refuse"), client.model("rows")
    with pytest.raises(NanError) as caught:
        careful.infer({"image": NAN})
    assert (caught.value.model, caught.value.tensor) == ("rows", "image")
    assert np.isnan(careless.infer({"image": NAN})["total"]).all()
    assert not np.isnan(careful.infer({"image": IMAGE})["total"]).any()


def test_a_model_that_is_not_there(client):
    with pytest.raises(ModelNotFoundError, match="'nothing_here'") as caught:
        client.model("nothing_here")
    assert caught.value.model == "nothing_here"
    assert "unknown model" in caught.value.server_words


def test_a_model_that_is_unloaded_meanwhile(client):
    client.admin.load("rows")
    model = client.model("rows")
    client.admin.unload("rows")
    try:
        with pytest.raises(ModelNotFoundError, match="'rows'") as caught:
            model.infer({"image": IMAGE}, request_id="r-7")
    finally:
        client.admin.load("rows")
    error = caught.value
    assert (error.model, error.request_id) == ("rows", "r-7")
    assert error.server_words
    assert model.infer({"image": IMAGE})["total"].shape == (2, 1)


def test_a_slow_server(client):
    with pytest.raises(DeadlineExceededError) as caught:
        client.model("moody").infer({"seconds": 1.0}, timeout_s=0.2, request_id="slow-1")
    assert (caught.value.model, caught.value.request_id) == ("moody", "slow-1")
    assert "timeout_s" in caught.value.hint


def test_a_dead_server(opener, variant):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    client = opener.open(variant, grpc_url=address, http_url=address)
    with pytest.raises(ServerUnreachableError, match=f"no server answers at .*{address}"):
        client.model("rows", timeout_s=5)
    assert not client.is_ready(timeout_s=5)


@pytest.fixture(scope="module")
def mortal_repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("mortal") / "repository"
    shutil.copytree(Path(__file__).parent / "stream_repository" / "counter", path / "counter")
    shutil.copytree(Path(__file__).parent / "repository" / "rows", path / "rows")
    return path


def test_a_server_that_restarts_in_mid_stream(mortal_repository, opener):
    grpc_port, http_port = free_ports(2)
    options = ServerOptions(grpc_port=grpc_port, http_port=http_port, graceful_stop_s=0)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(mortal_repository, options))
        assert not any(outcome.refusal for outcome in server.load_all(["counter", "rows"]))
        clients = {
            variant: opener.open(variant, grpc_url=server.grpc_url, http_url=server.http_url) for variant in VARIANTS
        }
        counters = {variant: client.model("counter") for variant, client in clients.items()}
        rows = {variant: client.model("rows") for variant, client in clients.items()}
        streams = {
            variant: counter.stream({"upto": [1000], "pause_s": [0.05]}) for variant, counter in counters.items()
        }
        for variant in ("sync-http", "async-http"):
            with pytest.raises(UnsupportedCallError, match="grpc://"):
                next(iter(streams.pop(variant)))
        assert [int(next(stream)["number"][0]) for stream in streams.values()] == [0, 0]
        os.kill(server.pid, signal.SIGKILL)
        for stream in streams.values():
            with pytest.raises(ConnectionLostError, match="was lost") as caught:
                list(stream)
            assert caught.value.model == "counter"
        server.stop()
        for model in rows.values():
            with pytest.raises((ServerUnreachableError, DeadlineExceededError)):  # by when the half second is over
                model.infer({"image": IMAGE}, timeout_s=0.5)
        starting = threading.Thread(target=lambda: (server.start(), server.load_all(["counter", "rows"])))
        starting.start()
        for variant, client in clients.items():
            client.admin.wait_until_model_ready("rows", timeout_s=30)
            assert rows[variant].infer({"image": IMAGE})["total"].shape == (2, 1)
        starting.join()
        for variant in streams:
            clients[variant].admin.wait_until_model_ready("counter", timeout_s=30)
            again = counters[variant].stream({"upto": [3]})
            assert [int(answer["number"][0]) for answer in again] == [0, 1, 2]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorities")
    return Authority(folder, "ours"), Authority(folder, "another")


@pytest.fixture(scope="module")
def secure_urls(mortal_repository, authorities):
    """A Triton with TLS over gRPC, and over HTTP, where it has none itself, by a relay in front of it."""
    own = authorities[0].issue("server", subject="DNS:triton.example")
    tls = ("--grpc-use-ssl=true", f"--grpc-server-cert={own.certificate}", f"--grpc-server-key={own.key}")
    with (
        own_triton(mortal_repository, *tls) as (grpc_url, http_url),
        Relay(http_url, tls=server_context(own)) as relay,
    ):
        yield {"grpc_url": grpc_url, "http_url": relay.address, "secure": True}


def test_a_certificate_that_fits_is_trusted(secure_urls, authorities, opener, variant):
    tls = Tls(ca=authorities[0].certificate, server_name="triton.example")
    assert opener.open(variant, tls=tls, **secure_urls).admin.server_metadata().name == "triton"


@pytest.mark.parametrize("wrong", ["name", "authority", "none of the system's"])
def test_a_certificate_that_does_not_fit(secure_urls, authorities, opener, variant, wrong):
    ours, another = (authority.certificate for authority in authorities)
    tls = {
        "name": Tls(ca=ours),
        "authority": Tls(ca=another, server_name="triton.example"),
        "none of the system's": Tls(server_name="triton.example"),
    }[wrong]
    client = opener.open(variant, tls=tls, **secure_urls)
    with pytest.raises(TlsError, match="no trust with") as caught:
        client.model("rows", timeout_s=10)
    assert "certificate" in caught.value.hint
    with pytest.raises(TlsError):
        client.is_ready(timeout_s=10)
