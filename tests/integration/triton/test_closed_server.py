# SPDX-License-Identifier: Apache-2.0
"""What the embedded server keeps from other machines, from other users of this one, and from its own models."""

import http.client
import os
import re
import stat
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from tritonclient import grpc

from repo_tool.errors import UserMistakeError
from repo_tool.triton import EmbeddedServer, ServerOptions
from support.arrays import assert_same
from support.command import REPO_TOOL, repo_tool
from support.inference import infer
from support.onnx_cases import LINEAR, ROWS, WEIGHTS, Case, linear

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the Python backend keeps its regions
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is refused
OPEN_TO_OTHERS = ServerOptions(graceful_stop_s=0, host=EVERYWHERE, accept_known_cves=True)
LOCKED_PATHS = (
    "/v2/repository/index",
    "/v2/repository/models/good/load",
    "/v2/repository/models/good/unload",
    "/v2/systemsharedmemory/status",
    "/v2/models/good/stats",
    "/v2/trace/setting",
    "/v2/logging",
)
TALKATIVE_CONFIG = """
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "environment" data_type: TYPE_STRING dims: [ 1 ] }
"""
TALKATIVE = """
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        text = np.array(["\\n".join(f"{name}={value}" for name, value in os.environ.items())], object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("environment", text)]) for _ in requests]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    Case("good", linear(), LINEAR).write(folder)
    return folder


@pytest.fixture(scope="module")
def server(repository):
    with EmbeddedServer(repository, OPEN_TO_OTHERS) as server:
        server.load("good")
        yield server


def tree_of(server):
    """The server's keeper, itself and its stubs."""
    keeper = psutil.Process(server.pid).parent()
    return [keeper, *keeper.children(recursive=True)]


def status_of(server, path, headers):
    connection = http.client.HTTPConnection(server.http_url, timeout=30)
    method = "GET" if path.endswith(("status", "stats", "setting", "logging")) else "POST"
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    words = response.read().decode()
    connection.close()
    return response.status, words


def test_a_server_with_known_vulnerabilities_is_not_opened_to_other_machines(repository):
    with pytest.raises(UserMistakeError, match=re.escape(EVERYWHERE)) as refused:
        EmbeddedServer(repository, ServerOptions(host=EVERYWHERE)).start()
    assert re.search(r"Triton 2\.51\.0 has \d\d published vulnerabilities", refused.value.cause)
    assert "--accept-known-cves" in refused.value.next_step


def test_the_command_says_it_before_it_starts_anything(repository):
    ended = repo_tool("serve", repository, "--host", EVERYWHERE)
    assert ended.returncode == 2
    assert "published vulnerabilities" in ended.stderr
    assert "--accept-known-cves" in ended.stderr


def test_where_it_is_accepted_the_command_says_what_it_is(tmp_path):
    command = [REPO_TOOL, "serve", tmp_path, "--stay", "--host", EVERYWHERE, "--accept-known-cves", "--grace", "0"]
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    with subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        told = serving.stdout.readline()
        serving.terminate()
        _, warned = serving.communicate(timeout=30)
    assert "0 of 0 models ready" in told
    assert re.search(r"other machines reach this server: Triton 2\.51\.0 has \d\d published", warned)


@pytest.mark.parametrize("host", ["my-laptop", "", "127.0.0.1:8000"])
def test_what_is_no_address_is_not_listened_on(repository, host):
    with pytest.raises(UserMistakeError, match="is no address"):
        EmbeddedServer(repository, ServerOptions(host=host)).start()


def test_an_address_of_another_machine_is_not_listened_on(repository):
    options = ServerOptions(host="192.0.2.1", accept_known_cves=True, http_port=8123)  # RFC 5737: nobody's
    with pytest.raises(UserMistakeError, match=re.escape("nobody can listen on '192.0.2.1' here")):
        EmbeddedServer(repository, options).start()


def test_what_others_may_reach_answers_requests_and_nothing_else(server):
    with grpc.InferenceServerClient(server.grpc_url) as client:
        assert_same(infer(client, "good", {"x": ROWS}), {"y": ROWS @ WEIGHTS})
        for refused in (client.get_model_repository_index, client.get_inference_statistics, client.get_log_settings):
            with pytest.raises(grpc.InferenceServerException, match="restricted"):
                refused()
        with pytest.raises(grpc.InferenceServerException, match="restricted"):
            client.unload_model("good")
    for path in LOCKED_PATHS:
        status, words = status_of(server, path, {})
        assert (status, "restricted" in words) == (403, True), path
    assert status_of(server, "/v2/repository/index", dict(server.control_headers))[0] == 200


def test_metrics_stay_on_this_machine(server):
    port = int(server.metrics_url.rpartition(":")[2].partition("/")[0])
    listening = [each.laddr for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"]
    assert [address.ip for address in listening if address.port == port] == ["127.0.0.1"]


def test_a_model_that_tells_its_environment_tells_no_credential(tmp_path, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "MLFLOW_TRACKING_PASSWORD", "DATABASE_URL"):
        monkeypatch.setenv(name, "s3cr3t")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Case("talkative", None, TALKATIVE_CONFIG).write(tmp_path)
    (tmp_path / "talkative" / "1" / "model.py").write_text(TALKATIVE)
    with EmbeddedServer(tmp_path, ServerOptions(graceful_stop_s=0)) as server:
        server.load("talkative")
        with grpc.InferenceServerClient(server.grpc_url) as client:
            (told,) = infer(client, "talkative", {"x": np.ones(1, np.float32)})["environment"]
    assert b"OMP_NUM_THREADS=1" in told
    assert b"s3cr3t" not in told


def test_no_other_user_can_read_the_key(server):
    (key,) = server.control_headers.values()
    for process in tree_of(server):
        assert not any(key in argument for argument in process.cmdline()), process


def test_no_other_user_can_read_what_the_server_writes(server):
    with grpc.InferenceServerClient(server.grpc_url) as client:
        infer(client, "good", {"x": np.repeat(ROWS, 2, axis=0)})
    regions = list(SHARED_MEMORY.glob(f"repo-tool-{os.getpid()}-*"))
    assert regions
    written = [*regions, server.log.path, server.log.path.parent]
    deadline = time.monotonic() + 10
    while (open_to_others := [path.name for path in written if stat.S_IMODE(path.stat().st_mode) & 0o077]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)  # between two looks of a poll: the modes are changed right after the regions appear
    assert open_to_others == []


def test_a_crash_writes_no_memory_to_disk_and_no_program_gains_rights(server):
    _, triton, *stubs = tree_of(server)
    assert stubs
    for process in (triton, *stubs):
        # One byte: zero would still let a program of core_pattern have the dump.
        assert process.rlimit(psutil.RLIMIT_CORE) == (1, 1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Umask:\t0077" in status
