# SPDX-License-Identifier: Apache-2.0
"""Spans of calls, exported in this process and by a real Triton that joins them."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from repo_client import AsyncClient, Client, DeadlineExceededError, ExecutionError, UnknownTensorError
from repo_client.testing import InMemoryTransport, model_signature
from support.own_triton import own_triton

FIRST = np.ones(3, np.float32)
TRACER = trace.get_tracer("test")


@pytest.fixture(scope="module")
def exporter():
    """OpenTelemetry takes one provider for the life of a process, this one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter):
    exporter.clear()
    return exporter.get_finished_spans


class Collector(BaseHTTPRequestHandler):
    """Takes what Triton exports."""

    bodies: list[bytes] = []  # noqa: RUF012  # of the one collector of this module

    def do_POST(self):
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def tracing_server(tmp_path_factory, collector):
    """A Triton that traces every request, and whose models see the header as a parameter."""
    repository = tmp_path_factory.mktemp("tracing") / "repository"
    shutil.copytree(Path(__file__).parent / "stream_repository", repository)
    shutil.copytree(Path(__file__).parent / "repository" / "moody", repository / "moody")
    settings = ("mode=opentelemetry", "rate=1", "level=TIMESTAMPS")
    settings += (f"opentelemetry,url={collector}", "opentelemetry,bsp_schedule_delay=50")
    options = [f"--trace-config={setting}" for setting in settings]
    options += [f"--{service}-header-forward-pattern=traceparent" for service in ("grpc", "http")]
    with own_triton(repository, *options) as (grpc_url, http_url):
        with Client(f"grpc://{grpc_url}") as client:
            for name in ("confidant", "counter", "moody"):
                client.admin.load(name)
        yield {"grpc_url": grpc_url, "http_url": http_url}


@pytest.fixture
def client(exporter, tracing_server, opener, variant):
    return opener.open(variant, tracing=True, **tracing_server)


def heard(answer):
    """The ``traceparent`` that the server was sent."""
    return json.loads(answer["parameters"][0])["traceparent"]


def test_a_call_is_a_span_that_the_server_hears_of(client, spans, tracing_server, variant):
    answer = client.model("confidant").infer({"first": FIRST}, request_id="r-1")
    (span,) = spans()
    assert span.kind is SpanKind.CLIENT
    service = tracing_server[f"{variant.split('-')[1]}_url"]
    shared = {
        "server.address": "127.0.0.1",
        "server.port": int(service.rsplit(":", 1)[1]),
        "triton.model.name": "confidant",
        "triton.model.version": "1",
        "triton.request.id": "r-1",
        "triton.request.tensor_bytes": 12,
        "triton.response.tensor_bytes": 12 + 4 + len(answer["parameters"][0]),
        "triton.response.count": 1,
    }
    method = "inference.GRPCInferenceService/ModelInfer"
    path = "/v2/models/{model}/infer"
    name, own = {
        "grpc": (method, {"rpc.system.name": "grpc", "rpc.method": method}),
        "http": (f"POST {path}", {"http.request.method": "POST", "url.template": path}),
    }[variant.split("-")[1]]
    assert (span.name, dict(span.attributes)) == (name, shared | own)
    assert span.status.status_code is StatusCode.UNSET
    context = span.get_span_context()
    assert heard(answer).startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_call_within_a_span_is_a_part_of_it(exporter, spans, tracing_server, protocol):
    url = f"{protocol}://{tracing_server[f'{protocol}_url']}"

    async def ask():
        async with AsyncClient(url, tracing=True) as client:
            await (await client.model("confidant")).infer({"first": FIRST})

    with TRACER.start_as_current_span("whole") as whole:
        with Client(url, tracing=True) as client:
            client.model("confidant").infer({"first": FIRST})
        asyncio.run(ask())
        assert trace.get_current_span() is whole
    calls = [span for span in spans() if span.kind is SpanKind.CLIENT]
    assert [span.parent.span_id for span in calls] == [whole.get_span_context().span_id] * 2


def test_the_span_of_a_call_stands_for_that_of_its_headers(exporter):
    transport = InMemoryTransport(model_signature("m", inputs={"x": ("FP32", [3])}, outputs={"y": ("FP32", [3])}))
    with Client("grpc://nowhere", transport=transport, tracing=True) as client:
        client.model("m").infer({"x": FIRST}, headers={"x-user": "me", "Traceparent": "another"})
    assert list(transport.calls[-1].request.headers) == ["x-user", "traceparent"]


def test_headers_of_the_call_stay(client, spans):
    traceparent = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    answer = client.model("confidant").infer({"first": FIRST}, headers={"x-user": "me", "traceparent": traceparent})
    assert heard(answer).split("-")[1] == f"{spans()[0].get_span_context().trace_id:032x}"


@pytest.mark.parametrize(
    ("seconds", "options", "kind", "words"),
    [(-1.0, {}, ExecutionError, "time runs forward"), (1.0, {"timeout_s": 0.1}, DeadlineExceededError, "")],
)
def test_a_call_that_fails_is_a_span_with_its_error(client, spans, seconds, options, kind, words):
    with pytest.raises(kind):
        client.model("moody").infer({"seconds": seconds}, **options)
    (span,) = spans()
    assert span.attributes["error.type"] == kind.__name__
    assert span.status.status_code is StatusCode.ERROR
    assert words in span.status.description
    assert [event.name for event in span.events] == ["exception"]


def test_a_call_that_was_not_made_is_no_span(client, spans):
    with pytest.raises(UnknownTensorError):
        client.model("confidant").infer({"frist": FIRST})
    assert spans() == ()


@pytest.mark.parametrize("variant", ["sync-grpc", "async-grpc"], indirect=True)
@pytest.mark.parametrize(("upto", "taken"), [(3, 3), (1000, 2)])
def test_a_stream_is_one_span_of_all_its_answers(client, spans, upto, taken):
    stream = client.model("counter").stream({"upto": [upto]})
    for _ in range(taken):
        next(stream)
        assert trace.get_current_span().get_span_context().span_id == 0
    stream.close() if upto > taken else list(stream)
    (span,) = spans()
    assert span.name == "inference.GRPCInferenceService/ModelStreamInfer"
    assert (span.attributes["triton.response.count"], span.attributes["triton.response.tensor_bytes"]) == (
        taken,
        4 * taken,
    )
    assert span.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("variant", ["sync-grpc", "async-grpc"], indirect=True)
def test_a_stream_that_fails_is_a_span_with_its_error(client, spans):
    with pytest.raises(ExecutionError):
        list(client.model("counter").stream({"upto": [-2]}))
    (span,) = spans()
    assert (span.attributes["error.type"], span.attributes["triton.response.count"]) == ("ExecutionError", 2)


def test_triton_joins_the_trace(client, spans):
    client.model("confidant").infer({"first": FIRST})
    context = spans()[0].get_span_context()
    wanted = (context.trace_id.to_bytes(16, "big"), f"{context.trace_id:032x}".encode())
    deadline = time.monotonic() + 20
    while not any(word in body.lower() for word in wanted for body in list(Collector.bodies)):
        assert time.monotonic() < deadline, "Triton exported nothing of this trace"
        time.sleep(0.05)


@pytest.mark.parametrize("side", ["Client", "AsyncClient"])
def test_without_opentelemetry_the_error_says_what_to_install(side):
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        f"from repo_client import {side}, InputError\n"
        f"{side}('grpc://nowhere')\n"
        f"try: {side}('grpc://nowhere', tracing=True)\n"
        "except InputError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "opentelemetry-api" in run.stdout
    assert "triton-repo-client[tracing]" in run.stdout
