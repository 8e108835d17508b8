# SPDX-License-Identifier: Apache-2.0
"""perf_analyzer against the embedded Triton: short windows, as what is tested is not the speed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from repo_tool.bench.install import PerfAnalyzer, find_or_install
from repo_tool.bench.plan import BenchPlan
from repo_tool.bench.run import measure
from repo_tool.bench.served import ServerAddress, WireProtocol
from repo_tool.datatypes import DataType
from repo_tool.errors import (
    BatchingError,
    BenchmarkError,
    RepositoryError,
    SampleError,
    ServerUnreachableError,
)
from repo_tool.samples import Sample, write_published_sample
from repo_tool.triton.server import EmbeddedServer, ServerOptions

NOT_READABLE_IN_PYTHON = {DataType.BF16}  # numpy has no such type; tests/unit covers its bytes

ADD_ONE = """
name: "add_one"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
dynamic_batching { }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""

TWICE = """
name: "twice"
platform: "ensemble"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "z" data_type: TYPE_FP32 dims: [ 4 ] } ]
ensemble_scheduling { step [
  { model_name: "add_one" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "m" } },
  { model_name: "add_one" model_version: -1 input_map { key: "x" value: "m" } output_map { key: "y" value: "z" } }
] }
"""

# Writes down every different input it meets, and refuses to answer when asked for more than one row.
WITNESS = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.respond(request) for request in requests]

    def respond(self, request):
        for tensor in request.inputs():
            values = tensor.as_numpy()
            if len(values) > 1:
                return pb_utils.InferenceResponse(error=pb_utils.TritonError("one row only, please"))
            text = values.astype(object)
            row = [value.hex() if isinstance(value, bytes) else float(value) for value in text.ravel()]
            line = json.dumps([tensor.name(), values.dtype.name, row])
            with open({path!r}, "a+") as file:
                file.seek(0)
                if line not in file.read().splitlines():
                    file.write(line + "\\n")
        return pb_utils.InferenceResponse([pb_utils.Tensor("n", np.zeros((1, 1), np.int32))])
"""


def write_onnx(path):
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "g", tensors[:1], tensors[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def witness_config():
    inputs = ", ".join(
        f'{{ name: "{datatype.wire_name.lower()}" data_type: {datatype.config_name} dims: [ -1 ] }}'
        for datatype in set(DataType) - NOT_READABLE_IN_PYTHON
    )
    output = '{ name: "n" data_type: TYPE_INT32 dims: [ 1 ] }'
    return f'name: "witness"\nbackend: "python"\nmax_batch_size: 4\ninput [ {inputs} ]\noutput [ {output} ]\n'


def model_folder(repository, name, config):
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    return folder


@pytest.fixture(scope="module")
def rows():
    return {"x": np.arange(12, dtype=np.float32).reshape(3, 4)}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("bench")
    repository = root / "models"
    write_onnx(model_folder(repository, "add_one", ADD_ONE) / "model.onnx")
    write_published_sample(repository / "add_one/1/sample.npz", Sample(inputs=rows))
    model_folder(repository, "twice", TWICE)
    witness = model_folder(repository, "witness", witness_config())
    (witness / "model.py").write_text(WITNESS.replace("{path!r}", repr(str(root / "seen"))))
    return repository


@pytest.fixture(scope="module")
def server(repository):
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0)) as server:
        for outcome in server.load_all():
            assert outcome.is_ready, outcome
        yield server


@pytest.fixture(scope="module")
def perf_analyzer():
    return find_or_install()


@pytest.fixture
def plan(server):
    def build(model, protocol="grpc", **changes):
        location = server.grpc_url if protocol == "grpc" else server.http_url
        address = ServerAddress(protocol=WireProtocol(protocol), location=location)
        short = {"concurrency": (1,), "window_ms": 100, "stability_percent": 1000.0}
        return BenchPlan(model=model, server=address, **(short | changes))

    return build


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_every_level_is_measured_in_the_order_given(plan, rows, perf_analyzer, protocol):
    started, ended = [], []
    result = measure(
        plan("add_one", protocol, concurrency=(3, 1), batch_size=2),
        lambda _model: rows,
        perf_analyzer=perf_analyzer,
        on_start=started.append,
        on_level=ended.append,
    )
    assert started == [level.concurrency for level in result.levels] == [3, 1]
    assert tuple(ended) == result.levels
    for level in result.levels:
        assert level.throughput_per_s > 0
        assert 0 < level.p50_us <= level.p90_us <= level.p95_us <= level.p99_us
        assert level.average_us > 0
        assert level.work[0].rows >= 2 * level.work[0].executions > 0  # each request brought two
    assert (result.model.version, result.model.backend, result.triton_version) == ("1", "onnxruntime", "2.51.0")


def test_an_ensemble_shows_the_work_of_its_steps(plan, rows, perf_analyzer):
    (level,) = measure(plan("twice"), lambda _model: rows, perf_analyzer=perf_analyzer).levels
    whole, step = level.work
    assert (whole.model, step.model) == ("twice", "add_one")
    assert step.rows == 2 * whole.rows


def test_a_window_may_end_by_a_count_and_a_percentile_may_be_what_settles(plan, rows, perf_analyzer):
    counted = plan("add_one", window_requests=50, settle_on=95)
    (level,) = measure(counted, lambda _model: rows, perf_analyzer=perf_analyzer).levels
    assert level.work[0].rows >= 150  # three windows
    assert level.average_us > 0


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_model_receives_the_very_rows_of_the_sample(plan, repository, perf_analyzer, protocol):
    seen = repository.parent / "seen"
    seen.unlink(missing_ok=True)
    readable = [datatype for datatype in DataType if datatype not in NOT_READABLE_IN_PYTHON]
    rows = {
        datatype.wire_name.lower(): np.array([[0, 1, 1], [1, 0, 0]]).astype(datatype.numpy) for datatype in readable
    }
    rows["bytes"] = np.array([[b"a", b"", b"\xff\x00b"], [b"", "é".encode(), b"c"]], dtype=object)
    measure(plan("witness", protocol), lambda _model: rows, perf_analyzer=perf_analyzer)
    received = defaultdict(list)
    for line in seen.read_text().splitlines():
        name, dtype, row = json.loads(line)
        received[name, dtype].append(row)
    expected = {
        (name, array.dtype.name): sorted(
            [value.hex() if isinstance(value, bytes) else float(value) for value in row] for row in array
        )
        for name, array in rows.items()
    }
    assert {key: sorted(lines) for key, lines in received.items()} == expected


def test_figures_that_never_settle_are_given_and_marked(plan, rows, perf_analyzer):
    unsettled = plan("add_one", stability_percent=1e-9, max_windows=3)
    (level,) = measure(unsettled, lambda _model: rows, perf_analyzer=perf_analyzer).levels
    assert not level.stable
    assert level.throughput_per_s > 0
    assert level.p99_us > 0


def test_a_model_that_fails_is_told_in_its_own_words(plan, perf_analyzer):
    rows = {datatype.wire_name.lower(): np.zeros((2, 1), datatype.numpy) for datatype in DataType}
    rows["bytes"] = np.array([[b"a"], [b"b"]], dtype=object)
    with pytest.raises(BenchmarkError, match="one row only, please"):
        measure(plan("witness", batch_size=2), lambda _model: rows, perf_analyzer=perf_analyzer)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [("out of cheese", 1, "out of cheese"), ("", 1, "it said nothing"), ("fine", 0, "fine")],
    ids=["with words", "without words", "no report"],
)
def test_a_perf_analyzer_that_fails_is_one_clear_message(plan, rows, tmp_path, words, status, said):
    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\necho '{words}'\nexit {status}\n")
    broken.chmod(0o755)
    with pytest.raises(BenchmarkError, match=f"failed at concurrency 1\n.*{said}"):
        measure(plan("add_one"), lambda _model: rows, perf_analyzer=PerfAnalyzer(path=broken, version="0"))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model": "ad_one"}, RepositoryError, "'ad_one'(.|\n)*it serves 'add_one', 'twice', 'witness'"),
        ({"model": "add_one", "version": "7"}, RepositoryError, "'add_one' version 7"),
        ({"model": "add_one", "batch_size": 9}, BatchingError, "max_batch_size is 8"),
    ],
    ids=["model", "version", "batch"],
)
def test_what_the_server_cannot_do_is_said_before_it_is_measured(
    plan, rows, perf_analyzer, protocol, changes, error, said
):
    with pytest.raises(error, match=said):
        measure(plan(protocol=protocol, **changes), lambda _model: rows, perf_analyzer=perf_analyzer)


def test_rows_of_another_width_are_refused(plan, perf_analyzer):
    with pytest.raises(SampleError, match="does not fit 'x'"):
        measure(plan("add_one"), lambda _model: {"x": np.zeros((2, 5), np.float32)}, perf_analyzer=perf_analyzer)


def swapped(url):
    """The same location under the other protocol."""
    return url.replace("grpc", "http") if url.startswith("grpc") else url.replace("http", "grpc")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_address_of_the_other_protocol_is_no_triton(plan, rows, perf_analyzer, protocol):
    right = plan("add_one", protocol)
    wrong = BenchPlan(model="add_one", server=ServerAddress.parse(swapped(str(right.server))))
    with pytest.raises(ServerUnreachableError, match="repo-tool serve"):
        measure(wrong, lambda _model: rows, perf_analyzer=perf_analyzer)


def repo_tool(*arguments, **environment):
    command = [sys.executable, "-m", "repo_tool.cli.main", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "80"} | environment
    )


SHORT = ("--concurrency", "1,2", "--window-ms", "100", "--stability", "1000")


def test_the_command_shows_a_table_and_writes_three_files(server, repository, tmp_path):
    url = f"grpc://{server.grpc_url}"
    answer = repo_tool("bench", "add_one", "--server", url, "-r", repository, "-o", tmp_path, *SHORT)
    assert answer.returncode == 0, answer.stderr
    assert "in flight" in answer.stdout
    assert "best" in answer.stdout
    assert "knee" in answer.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["add_one.csv", "add_one.json", "add_one.png"]


def test_the_command_serves_by_itself_and_speaks_json(repository, tmp_path):
    sample = tmp_path / "rows.npz"
    np.savez(sample, x=np.ones((2, 4), np.float32))
    answer = repo_tool(
        "bench", "twice", "--serve", "--protocol", "http", "-r", repository, "--sample", sample, "--json", "--no-plot",
        "-o", tmp_path / "out", *SHORT,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert (document["model"], document["protocol"]) == ("twice", "http")
    assert [level["concurrency"] for level in document["levels"]] == [1, 2]
    assert [Path(path).name for path in document["files"]] == ["twice.csv", "twice.json"]


def test_the_command_without_a_server_says_how_to_get_one(repository, tmp_path):
    answer = repo_tool("bench", "add_one", "--server", "grpc://127.0.0.1:1", "-r", repository, "-o", tmp_path / "out")
    assert answer.returncode == 2
    assert "no Triton answers at grpc://127.0.0.1:1" in answer.stderr
    assert "--serve" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_without_a_sample_says_how_to_get_one(server, repository, tmp_path):
    url = f"grpc://{server.grpc_url}"
    answer = repo_tool("bench", "witness", "--server", url, "-r", repository, "-o", tmp_path / "out")
    assert answer.returncode == 2
    assert "no sample at" in answer.stderr


def perf_analyzer_of(command):
    """The perf_analyzer that a running command has started."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and command.poll() is None:
        for child in psutil.Process(command.pid).children(recursive=True):
            with suppress(psutil.Error):  # the one that was asked for its version may be gone by now
                if child.name() == "perf_analyzer" and "-m" in child.cmdline():
                    return child
    raise AssertionError(f"no perf_analyzer was started: {command.communicate()}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "kill"])
def test_an_interrupted_command_leaves_no_process_and_no_file(server, repository, tmp_path, number, code):
    arguments = ["bench", "add_one", "--server", f"grpc://{server.grpc_url}", "-r", repository, "-o", tmp_path / "out"]
    command = subprocess.Popen(
        [sys.executable, "-m", "repo_tool.cli.main", *map(str, arguments), "--window-ms", "60000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        child = perf_analyzer_of(command)
        os.kill(command.pid, number)
        _, words = command.communicate(timeout=20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
    assert command.returncode == code, words
    assert b"Traceback" not in words
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert not (tmp_path / "out").exists()
