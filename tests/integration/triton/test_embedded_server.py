# SPDX-License-Identifier: Apache-2.0
"""The life of an embedded Triton: it starts, names what it refuses, and ends without a trace, however it ends."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from tritonclient import grpc

from repo_tool.errors import (
    EnvironmentUnfitError,
    LoadRefusedError,
    LoadTimeoutError,
    ModelNameError,
    PortInUseError,
    RepositoryError,
    ServerStartError,
    UserMistakeError,
)
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.triton.installation import refuse_unfit_numpy
from repo_tool.triton.stub_processes import stubs_of
from support.arrays import assert_same
from support.command import repo_tool
from support.inference import infer
from support.onnx_cases import LINEAR, ROWS, WEIGHTS, Y2, Case, X, config, linear

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the Python backend keeps its regions
AT_ONCE = ServerOptions(graceful_stop_s=0)
GOOD = Case("good", linear(), LINEAR)
WRONG_DIMS = Case("wrong_dims", linear(), config([("x", "FP32", [5])], [Y2]))
UNPARSABLE = Case("unparsable", linear(), "max_batch_size: many")
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 4
input { name: "rows" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "scores" data_type: TYPE_FP32 dims: [ 2 ] }
ensemble_scheduling { step {
  model_name: "good" model_version: -1
  input_map { key: "x" value: "rows" }
  output_map { key: "y" value: "scores" }
} }
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


def write(repository, *cases):
    for case in cases:
        case.write(repository)


def shared_memory_of(process):
    """The regions of the servers that the process started."""
    return sorted(SHARED_MEMORY.glob(f"repo-tool-{process}-*"))


@pytest.fixture
def new_regions():
    """The regions of servers that this process started since the test began; others may serve other tests still."""
    before = set(shared_memory_of(os.getpid()))
    return lambda: set(shared_memory_of(os.getpid())) - before


def tree_of(server):
    """The server's keeper, itself and its stubs."""
    keeper = psutil.Process(server.pid).parent()
    return [keeper.pid, *(child.pid for child in keeper.children(recursive=True))]


def runtime_folders(pids):
    """The private folders that any of the processes works in."""
    return {Path(psutil.Process(pid).cwd()).parent for pid in pids}


def wait_until(condition, *, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)  # between two looks of a poll with a deadline
    return False


def all_gone(pids):
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def ask(server, model, feeds):
    with grpc.InferenceServerClient(server.grpc_url) as client:
        return infer(client, model, feeds)


def test_a_first_request_waits_for_no_import(repository):
    """Triton's stub imports asyncio when it answers for the first time."""
    GOOD.write(repository)
    with EmbeddedServer(repository, AT_ONCE) as server:
        server.load("good")
        (stub,) = stubs_of(server.pid)
        assert "/_asyncio." in Path("/proc", str(stub.pid), "maps").read_text()


def test_a_bad_model_is_named_with_its_reason_and_the_others_serve(repository):
    write(repository, GOOD, WRONG_DIMS, UNPARSABLE, Case("chain", None, ENSEMBLE))
    (repository / "not a name").mkdir()
    (repository / "empty").mkdir()
    (repository / "README.md").write_text("files are no models")
    with EmbeddedServer(repository, AT_ONCE) as server:
        outcomes = {outcome.model: outcome for outcome in server.load_all()}
        assert {name for name, outcome in outcomes.items() if outcome.is_ready} == {"good", "chain"}
        assert outcomes["good"].versions == ("1",)
        assert outcomes["wrong_dims"].reason.startswith(
            "model 'wrong_dims', tensor 'x': the model expects 2 dimensions"
        )
        assert outcomes["wrong_dims"].reason.endswith("making complete shape [-1,5])")
        assert outcomes["unparsable"].reason.startswith("the model configuration does not parse: 2:17")
        assert isinstance(outcomes["not a name"].refusal, ModelNameError)
        assert "empty" in outcomes["empty"].reason
        assert_same(ask(server, "chain", {"rows": ROWS}), {"scores": ROWS @ WEIGHTS})


def test_a_model_that_appears_after_the_start_can_be_loaded(repository):
    server = EmbeddedServer(repository, AT_ONCE)
    starter = threading.Thread(target=server.start)
    starter.start()
    write(repository, GOOD)
    starter.join()
    try:
        server.load("good")
        assert server.ready_versions("good") == ("1",)
        server.unload("good")
        assert server.ready_versions("good") == ()
        server.load("good")
        assert_same(ask(server, "good", {"x": ROWS}), {"y": ROWS @ WEIGHTS})
    finally:
        server.stop()


def test_a_model_that_was_refused_loads_once_it_is_mended(repository):
    write(repository, WRONG_DIMS)
    with EmbeddedServer(repository, AT_ONCE) as server:
        with pytest.raises(LoadRefusedError):
            server.load("wrong_dims")
        configuration = repository / "wrong_dims" / "config.pbtxt"
        configuration.write_text(configuration.read_text().replace("dims: [ 5 ]", "dims: [ 4 ]"))
        server.load("wrong_dims")


def test_a_model_that_is_not_there_is_said_not_to_be_there(repository):
    with EmbeddedServer(repository, AT_ONCE) as server, pytest.raises(LoadRefusedError) as refusal:
        server.load("absent")
    assert "not found" in refusal.value.cause


@pytest.mark.parametrize("name", ["$(touch pwned)", "a;b", "a b", "../good", "-rf", "", "good\n"])
def test_a_name_that_a_shell_would_read_never_reaches_triton(repository, name):
    with pytest.raises(ModelNameError):
        EmbeddedServer(repository).load(name)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("instance_group { count: 1", 'instance_group [ { name: "$(touch {proof})" count: 1'),
        (
            "max_batch_size",
            'parameters < value: < string_value: "/tmp/`touch {proof}`" > key: "EXECUTION_ENV_PATH" > max_batch_size',
        ),
        (
            "max_batch_size",
            "parameters { key: 'EXECUTION\\x5fENV_PATH' value { string_value: '/tmp/;touch {proof}' } } max_batch_size",
        ),
    ],
    ids=["instance name", "execution environment", "escaped"],
)
def test_a_configuration_cannot_run_a_command(repository, tmp_path, before, after):
    proof = tmp_path / "proof"
    write(repository, GOOD)
    path = repository / "good" / "config.pbtxt"
    text = path.read_text().replace(before, after.replace("{proof}", str(proof)), 1)
    path.write_text(text.replace("KIND_CPU }", "KIND_CPU } ]") if "[ {" in after else text)
    with EmbeddedServer(repository, AT_ONCE) as server, pytest.raises(LoadRefusedError, match="shell command"):
        server.load("good")
    assert not proof.exists()


def test_an_ensemble_cannot_bring_along_what_could_not_be_loaded_by_itself(repository):
    write(repository, GOOD, Case("chain", None, ENSEMBLE))
    path = repository / "good" / "config.pbtxt"
    path.write_text(path.read_text().replace("count: 1", 'name: "`true`" count: 1'))
    with EmbeddedServer(repository, AT_ONCE) as server, pytest.raises(LoadRefusedError, match="'good' was not loaded"):
        server.load("chain")


def test_web_pages_cannot_load_models_into_the_command_s_server(repository):
    write(repository, GOOD)
    options = ServerOptions(graceful_stop_s=0, open_model_control=False)
    with EmbeddedServer(repository, options) as server:
        connection = http.client.HTTPConnection(server.http_url)
        connection.request("POST", "/v2/repository/models/good/load", headers={"Content-Type": "text/plain"})
        assert connection.getresponse().status == 403
        assert server.ready_versions("good") == ()
        server.load("good")


def test_a_repository_whose_path_a_shell_would_misread_is_served(tmp_path):
    repository = tmp_path / "my models; $(false) & co"
    repository.mkdir()
    write(repository, GOOD)
    with EmbeddedServer(repository, AT_ONCE) as server:
        server.load("good")
        assert_same(ask(server, "good", {"x": ROWS}), {"y": ROWS @ WEIGHTS})


def test_modules_in_the_working_directory_do_not_replace_the_backends(repository, tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text("raise SystemExit")
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    write(repository, GOOD)
    with EmbeddedServer(repository, AT_ONCE) as server:
        server.load("good")


def test_no_credential_reaches_the_models(repository, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("TF_API_TOKEN", "s3cr3t")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with EmbeddedServer(repository, AT_ONCE) as server:
        triton = psutil.Process(server.pid)
        environment = triton.environ()
    assert "s3cr3t" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "1"


def test_only_this_machine_can_reach_it(repository):
    with EmbeddedServer(repository, AT_ONCE) as server:
        triton = psutil.Process(server.pid)
        listening = {connection.laddr.ip for connection in triton.net_connections() if connection.status == "LISTEN"}
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize("options", [AT_ONCE, ServerOptions()], ids=["at once", "in order"])
def test_stopping_leaves_nothing_behind(repository, options, new_regions):
    write(repository, GOOD)
    server = EmbeddedServer(repository, options)
    server.start()
    server.load("good")
    processes = tree_of(server)
    folders = runtime_folders(processes)
    assert len(processes) >= 3
    assert any(list(folder.glob("env/python_e_*")) for folder in folders)  # not in /tmp
    assert new_regions()
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 5
    server.stop()
    assert all_gone(processes)
    assert not new_regions()
    assert not any(folder.exists() for folder in folders)


def test_a_port_in_use_is_named_with_its_owner(repository):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError) as error:
            EmbeddedServer(repository, ServerOptions(grpc_port=port)).start()
    assert str(port) in error.value.fact
    assert str(os.getpid()) in error.value.cause
    assert "--grpc-port" in error.value.next_step


def test_two_services_cannot_share_a_port(repository):
    with pytest.raises(UserMistakeError, match="HTTP and gRPC were both given port 8000"):
        EmbeddedServer(repository, ServerOptions(http_port=8000, grpc_port=8000)).start()


def test_a_model_directory_is_no_repository(repository):
    write(repository, GOOD)
    with pytest.raises(RepositoryError, match="is a model directory, no model repository") as error:
        EmbeddedServer(repository / "good").start()
    assert error.value.next_step.endswith(str(repository))


HANGING = """
import time
class TritonPythonModel:
    def initialize(self, arguments):
        time.sleep(1000)  # hangs, as a model that waits for a machine that is not there
"""


def test_models_that_hang_are_named_and_the_others_serve(repository):
    write(repository, GOOD, Case("chain", None, ENSEMBLE.replace('"good"', '"a_stuck"')))
    for name in ("a_stuck", "b_stuck", "c_stuck", "d_stuck"):
        write(repository, Case(name, None, config([X], [Y2]).replace("onnxruntime", "python")))
        (repository / name / "1").mkdir(exist_ok=True)
        (repository / name / "1" / "model.py").write_text(HANGING)
    told = {}  # the last word on each model: a busy machine may need more than the patience for the good one
    with EmbeddedServer(repository, AT_ONCE) as server:
        server.load_all(on_outcome=lambda outcome: told.update({outcome.model: outcome}), patience_s=5)
        wait_until(lambda: told["good"].state == "READY", timeout_s=60)
        assert {name: outcome.state for name, outcome in told.items()} == {
            "a_stuck": "LOADING",
            "b_stuck": "LOADING",
            "c_stuck": "LOADING",
            "d_stuck": "LOADING",
            "chain": "UNAVAILABLE",
            "good": "READY",
        }
        assert "a_stuck is still loading" in told["chain"].reason
        assert_same(ask(server, "good", {"x": ROWS}), {"y": ROWS @ WEIGHTS})


def test_a_load_that_does_not_end_is_refused_in_time(repository):
    write(repository, GOOD, Case("stuck", None, config([X], [Y2]).replace("onnxruntime", "python")))
    (repository / "stuck" / "1").mkdir(exist_ok=True)
    (repository / "stuck" / "1" / "model.py").write_text(HANGING)
    with EmbeddedServer(repository, ServerOptions(graceful_stop_s=0, load_timeout_s=3)) as server:
        with pytest.raises(LoadTimeoutError):
            server.load("stuck")
        server.load("good")


@pytest.mark.parametrize(
    ("models", "code", "words"), [([], 2, "holds no model"), ([WRONG_DIMS], 1, "no model is ready")]
)
def test_nothing_to_serve_is_said(repository, models, code, words):
    write(repository, *models)
    done = repo_tool("serve", repository, "--http-port", 0, "--grpc-port", 0, "--metrics-port", 0)
    assert done.returncode == code
    assert words in done.stdout + done.stderr


def test_a_label_follows_only_where_the_repository_is_watched(repository):
    write(repository, GOOD)
    done = repo_tool("serve", repository, "--promote", "stable")
    assert done.returncode == 2
    assert "add --watch" in done.stderr


def test_a_folder_that_is_not_there_is_no_repository(tmp_path):
    with pytest.raises(RepositoryError):
        EmbeddedServer(tmp_path / "absent").start()


def test_a_server_that_dies_is_reported_and_leaves_nothing(repository, new_regions):
    write(repository, GOOD)
    with EmbeddedServer(repository, AT_ONCE) as server:
        server.load("good")
        processes = tree_of(server)
        psutil.Process(server.pid).kill()
        assert wait_until(lambda: not server.is_running())
        with pytest.raises(ServerStartError):
            server.load("good")
        assert all_gone(processes)
        assert not new_regions()


def test_a_killed_keeper_takes_the_server_with_it(repository, new_regions):
    write(repository, GOOD)
    with EmbeddedServer(repository, AT_ONCE) as server:
        server.load("good")
        processes = tree_of(server)
        psutil.Process(processes[0]).kill()
    assert wait_until(lambda: all_gone(processes))
    assert wait_until(lambda: not new_regions())


def test_numpy_2_is_refused_before_it_empties_every_answer():
    refuse_unfit_numpy("1.26.4")
    with pytest.raises(EnvironmentUnfitError) as error:
        refuse_unfit_numpy("2.1.0")
    assert "numpy<2" in error.value.next_step


@pytest.fixture
def serving(repository):
    """The real command in a process of its own, once it has told its URLs."""
    write(repository, GOOD, WRONG_DIMS)
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "repo_tool.cli.main", "serve", str(repository), "--json", *ports]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    told = json.loads(process.stdout.readline())
    tree = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    yield process, told, tree
    if process.poll() is None:
        process.kill()
    process.communicate()


def assert_no_trace(process, tree, folders):
    assert wait_until(lambda: all_gone(tree))
    assert wait_until(lambda: not shared_memory_of(process.pid))
    assert wait_until(lambda: not any(folder.exists() for folder in folders))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_the_command_serves_until_interrupted_and_leaves_nothing_behind(serving, number, code):
    process, told, tree = serving
    folders = runtime_folders(tree)
    models = {model["model"]: model for model in told["models"]}
    assert models["good"]["state"] == "READY"
    assert "the model expects 2 dimensions" in models["wrong_dims"]["reason"]
    with grpc.InferenceServerClient(told["grpc"]) as client:
        assert_same(infer(client, "good", {"x": ROWS}), {"y": ROWS @ WEIGHTS})
    assert shared_memory_of(process.pid)
    started = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert process.returncode == code
    assert_no_trace(process, tree, folders)


def test_a_killed_command_takes_its_server_with_it(serving):
    process, _, tree = serving
    folders = runtime_folders(tree)
    process.kill()
    process.communicate()
    assert_no_trace(process, tree, folders)


def test_only_the_models_that_were_named_are_loaded(repository):
    write(repository, GOOD, WRONG_DIMS)
    with EmbeddedServer(repository, AT_ONCE) as server:
        assert [outcome.model for outcome in server.load_all(["good", "good"])] == ["good"]


def test_a_response_may_be_larger_than_the_shared_memory_region_it_starts_with(repository):
    wide = Case("wide", linear(), config([X], [Y2], batch=1_000_000))
    write(repository, wide)
    rows = np.ones((500_000, 4), np.float32)
    with EmbeddedServer(repository, AT_ONCE) as server:
        server.load("wide")
        assert_same(ask(server, "wide", {"x": rows}), {"y": rows @ WEIGHTS})
    shutil.rmtree(repository)
