# SPDX-License-Identifier: Apache-2.0
"""Models that would run side by side, while rows are refused from all sides: nobody else notices."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from repo_client import Client, RepoClientError
from repo_tool.pipelines.compiled import CompiledModel
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import read_pipeline
from repo_tool.repository.layout import ModelRepository
from repo_tool.triton.options import ServerOptions
from repo_tool.triton.server import EmbeddedServer
from repo_tool.workflows.progress import RecordedProgress
from repo_tool.workflows.trace_pipeline import RunRequest, run_pipeline
from support.served_parts import write_compiled

CLIENTS, REQUESTS = 16, 2400
PIPELINES = {
    "step_first": """
inputs: {text: {datatype: BYTES, dims: [1]}}
steps:
  - {use: lower_case, with: {most_bytes: 50}}
  - {model: same}
outputs: [lowered, same]
""",
    "model_first": """
inputs: {text: {datatype: BYTES, dims: [1]}}
steps:
  - {model: same}
  - {use: lower_case, with: {most_bytes: 50}}
outputs: [lowered, same]
""",
    "two_models": """
inputs: {place: {datatype: INT64, dims: [1]}}
merge: false
steps:
  - {model: picked}
  - {model: negative}
outputs: [picked, negative]
""",
}
"""By name. `picked` fails of a place that its table does not have."""


def write_graph(repository, node, datatype, *, name, read, constants=()):
    tensors = [helper.make_tensor_value_info(each, datatype, ["batch", 1]) for each in (read, name)]
    graph = helper.make_graph([node], name, tensors[:1], tensors[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    kind = "TYPE_STRING" if datatype == TensorProto.STRING else "TYPE_INT64"
    folder = repository.model(name).version_path(1)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    repository.model(name).config_path.write_text(
        f'name: "{name}" backend: "onnxruntime" max_batch_size: 8 instance_group [ {{ kind: KIND_CPU }} ]'
        f' input [ {{ name: "{read}" data_type: {kind} dims: [ 1 ] }} ]'
        f' output [ {{ name: "{name}" data_type: {kind} dims: [ 1 ] }} ]'
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = ModelRepository(tmp_path_factory.mktemp("turns") / "models")
    table = numpy_helper.from_array(np.arange(0, 20_000, 2, dtype=np.int64), "table")
    text, number = TensorProto.STRING, TensorProto.INT64
    write_graph(repository, helper.make_node("Identity", ["text"], ["same"]), text, name="same", read="text")
    picked = helper.make_node("Gather", ["table", "place"], ["picked"])
    write_graph(repository, picked, number, name="picked", read="place", constants=[table])
    write_graph(repository, helper.make_node("Neg", ["place"], ["negative"]), number, name="negative", read="place")
    for name, text in PIPELINES.items():
        file = repository.path.parent / f"{name}.yaml"
        file.write_text(f"name: {name}\n{text}")
        compiled = compile_pipeline(read_pipeline(file), repository)
        for each in (*compiled.models, compiled.own):
            write_compiled(repository.path, CompiledModel(config=each.config, files=each.files))
    return repository


@pytest.fixture
def server(repository):
    with EmbeddedServer(repository.path, ServerOptions(graceful_stop_s=0)) as server:
        yield server


def answers_of(client, name):
    """How often what was answered to many clients at once, one row in eight being bad; ends at the first odd answer."""
    model, odd = client.model(name), Event()
    (tensor,) = model.signature.inputs

    def ask(number):
        if odd.is_set():
            return "not asked"
        is_bad = number % 8 == 7
        row, wanted = text_row(number, is_bad=is_bad) if tensor.name == "text" else place_row(number, is_bad=is_bad)
        try:
            answer = model.infer({tensor.name: row}, timeout_s=3)
        except RepoClientError as error:
            if is_bad and ("at most 50 are taken" in str(error) or "out of data bounds" in str(error)):
                return "refused"
            odd.set()
            return str(error)
        return "right" if {name: array[0].tolist() for name, array in answer.items()} == wanted else "wrong"

    with ThreadPoolExecutor(CLIENTS) as threads:
        return Counter(threads.map(ask, range(REQUESTS)))


def text_row(number, *, is_bad):
    text = b"x" * 51 if is_bad else b"AB%d" % number
    return np.array([[text]], dtype=object), {"lowered": [text.lower()], "same": [text]}


def place_row(number, *, is_bad):
    place = 1_000_000 if is_bad else number
    return np.array([[place]]), {"picked": [2 * place], "negative": [-place]}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_refused_row_disturbs_nobody_else(server, name):
    server.load(name)
    with Client(f"grpc://{server.grpc_url}") as client:
        assert answers_of(client, name) == {"right": REQUESTS * 7 // 8, "refused": REQUESTS // 8}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_trace_asks_each_of_them_in_turn(repository, server, name):
    server.load(name)
    sample = repository.path.parent / f"{name}.json"
    sample.write_text(json.dumps([{"place": [3]} if name == "two_models" else {"text": ["Ab"]}]))
    file = str(repository.path.parent / f"{name}.yaml")
    url = f"grpc://{server.grpc_url}"
    request = RunRequest(pipeline=file, repository=repository.path, sample=sample, trace=True, server=url)
    ran = run_pipeline(request, RecordedProgress())
    assert not ran.trace.failed_at
    assert ran.trace.largest_difference == 0
