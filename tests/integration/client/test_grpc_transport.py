# SPDX-License-Identifier: Apache-2.0
"""What the gRPC transport itself promises, on both sides and against a real server."""

import asyncio
import dataclasses
import json
import shutil
import threading
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest

from repo_client import (
    ConnectionOptions,
    InferRequest,
    InputError,
    ModelNotFoundError,
    RefusedRequestError,
    RepoClientError,
)
from repo_client._async.grpc_transport import AsyncGrpcTransport
from repo_client._messages import RegionSlice, WireTensor
from repo_client._options import TransportOptions
from repo_client._sync.grpc_transport import GrpcTransport
from repo_client._urls import parse_url
from support.own_triton import own_triton
from support.relay import relayed

KEY = "triton-grpc-protocol-tests"  # the prefix is Triton's: it looks for its key in metadata named so


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    path = tmp_path_factory.mktemp("transport") / "repository"
    shutil.copytree(Path(__file__).parent / "stream_repository", path)
    return path


@pytest.fixture(scope="module")
def address(repository):
    with own_triton(repository, without=["--grpc-restricted-protocol"]) as (address, _):
        yield address


@pytest.fixture(scope="module")
def locked_address(repository):
    locked = "--grpc-restricted-protocol=inference,shared-memory:tests=open"
    with own_triton(repository, locked, without=["--grpc-restricted-protocol"]) as (address, _):
        yield address


class Blocking:
    """A transport of either side, called as if it blocked."""

    def __init__(self, side, address, options):
        self._runner = asyncio.Runner() if side == "async" else None
        kind = AsyncGrpcTransport if side == "async" else GrpcTransport
        self._transport = kind(parse_url(f"grpc://{address}"), options)

    def __getattr__(self, name):
        method = getattr(self._transport, name)
        return method if self._runner is None else lambda *inputs, **named: self._runner.run(method(*inputs, **named))

    def end(self):
        self.close()
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def connect(request):
    opened = []

    def one(address, **options):
        opened.append(Blocking(request.param, address, TransportOptions(**options)))
        return opened[-1]

    yield one
    for transport in opened:
        transport.end()


@pytest.fixture
def transport(address, connect):
    transport = connect(address)
    transport.load("confidant", config=None, files={}, timeout_s=20)
    return transport


def floats(name, values):
    data = np.array(values, "<f4").tobytes()
    return WireTensor(name=name, datatype="FP32", shape=(len(values),), data=data)


def ask(*inputs, **options):
    return InferRequest(**{"model": "confidant", "version": "", "request_id": "", "inputs": inputs} | options)


def numbers(tensor):
    return np.frombuffer(tensor.data, "<f4").tolist()


def test_the_server_says_what_it_is(transport):
    metadata = transport.server_metadata(timeout_s=20)
    assert metadata["name"] == "triton"
    assert "system_shared_memory" in metadata["extensions"]


def test_inputs_keep_their_order(transport):
    answer = transport.infer(ask(floats("first", [1, 2]), floats("second", [3])), timeout_s=20)
    assert [numbers(output) for output in answer.outputs[:1]] == [[1, 2, 3]]


def test_large_outputs_are_views_of_the_answer(transport):
    answer = transport.infer(ask(floats("first", range(5000))), timeout_s=20)
    assert isinstance(answer.outputs[0].data, memoryview)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 127, 128, 4095, 4096, 2**18])
def test_tensors_of_any_size_come_back(transport, size):
    answer = transport.infer(ask(floats("first", range(size)), floats("second", [-1] * size)), timeout_s=20)
    assert numbers(answer.outputs[0]) == [*map(float, range(size)), *[-1.0] * size]


def test_a_view_of_an_array_is_sent_as_it_lies(transport):
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    tensor = WireTensor(name="first", datatype="FP32", shape=(6,), data=memoryview(array))
    assert numbers(transport.infer(ask(tensor), timeout_s=20).outputs[0]) == [0, 1, 2, 3, 4, 5]


def test_parameters_of_every_type_reach_the_model(transport):
    sent = {"yes": True, "no": False, "few": -3, "many": 2**53, "part": 0.25, "word": "é"}
    answer = transport.infer(ask(floats("first", [1]), parameters=sent, timeout_us=5), timeout_s=20)
    assert json.loads(bytes(answer.outputs[1].data)[4:]) == sent


def test_a_deadline_beyond_all_clocks_is_none(transport):
    for timeout_s in (1e12, 1e300):
        assert transport.is_live(timeout_s=timeout_s)
        assert numbers(transport.infer(ask(floats("first", [7])), timeout_s=timeout_s).outputs[0]) == [7]


def test_headers_go_with_every_call(locked_address, connect):
    silent, knowing = connect(locked_address), connect(locked_address, headers={KEY.title(): "open"})
    with pytest.raises(RepoClientError, match="restricted"):
        silent.regions(timeout_s=20)
    assert knowing.regions(timeout_s=20) == []
    request = ask(floats("first", [1]), model="none")
    for headers, refusal in (({}, "restricted"), ({KEY: "open"}, "unknown model"), ({KEY: "shut"}, "restricted")):
        with pytest.raises(RepoClientError, match=refusal):
            silent.infer(dataclasses.replace(request, headers=headers), timeout_s=20)


@pytest.mark.parametrize("headers", [{"a b": "c"}, {"a": "line\nbreak"}, {"a": "é"}, {"a-bin": "c"}, {"": "c"}])
def test_a_header_that_cannot_be_sent_is_refused(transport, headers):
    with pytest.raises(InputError):
        TransportOptions(headers=headers)
    with pytest.raises(InputError):
        transport.infer(ask(floats("first", [1]), headers=headers), timeout_s=20)


@pytest.mark.parametrize("name", ["TE", "content-type", "connection", "host", "grpc-timeout", "grpc-encoding"])
def test_a_header_of_the_protocols_own_is_refused(address, transport, connect, name):
    with pytest.raises(InputError, match=f"own: {name.lower()}"):
        transport.infer(ask(floats("first", [1]), headers={name: "gzip"}), timeout_s=20)
    with pytest.raises(InputError, match=f"own: {name.lower()}"):
        connect(address, headers={name: "gzip"})
    compressing = connect(address, connection=ConnectionOptions(compression="gzip"))
    with pytest.raises(InputError, match=f"own: {name.lower()}"):
        compressing.infer(ask(floats("first", [1]), headers={name: "gzip"}), timeout_s=20)


def test_headers_that_are_too_large_are_the_callers_fault(transport):
    with pytest.raises(RefusedRequestError, match="metadata size"):
        transport.infer(ask(floats("first", [1]), headers={"x-long": "y" * 70_000}), timeout_s=20)


def test_regions_are_opened_listed_and_closed(transport):
    memory = SharedMemory(create=True, size=4096)
    try:
        transport.register_region("mine", f"/{memory.name}", 4096, timeout_s=20)
        (region,) = transport.regions(timeout_s=20)
        assert (region["name"], region["key"], int(region["byte_size"])) == ("mine", f"/{memory.name}", 4096)
        transport.unregister_region("mine", timeout_s=20)
        transport.unregister_region("mine", timeout_s=20)
        assert transport.regions(timeout_s=20) == []
    finally:
        memory.close()
        memory.unlink()


def test_tensors_may_lie_in_regions(transport):
    memory = SharedMemory(create=True, size=4096)
    try:
        memory.buf[64:72] = np.array([5, 6], "<f4").tobytes()
        transport.register_region("shared", f"/{memory.name}", 4096, timeout_s=20)
        there = RegionSlice(region="shared", offset=64, byte_size=8)
        given = WireTensor(name="first", datatype="FP32", shape=(2,), data=b"", slice=there)
        wanted = RegionSlice(region="shared", offset=1024, byte_size=64)
        request = ask(given, floats("second", [7]), outputs=("parameters", "both"), output_slices={"both": wanted})
        answer = transport.infer(request, timeout_s=20)
        told, both = answer.outputs if answer.outputs[0].name == "parameters" else answer.outputs[::-1]
        assert (told.slice, bytes(told.data)[4:], both.shape) == (None, b"{}", (3,))
        assert (both.slice, len(both.data)) == (wanted, 0)
        assert np.frombuffer(memory.buf[1024:1036], "<f4").tolist() == [5, 6, 7]
    finally:
        memory.close()
        memory.unlink()
        _until(lambda: _is_given_back(transport, "shared"))  # Triton lets go of it a moment after its answer


def _is_given_back(transport, region):
    try:
        transport.unregister_region(region, timeout_s=20)
    except RepoClientError as error:
        if "currently in use" in str(error):
            return False
        raise
    return True


def test_a_model_is_loaded_with_another_configuration(transport):
    config = transport.config("confidant", "", timeout_s=20) | {"parameters": {"greeting": {"string_value": "hello"}}}
    transport.load("confidant", config=json.dumps(config), files={}, timeout_s=20)
    assert transport.config("confidant", "", timeout_s=20)["parameters"]["greeting"] == {"string_value": "hello"}
    transport.unload("confidant", dependents=False, timeout_s=20)
    transport.load("confidant", config=None, files={}, timeout_s=20)
    assert transport.config("confidant", "", timeout_s=20)["parameters"]["greeting"] == {"string_value": "none"}


def test_a_model_is_loaded_from_files_that_are_sent(transport, repository):
    config = {**transport.config("confidant", "", timeout_s=20), "name": "guest"}
    code = (repository / "confidant" / "1" / "model.py").read_bytes()
    transport.load("guest", config=json.dumps(config), files={"1/model.py": code}, timeout_s=20)
    try:
        assert numbers(transport.infer(ask(floats("first", [4]), model="guest"), timeout_s=20).outputs[0]) == [4]
    finally:
        transport.unload("guest", dependents=False, timeout_s=20)
    assert not (repository / "guest").exists()


def test_a_model_is_unloaded(transport):
    transport.unload("confidant", dependents=True, timeout_s=20)
    _until(lambda: _is_gone(transport))


def _is_gone(transport):
    try:
        transport.infer(ask(floats("first", [4])), timeout_s=20)
    except ModelNotFoundError:
        return True
    return False


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_requests_are_compressed_when_asked(address, connect, compression):
    sent = {}
    for chosen in (None, compression):
        with relayed(address) as relay:
            transport = connect(relay.address, connection=ConnectionOptions(compression=chosen))
            transport.load("confidant", config=None, files={}, timeout_s=20)
            answer = transport.infer(ask(floats("first", [0.5] * 50_000)), timeout_s=20)
            assert numbers(answer.outputs[0]) == [0.5] * 50_000
            sent[chosen] = len(relay.sent)
    assert sent[None] > 200_000
    assert sent[compression] < 20_000


def test_an_idle_connection_is_kept_alive(address, connect):
    ping = b"\x00\x00\x08\x06\x00"  # an HTTP/2 frame: 8 bytes long, type 6
    with relayed(address) as relay:
        transport = connect(relay.address, connection=ConnectionOptions(keep_alive_s=0.1))
        assert transport.is_live(timeout_s=20)
        first = relay.sent.count(ping)
        _until(lambda: relay.sent.count(ping) > first)


def test_messages_have_the_limit_that_was_set(address, connect):
    transport = connect(address, connection=ConnectionOptions(max_message_bytes=100_000))
    transport.load("confidant", config=None, files={}, timeout_s=20)
    assert len(numbers(transport.infer(ask(floats("first", [1] * 20_000)), timeout_s=20).outputs[0])) == 20_000
    with pytest.raises(InputError, match=r"the request has 1.* more than the 100000") as caught:
        transport.infer(ask(floats("first", [1] * 30_000)), timeout_s=20)
    assert caught.value.model == "confidant"


def test_an_answer_over_the_limit_says_so(address, connect):
    transport = connect(address, connection=ConnectionOptions(max_message_bytes=100))
    with pytest.raises(InputError, match=r"the answer has .* more than the 100"):
        transport.config("confidant", "", timeout_s=20)


def test_without_a_limit_there_is_none_of_grpcs_own(transport):
    values = np.zeros(2**21, "<f4")  # 8 MiB, where gRPC takes 4 unless told otherwise
    tensor = WireTensor(name="first", datatype="FP32", shape=values.shape, data=memoryview(values))
    assert len(transport.infer(ask(tensor), timeout_s=20).outputs[0].data) == values.nbytes


def test_threads_that_call_first_at_once_share_one_channel(address):
    transport = GrpcTransport(parse_url(f"grpc://{address}"), TransportOptions())
    barrier, channels = threading.Barrier(8), set()

    def call():
        barrier.wait()
        assert transport.is_live(timeout_s=20)
        channels.add(id(transport._channel))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    transport.close()
    assert len(channels) == 1


def test_a_connection_that_was_idle_while_the_server_restarted_is_no_error(repository, connect):
    with own_triton(repository) as (address, _):
        transport = connect(address)
        assert transport.is_live(timeout_s=20)
        port = address.rsplit(":", 1)[1]
    with own_triton(repository, f"--grpc-port={port}", without=["--grpc-port"]):
        _until(lambda: _is_live(transport))


def _is_live(transport):
    try:
        return transport.is_live(timeout_s=20)
    except RepoClientError:
        return False


def _until(condition, *, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.01)  # between two looks of a poll with a deadline
