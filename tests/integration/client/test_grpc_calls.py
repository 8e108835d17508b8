# SPDX-License-Identifier: Apache-2.0
"""The client's own HTTP/2 under inference calls: against Triton, and against a gRPC server with other habits."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from repo_client import (
    ClosedClientError,
    ConnectionLostError,
    ConnectionOptions,
    DeadlineExceededError,
    ExecutionError,
    InferRequest,
    NetworkError,
    RefusedRequestError,
    ServerBusyError,
    ServerError,
    ServerUnreachableError,
    UnexpectedAnswerError,
)
from repo_client._async.grpc_transport import AsyncGrpcTransport
from repo_client._grpc_call import Call, encode_timeout
from repo_client._http2 import Http2, encode_headers
from repo_client._messages import WireTensor
from repo_client._options import TransportOptions
from repo_client._sync.grpc_transport import GrpcTransport
from repo_client._thread_grpc import UnaryCalls
from repo_client._thread_grpc import _Connection as Connection
from repo_client._urls import parse_url
from repo_tool.triton.ports import free_ports
from support.own_triton import own_triton
from support.relay import relayed


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("calls") / "repository"
    shutil.copytree(Path(__file__).parent / "stream_repository", path)
    return path


@pytest.fixture(scope="module")
def address(repository):
    with own_triton(repository) as (address, _):
        transport = GrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
        transport.load("confidant", config=None, files={}, timeout_s=20)
        transport.close()
        yield address


def ask(values, **options):
    tensor = WireTensor(name="first", datatype="FP32", shape=(len(values),), data=np.array(values, "<f4").tobytes())
    return InferRequest(**{"model": "confidant", "version": "", "request_id": "", "inputs": (tensor,)} | options)


def numbers(answer):
    return np.frombuffer(answer.outputs[0].data, "<f4").tolist()


class Calls:
    """Inference calls of either side, also many at a time."""

    def __init__(self, side, address, **options):
        self._runner = asyncio.Runner() if side == "async" else None
        kind = AsyncGrpcTransport if side == "async" else GrpcTransport
        self.transport = kind(parse_url(f"grpc://{address}"), TransportOptions(**options))

    def infer(self, request, *, timeout_s=20.0):
        return self.run(self.transport.infer(request, timeout_s=timeout_s))

    def many(self, requests, *, at_once):
        """The answers to all requests, in order."""
        if self._runner is not None:
            return self._runner.run(self._gather(requests, at_once))
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(self.infer, requests))

    async def _gather(self, requests, at_once):
        free = asyncio.Semaphore(at_once)

        async def one(request):
            async with free:
                return await self.transport.infer(request, timeout_s=20)

        return await asyncio.gather(*map(one, requests))

    def run(self, value):
        return self._runner.run(value) if self._runner is not None else value

    def close(self):
        self.run(self.transport.close())
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def connect(request):
    opened = []

    def one(address, **options):
        opened.append(Calls(request.param, address, **options))
        return opened[-1]

    yield one
    for calls in opened:
        calls.close()


@contextmanager
def grpc_server(answer, **options):
    """Another implementation's server: ``answer(message, context)`` gives the bytes of each answer."""
    options = [(f"grpc.{name}", value) for name, value in options.items()]
    server = grpc.server(ThreadPoolExecutor(16), options=options)
    handler = grpc.unary_unary_rpc_method_handler(answer)
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@contextmanager
def speaking(greeting, *, answer=b"", for_ever=b""):
    """A server that greets whoever connects, goes on ``for_ever``, and has one answer to each request."""

    def listen(connected):
        heard = b""
        with suppress(OSError):
            while data := connected.recv(65536):
                heard += data
                if b"ModelInfer" in heard:
                    connected.sendall(answer)
                    heard = b""

    def serve():
        with suppress(OSError):
            while True:
                connected = listener.accept()[0]
                sockets.append(connected)
                threading.Thread(target=listen, args=(connected,), daemon=True).start()
                connected.sendall(greeting)
                while for_ever:
                    connected.sendall(for_ever)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        sockets = [listener]
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def echo(message, _):
    asked = service_pb2.ModelInferRequest.FromString(message)
    answer = service_pb2.ModelInferResponse(model_name=asked.model_name, raw_output_contents=asked.raw_input_contents)
    answer.outputs.add(name="out", datatype="FP32", shape=asked.inputs[0].shape)
    return answer.SerializeToString()


def test_many_calls_at_once_get_their_own_answers(address, connect):
    sizes = [1 + number * 37 % 5000 for number in range(200)]
    answers = connect(address).many([ask([size] * size) for size in sizes], at_once=64)
    assert [numbers(answer) for answer in answers] == [[float(size)] * size for size in sizes]


def test_large_messages_at_once_share_the_windows(address, connect):
    values = np.arange(2**17).tolist()
    answers = connect(address).many([ask([number, *values]) for number in range(12)], at_once=6)
    assert [numbers(answer)[0] for answer in answers] == list(range(12))
    assert all(numbers(answer)[1:] == values for answer in answers)


def test_a_server_that_takes_few_calls_at_once_gets_no_more():
    running, most, lock = set(), [], threading.Lock()

    def slowly(message, context):
        with lock:
            running.add(context)
            most.append(len(running))
        time.sleep(0.01)  # the slow model itself
        with lock:
            running.discard(context)
        return echo(message, context)

    with grpc_server(slowly, max_concurrent_streams=3) as address:
        calls = Calls("async", address)  # threads have a connection each
        answers = calls.many([ask([number]) for number in range(50)], at_once=50)
        calls.close()
    assert [numbers(answer) for answer in answers] == [[float(number)] for number in range(50)]
    assert max(most) <= 3


def test_a_server_that_ends_connections_early_loses_no_call(connect):
    with grpc_server(echo, max_connection_age_ms=50, max_connection_age_grace_ms=2000) as address:
        calls = connect(address)
        end, done = time.monotonic() + 0.5, 0
        while time.monotonic() < end:
            answers = calls.many([ask([number]) for number in range(20)], at_once=5)
            assert [numbers(answer) for answer in answers] == [[float(number)] for number in range(20)]
            done += 20
        assert done > 20


@pytest.mark.parametrize("size", [1, 1_000_000])
@pytest.mark.parametrize(
    ("code", "kind", "is_answered"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, RefusedRequestError, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ServerBusyError, False),
        (grpc.StatusCode.UNAVAILABLE, ServerError, False),
        (grpc.StatusCode.INTERNAL, ExecutionError, True),
    ],
)
def test_a_refusal_has_the_servers_own_words(connect, code, kind, is_answered, size):
    def refuse(message, context):
        context.abort(code, "nicht möglich: 100 %\nin two lines")

    with grpc_server(refuse) as address, pytest.raises(kind, match="nicht möglich: 100 %\nin two lines") as caught:
        connect(address).infer(ask([1] * size, request_id="mine"))
    assert (caught.value.model, caught.value.request_id) == ("confidant", "mine")
    assert caught.value.is_answered is is_answered


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_long_traceback_arrives(connect, compression):
    def refuse(message, context):
        context.abort(grpc.StatusCode.INTERNAL, "line\n" * 20_000)

    with grpc_server(refuse, max_metadata_size=2**20, absolute_max_metadata_size=2**20) as address:
        calls = connect(address, connection=ConnectionOptions(compression=compression))
        with pytest.raises(ExecutionError, match=r"(line\n){19999}"):
            calls.infer(ask([1]))


def test_a_message_in_thousands_of_frames_arrives(connect):
    options = {"http2.lookahead_bytes": 2**26, "http2.max_frame_size": 2**14, "http2.bdp_probe": 0}
    with grpc_server(echo, max_receive_message_length=-1, **options) as address:
        calls = connect(address)
        assert numbers(calls.infer(ask([1]))) == [1]
        assert len(numbers(calls.infer(ask([1] * 10_000_000)))) == 10_000_000


def test_a_request_larger_than_the_server_takes_is_refused_in_its_words(connect):
    with (
        grpc_server(echo, max_receive_message_length=1000) as address,
        pytest.raises(RefusedRequestError, match="larger"),
    ):
        connect(address).infer(ask([1] * 100_000))


def test_bytes_that_are_no_answer_are_unexpected(connect):
    with grpc_server(lambda *_: b"\xff\xff\xff") as address, pytest.raises(UnexpectedAnswerError):
        connect(address).infer(ask([1]))


def test_headers_arrive_as_they_were_sent(connect):
    seen = []

    def note(message, context):
        seen.append((dict(context.invocation_metadata()), context.time_remaining()))
        return echo(message, context)

    long = "x" * 300
    with grpc_server(note) as address:
        connect(address).infer(ask([1], headers={"X-Team": "blue", "x-long": long}), timeout_s=30)
    ((headers, remaining),) = seen
    assert (headers["x-team"], headers["x-long"], headers["user-agent"]) == ("blue", long, "repo-client")
    assert 20 < remaining <= 30


def test_a_deadline_ends_the_call_and_takes_it_back_from_the_server(address, repository, connect, request):
    calls, name = connect(address), f"late-{request.node.callspec.id}"
    slow = ask([1], request_id=name, parameters={"dawdle_s": 30.0})
    begun = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        calls.infer(slow, timeout_s=0.3)
    assert time.monotonic() - begun < 10
    _until((repository / "confidant" / "1" / f"{name}.cancelled").exists)
    assert numbers(calls.infer(ask([5]))) == [5]


def test_a_cancelled_call_is_taken_back_and_leaves_the_others_alone(address, repository):
    async def cancel():
        transport = AsyncGrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
        slow = ask([1], request_id="regretted", parameters={"dawdle_s": 30.0})
        regretted = asyncio.ensure_future(transport.infer(slow, timeout_s=20))
        await transport.is_live(timeout_s=20)
        other = asyncio.ensure_future(transport.infer(ask([2]), timeout_s=20))
        await asyncio.to_thread(time.sleep, 0.2)  # let the model begin: what is not begun leaves no sign
        regretted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await regretted
        assert numbers(await other) == [2]
        await transport.close()

    asyncio.run(cancel())
    _until((repository / "confidant" / "1" / "regretted.cancelled").exists)


SETTINGS = b"\0\0\0\4\0\0\0\0\0"
LEAVING = b"\0\0\10\7\0\0\0\0\0" + bytes(8)
PINGS = (b"\0\0\10\6\0\0\0\0\0" + bytes(8)) * 10_000


def test_a_server_that_leaves_before_each_call_has_seen_none(connect):
    with speaking(SETTINGS + LEAVING) as address, pytest.raises(ConnectionLostError, match="going away") as caught:
        connect(address).infer(ask([1]))
    assert (caught.value.is_unprocessed, caught.value.is_answered) == (True, False)


@pytest.mark.parametrize(
    ("code", "kind", "is_unprocessed"), [(2, ServerError, False), (7, ServerBusyError, True), (8, ServerError, False)]
)
def test_a_reset_is_no_failure_of_the_model_and_no_answer(connect, code, kind, is_unprocessed):
    reset = b"\0\0\4\3\0\0\0\0\1\0\0\0" + bytes([code])
    with speaking(SETTINGS, answer=reset + LEAVING) as address, pytest.raises(kind, match=f"code {code}") as caught:
        connect(address).infer(ask([1]), timeout_s=5)
    assert not isinstance(caught.value, ExecutionError)
    assert (caught.value.is_unprocessed, caught.value.is_answered) == (is_unprocessed, False)
    assert caught.value.server_words is None


def test_a_server_that_always_has_something_to_say_does_not_keep_a_call_from_its_deadline():
    with speaking(SETTINGS, for_ever=PINGS) as address:
        host, port = address.split(":")
        connection = Connection(socket.create_connection((host, int(port))))
        assert connection.is_usable()
        with pytest.raises(TimeoutError):
            connection.run(b"", Call([b"request"]), time.monotonic() + 0.2)
        connection.close()


def test_nobody_at_the_address_is_unreachable(connect):
    (port,) = free_ports(1)
    with pytest.raises(ServerUnreachableError, match="refused"):
        connect(f"127.0.0.1:{port}").infer(ask([1]))


def test_another_protocol_at_the_address_is_said(repository, connect):
    with own_triton(repository) as (_, http), pytest.raises(NetworkError, match="8000"):
        connect(http).infer(ask([1]))


def test_a_connection_cut_in_mid_call_is_lost(address, connect):
    with relayed(address) as relay:
        calls = connect(relay.address)
        assert numbers(calls.infer(ask([1]))) == [1]
        threading.Timer(0.3, relay.close).start()
        with pytest.raises(ConnectionLostError):
            calls.infer(ask([1], parameters={"dawdle_s": 5.0}))


def test_a_connection_closed_while_idle_is_no_error(repository, connect):
    with own_triton(repository) as (address, _):
        calls = connect(address)
        calls.run(calls.transport.load("confidant", config=None, files={}, timeout_s=20))
        assert numbers(calls.infer(ask([1]))) == [1]
        port = address.rsplit(":", 1)[1]
    with own_triton(repository, f"--grpc-port={port}", without=["--grpc-port"]):
        other = GrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
        other.load("confidant", config=None, files={}, timeout_s=20)
        other.close()
        assert numbers(calls.infer(ask([2]))) == [2]


def test_a_client_closed_in_mid_call_says_so(address, connect):
    calls = Calls("sync", address)
    threading.Timer(0.3, calls.transport.close).start()
    with pytest.raises(ClosedClientError):
        calls.infer(ask([1], parameters={"dawdle_s": 5.0}))


def test_an_async_client_closed_in_mid_call_says_so(address):
    async def close_below_it():
        transport = AsyncGrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
        call = asyncio.ensure_future(transport.infer(ask([1], parameters={"dawdle_s": 5.0}), timeout_s=20))
        await asyncio.to_thread(time.sleep, 0.2)  # let the call begin
        await transport.close()
        with pytest.raises(ClosedClientError):
            await call
        with pytest.raises(ClosedClientError):
            await transport.infer(ask([1]), timeout_s=20)

    asyncio.run(close_below_it())


def test_a_call_on_a_connection_that_the_server_is_leaving_ends_with_the_client():
    begun, go_on = threading.Event(), threading.Event()

    def slowly(message, context):
        begun.set()
        go_on.wait(20)
        return echo(message, context)

    async def close_below_it(address):
        transport = AsyncGrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
        call = asyncio.ensure_future(transport.infer(ask([1]), timeout_s=20))
        await asyncio.to_thread(begun.wait, 20)
        await asyncio.to_thread(_until, lambda: transport._direct._connection._http2.is_leaving)
        go_on.set()
        assert numbers(await transport.infer(ask([2]), timeout_s=20)) == [2]
        assert numbers(await call) == [1]
        go_on.clear()
        call = asyncio.ensure_future(transport.infer(ask([1]), timeout_s=20))
        await asyncio.to_thread(_until, lambda: transport._direct._connection._http2.is_leaving)
        await transport.close()
        with pytest.raises(ClosedClientError):
            await call

    with grpc_server(slowly, max_connection_age_ms=100, max_connection_age_grace_ms=20_000) as address:
        asyncio.run(close_below_it(address))
        go_on.set()


def test_no_more_connections_are_kept_than_asked_for(address):
    options = TransportOptions(connection=ConnectionOptions(connections=2))
    transport = GrpcTransport(parse_url(f"grpc://{address}"), options)
    barrier = threading.Barrier(6)

    def call(number):
        barrier.wait()
        return numbers(transport.infer(ask([number], parameters={"dawdle_s": 0.05}), timeout_s=20))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(call, range(6))) == [[float(number)] for number in range(6)]
    assert len(transport._direct._idle) == 2
    assert len(transport._direct._all) == 2
    transport.close()


def test_one_transport_serves_one_event_loop_after_the_other(address):
    transport = AsyncGrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
    for number in (1.0, 2.0):
        assert numbers(asyncio.run(transport.infer(ask([number]), timeout_s=20))) == [number]
        assert asyncio.run(transport.is_live(timeout_s=20))
    assert len(transport._direct._all) == 1
    asyncio.run(transport.close())


def test_a_call_that_is_late_before_it_begins_leaves_nothing_behind(address):
    async def expire():
        transport = AsyncGrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
        await transport.infer(ask([1]), timeout_s=20)
        for _ in range(3):
            with pytest.raises(DeadlineExceededError):
                await transport.infer(ask([1]), timeout_s=1e-9)
        assert transport._direct._connection._waiting == {}
        await transport.close()

    asyncio.run(expire())


def test_a_connection_that_nobody_waits_for_any_more_is_given_up():
    async def expire(address):
        transport = AsyncGrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
        calls = [asyncio.ensure_future(transport.infer(ask([1]), timeout_s=timeout_s)) for timeout_s in (0.1, 0.3)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        connecting = transport._direct._connecting
        assert not connecting.done()
        await asyncio.wait(calls)
        await asyncio.wait((connecting,))
        assert connecting.cancelled()
        assert [type(call.exception()) for call in calls] == [DeadlineExceededError] * 2
        await transport.close()

    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as queue:
        for _ in range(3):  # the queue of a listener that is full takes nobody
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        asyncio.run(expire(f"127.0.0.1:{listener.getsockname()[1]}"))


def test_what_is_connected_while_the_client_is_closed_is_not_kept(address):
    host, port = address.split(":")
    calls = UnaryCalls(host, int(port), kept=4)
    calls.close()
    with pytest.raises(EOFError):
        calls.run(b"", Call([b"request"]), deadline=time.monotonic() + 20)
    assert (len(calls._all), len(calls._idle)) == (0, 0)


FORKING = """
import os, sys
import numpy as np
from repo_client import Client
client = Client(sys.argv[1], shared_memory="off")
model = client.model("confidant")
ask = lambda number: model.infer({"first": np.full(3, number, "f4")})["both"].tolist() == [number] * 3
assert ask(1)
child = os.fork()
if child == 0:
    os._exit(0 if all(ask(number) for number in range(50)) else 1)
leaver = os.fork()
if leaver == 0:
    client.close()
    os._exit(0)
os.waitpid(leaver, 0)
assert client._transport._direct._idle[-1].is_usable()  # which the one that left has not taken along
assert all(ask(number) for number in range(50, 100))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_calls_on_connections_of_its_own(address):
    command = [sys.executable, "-c", FORKING, f"grpc://{address}"]
    subprocess.run(command, check=True, timeout=60, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_bytes_may_arrive_in_any_pieces(address):
    with relayed(address) as relay:
        calls = Calls("sync", relay.address)
        assert numbers(calls.infer(ask([1, 2, 3]))) == [1, 2, 3]
        received = bytes(relay.received)
        calls.close()
    whole = _replay([received])
    assert len(whole) > 12
    for cut in range(1, len(received)):
        assert _replay([received[:cut], received[cut:]]) == whole
    assert _replay([received[place : place + 1] for place in range(len(received))]) == whole


def _replay(pieces):
    http2, call = Http2(), Call([b"request"])
    http2.start(encode_headers({":method": "POST"}) + encode_timeout(1.0), call)
    for piece in pieces:
        http2.receive(piece)
    return bytes(call.answer())


def _until(condition, *, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)  # between two looks of a poll with a deadline
