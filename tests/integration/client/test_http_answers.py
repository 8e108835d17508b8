# SPDX-License-Identifier: Apache-2.0
"""Answers that no Triton gives, told as what they are; and the forms of HTTP that proxies put around right ones."""

import json

import pytest

from repo_client import (
    ConnectionLostError,
    RefusedRequestError,
    Retries,
    ServerBusyError,
    ServerError,
    UnexpectedAnswerError,
)
from support.http_relay import CannedServer

ONCE = Retries(attempts=1)
VARIANTS = ("sync-http", "async-http")


@pytest.fixture(params=VARIANTS)
def server_name(request, opener):
    """The server's name, as a client of either side reads it from whatever is answered."""

    def read(answer):
        with CannedServer(lambda _: answer) as server:
            client = opener.open(request.param, grpc_url="", http_url=server.address, retries=ONCE, timeout_s=10.0)
            return client.admin.server_metadata().name

    return read


def http(body, *headers, status="200 OK"):
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


HALVES = b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"  # of a chunked body
RIGHT = json.dumps({"name": "triton", "version": "2.51.0", "extensions": []}).encode()
LENGTH = f"Content-Length: {len(RIGHT)}"


@pytest.mark.parametrize(
    "answer",
    [
        http(RIGHT, LENGTH),
        http(RIGHT),
        http(HALVES % (RIGHT[:5], len(RIGHT) - 5, RIGHT[5:]), "Transfer-Encoding: chunked"),
        http(RIGHT, f"CONTENT-LENGTH:{len(RIGHT)}", "X-Long: " + "x" * 70_000),
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(RIGHT, LENGTH),
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n" + http(RIGHT, LENGTH),
        http(RIGHT, LENGTH) + http(b"[]", "Content-Length: 2"),
        http(RIGHT, LENGTH, "Content-Encoding: identity"),
        http(RIGHT, LENGTH, "Connection: close") + b"more than was promised",
        b"HTTP/1.0 200 OK\r\n\r\n" + RIGHT,
    ],
    ids=["length", "closed", "chunked", "long-head", "continue", "hints", "two", "identity", "surplus", "http-1.0"],
)  # fmt: skip
def test_every_form_of_a_right_answer_is_read(server_name, answer):
    assert server_name(answer) == "triton"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"[[]]", b"{}", b"null", b'"text"', b"7", b"{", b"\xff\xfe", b"[" * 100_000]
)
def test_json_of_another_kind_is_none_of_the_protocol(server_name, body):
    with pytest.raises(UnexpectedAnswerError, match="none of the Open Inference Protocol"):
        server_name(http(body, f"Content-Length: {len(body)}"))


@pytest.mark.parametrize("status", ["301 Moved", "418 Teapot", "500 Oops", "204 No Content"])
def test_a_status_of_somebody_else_is_none_of_the_protocol(server_name, status):
    with pytest.raises(UnexpectedAnswerError, match=status[:3]):
        server_name(http(b"" if status[0] == "2" else b"<html>", "Location: /elsewhere", status=status))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 Unauthorized", RefusedRequestError),
        ("403 Forbidden", RefusedRequestError),
        ("429 Too Many Requests", ServerBusyError),
        ("502 Bad Gateway", ServerError),
        ("503 Service Unavailable", ServerError),
        ("504 Gateway Timeout", ServerError),
    ],
)
def test_a_gateway_that_refuses_is_told_apart(server_name, status, error):
    with pytest.raises(error, match=status[:3]) as caught:
        server_name(http(b"<html>", status=status))
    assert not isinstance(caught.value, UnexpectedAnswerError)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        http(RIGHT, "Content-Length: 5", "Content-Length: 6"),
        http(RIGHT, "Content-Length: -1"),
        http(RIGHT, f"Content-Length: {2**70}"),
        http(RIGHT, f"Content-Length: {2**62}"),
        http(RIGHT, LENGTH, "Content-Encoding: gzip"),
        http(b"zz\r\n", "Transfer-Encoding: chunked"),
        http(b"", "Upgrade: h2c", "Connection: upgrade", status="101 Switching Protocols"),
    ],
    ids=["ssh", "two-lengths", "negative", "overflow", "exbibytes", "not-gzip", "no-chunk", "upgrade"],
)
def test_what_is_not_http_says_so(server_name, answer):
    with pytest.raises(UnexpectedAnswerError):
        server_name(answer)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-", http(RIGHT[:-1], LENGTH), http(b"5\r\nab", "Transfer-Encoding: chunked")],
    ids=["nothing", "half-a-head", "short", "half-a-chunk"],
)
def test_an_answer_that_breaks_off_is_a_lost_connection(server_name, answer):
    with pytest.raises(ConnectionLostError):
        server_name(answer)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_answered_before_the_request_was_read_is_heard(opener, variant):
    """And the connection cut on the rest of it, as a proxy does with a request that it does not let pass."""
    refusal = http(b'{"error":"no token"}', "Content-Length: 20", "Connection: close", status="401 Unauthorized")
    with CannedServer(lambda _: refusal, reads_on=False) as server:
        client = opener.open(variant, grpc_url="", http_url=server.address, retries=ONCE, timeout_s=10.0)
        with pytest.raises(RefusedRequestError, match="no token"):
            client.admin.load("m", config={"backend": "python"}, files={"1/model.bin": bytes(16_000_000)})


MODEL = {"name": "m", "versions": ["1"], "platform": "p", "inputs": [], "outputs": []}


def output(**changes):
    """A document with one right output, but for the changes; ``None`` leaves a member out."""
    members = {"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}, **changes}
    return {"model_name": "m", "outputs": [{key: value for key, value in members.items() if value is not None}]}


BROKEN = [
    ([], None),
    ({}, None),
    ({"model_name": "m", "outputs": 5}, None),
    ({"model_name": "m", "outputs": [5]}, None),
    (output(name=None), None),
    (output(parameters=None), None),
    (output(parameters={"binary_data_size": "4"}), None),
    (output(parameters={"binary_data_size": -4}), None),
    (output(shape=7), None),
    (output(shape=[9]), None),
    (output(shape=["a"]), None),
    (output(shape=[float("inf")]), None),
    (output(datatype="FP31"), None),
    ({"model_name": "m"}, "many"),
    ({"model_name": "m"}, "-3"),
    ({"model_name": "m"}, "99999"),
]


@pytest.mark.parametrize(("document", "header_length"), BROKEN)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_broken_answer_to_an_inference_is_none_of_the_protocol(opener, variant, document, header_length):
    model, body = json.dumps(MODEL).encode(), json.dumps(document).encode()
    described = http(model, f"Content-Length: {len(model)}", "Connection: close")
    broken = http(body, f"Inference-Header-Content-Length: {header_length or len(body)}")
    with CannedServer(lambda request: described if request.startswith(b"GET") else broken) as server:
        opened = opener.open(variant, grpc_url="", http_url=server.address, retries=ONCE).model("m")
        with pytest.raises(UnexpectedAnswerError):
            opened.infer({})
