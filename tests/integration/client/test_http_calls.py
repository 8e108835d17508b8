# SPDX-License-Identifier: Apache-2.0
"""Calls whose form over HTTP is another than over gRPC, against a real server that may open shared memory."""

import asyncio
import inspect
import json
import shutil
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import pytest

from repo_client import RefusedRequestError, RepoClientError, UnsupportedCallError
from repo_client._async.http_transport import AsyncHttpTransport
from repo_client._messages import InferRequest, RegionSlice, WireTensor
from repo_client._options import ConnectionOptions, TransportOptions
from repo_client._sync.http_transport import HttpTransport
from repo_client._urls import parse_url
from repo_tool.triton.server import EmbeddedServer, ServerOptions

ENSEMBLE = """
name: "twice"
platform: "ensemble"
max_batch_size: 4
input [ { name: "image" data_type: TYPE_FP32 dims: [ 2, 3 ] } ]
output [ { name: "total" data_type: TYPE_FP32 dims: [ 1 ] } ]
ensemble_scheduling { step [ {
  model_name: "rows" model_version: -1
  input_map { key: "image" value: "image" }
  output_map { key: "total" value: "total" }
} ] }
"""
PIXELS = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    repository = tmp_path_factory.mktemp("calls") / "repository"
    shutil.copytree(Path(__file__).parent / "repository" / "rows", repository / "rows")
    (repository / "twice" / "1").mkdir(parents=True)
    (repository / "twice" / "config.pbtxt").write_text(ENSEMBLE)
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0, shared_memory=True)) as server:
        yield server


class Waited:
    """An async transport whose calls block."""

    def __init__(self, transport):
        self._transport, self._runner = transport, asyncio.Runner()

    def __getattr__(self, name):
        method = getattr(self._transport, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def end(self):
        self.close()
        self._runner.close()


@pytest.fixture(params=["sync", "async"])
def transport(request, server):
    url, options = parse_url(f"http://{server.http_url}"), TransportOptions()
    if request.param == "sync":
        transport = HttpTransport(url, options)
        yield transport
        transport.close()
        return
    waited = Waited(AsyncHttpTransport(url, options))
    yield waited
    waited.end()


@pytest.fixture
def rows(transport):
    transport.load("rows", config=None, files={}, timeout_s=20)
    return transport


@pytest.fixture
def memory():
    memory = SharedMemory(create=True, size=4096)
    yield memory
    memory.close()
    memory.unlink()


def _request(**changes):
    pixels = WireTensor(name="image", datatype="FP32", shape=(1, 2, 3), data=PIXELS.tobytes())
    return InferRequest(**{"model": "rows", "version": "", "request_id": "", "inputs": (pixels,), **changes})


def test_regions_come_and_go(transport, memory):
    transport.register_region("ours", memory.name, 4096, timeout_s=5)
    region = {"name": "ours", "key": memory.name, "offset": 0, "byte_size": 4096}
    assert transport.regions(timeout_s=5) == [region]
    transport.unregister_region("ours", timeout_s=5)
    transport.unregister_region("ours", timeout_s=5)
    assert transport.regions(timeout_s=5) == []


def test_a_region_that_is_not_there_is_refused(transport):
    with pytest.raises(RepoClientError, match="Unable to open shared memory region"):
        transport.register_region("nothing", "/no-such-memory", 64, timeout_s=5)


def test_a_cuda_region_needs_a_gpu(transport):
    with pytest.raises(RefusedRequestError):
        transport.register_cuda_region("gpu", b"\0" * 64, device=0, byte_size=64, timeout_s=5)
    transport.unregister_cuda_region("gpu", timeout_s=5)


def test_tensors_may_lie_in_a_region(rows, memory):
    rows.register_region("both", memory.name, 4096, timeout_s=5)
    memory.buf[:24] = PIXELS.tobytes()
    pixels = WireTensor(
        name="image",
        datatype="FP32",
        shape=(1, 2, 3),
        data=b"",
        slice=RegionSlice(region="both", offset=0, byte_size=24),
    )
    place = RegionSlice(region="both", offset=64, byte_size=4)
    request = _request(inputs=(pixels,), outputs=("label", "total"), output_slices={"total": place})
    label, total = rows.infer(request, timeout_s=5).outputs
    rows.unregister_region("both", timeout_s=5)
    assert (label.slice, bytes(label.data)) == (None, b"\x04\0\0\0high")
    assert (total.slice, bytes(total.data)) == (place, b"")
    assert np.frombuffer(bytes(memory.buf[64:68]), np.float32) == PIXELS.sum()


def test_a_model_is_loaded_with_another_configuration(rows):
    config = {**rows.config("rows", "", timeout_s=5), "max_batch_size": 7}
    rows.load("rows", config=json.dumps(config), files={}, timeout_s=20)
    assert rows.config("rows", "", timeout_s=5)["max_batch_size"] == 7
    rows.unload("rows", dependents=False, timeout_s=20)  # or Triton sees no change in the files, and keeps it
    rows.load("rows", config=None, files={}, timeout_s=20)
    assert rows.config("rows", "", timeout_s=5)["max_batch_size"] == 4


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_a_model_is_loaded_with_its_files(rows, prefix):
    config = {**rows.config("rows", "", timeout_s=5), "name": "sent"}
    source = (Path(__file__).parent / "repository" / "rows" / "1" / "model.py").read_bytes()
    rows.load("sent", config=json.dumps(config), files={f"{prefix}1/model.py": source}, timeout_s=20)
    total = rows.infer(_request(model="sent", outputs=("total",)), timeout_s=5).outputs[0]
    rows.unload("sent", dependents=False, timeout_s=20)
    assert np.frombuffer(total.data, np.float32) == PIXELS.sum()


def test_a_configuration_that_is_none_is_refused(rows):
    with pytest.raises(RepoClientError) as caught:
        rows.load("rows", config="{", files={}, timeout_s=20)
    assert caught.value.model == "rows"


@pytest.mark.parametrize("dependents", [True, False])
def test_what_only_it_uses_is_unloaded_with_it_where_asked(rows, dependents):
    rows.unload("rows", dependents=False, timeout_s=20)
    rows.load("twice", config=None, files={}, timeout_s=20)  # and "rows" for its sake
    rows.unload("twice", dependents=dependents, timeout_s=20)
    states = {entry["name"]: entry["state"] for entry in rows.repository_index(timeout_s=5) if "state" in entry}
    assert (states["twice"] == "READY", states["rows"] == "READY") == (False, not dependents)


def test_statistics_of_every_model(rows):
    assert "rows" in {model["name"] for model in rows.statistics("", "", timeout_s=5)}


def test_the_server_says_what_it_is(transport):
    assert transport.server_metadata(timeout_s=5)["name"] == "triton"


def test_a_stream_is_told_where_it_works(rows):
    with pytest.raises(UnsupportedCallError, match="grpc://") as caught:
        rows.stream(_request(request_id="seven"), timeout_s=5)
    assert (caught.value.model, caught.value.request_id) == ("rows", "seven")


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_only_inferences_are_compressed(server, compression):
    """Triton takes a compressed body for them alone."""
    options = TransportOptions(connection=ConnectionOptions(compression=compression))
    transport = HttpTransport(parse_url(f"http://{server.http_url}"), options)
    transport.load("rows", config=None, files={}, timeout_s=20)
    assert bytes(transport.infer(_request(outputs=("label",)), timeout_s=5).outputs[0].data) == b"\x04\0\0\0high"
    transport.close()
