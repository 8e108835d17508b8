# SPDX-License-Identifier: Apache-2.0
"""A real tritonserver started by deploy/triton/start-triton with the command of docker-compose.yml."""

import http.client
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from repo_tool.triton.environment import scrubbed
from repo_tool.triton.installation import assemble_backends, find_installation
from repo_tool.triton.ports import free_ports

ROOT = Path(__file__).parents[3]
START = ROOT / "deploy" / "triton" / "start-triton"
KEY = "a key for this test"
SOURCE = """class TritonPythonModel:
    def execute(self, requests):
        return []
"""
CONFIG = """backend: "python"
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


def add(repository, name, config):
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(SOURCE)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a server with one good and one broken model."""
    folder = tmp_path_factory.mktemp("compose")
    add(folder / "models", "good", CONFIG)
    add(folder / "models", "broken", CONFIG.replace("python", "no_such_backend"))
    installation = find_installation()
    assemble_backends(installation, folder / "backends", {})
    http_port, grpc_port, metrics_port = free_ports(3)
    command = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["triton"]["command"]
    command = [flag.replace("=/models", f"={folder / 'models'}") for flag in command]
    command += [f"--backend-directory={folder / 'backends'}", f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    command += [f"--metrics-port={metrics_port}", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]
    environment = scrubbed(os.environ, library_path=installation.library_path()) | {"TRITON_ADMIN_KEY": KEY}
    environment["PATH"] = f"{installation.server.parent}:{environment['PATH']}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([START, *command], env=environment, stdout=log, stderr=log)
        try:
            host = f"127.0.0.1:{http_port}"
            wait_until_live(server, host, folder / "log")
            yield host
        finally:
            server.terminate()
            server.wait(timeout=40)


def wait_until_live(server, address, log, *, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        if ask(address, "/v2/models/good/ready")[0] == 200:
            return
        time.sleep(0.05)
    pytest.fail(f"not ready: {log.read_text()}")


def ask(address, path, *, method="GET", key=None):
    """The status and body of a reply; a status of None while nobody listens."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(
            method, path, body=b"{}" if method == "POST" else None, headers={"triton-admin-key": key or ""}
        )
        reply = connection.getresponse()
        return reply.status, reply.read()
    except OSError:
        return None, b""
    finally:
        connection.close()


def test_a_broken_model_leaves_the_good_one_serving_and_the_server_not_ready(address):
    assert ask(address, "/v2/models/good/ready")[0] == 200
    assert ask(address, "/v2/health/live")[0] == 200
    assert ask(address, "/v2/health/ready")[0] == 400


@pytest.mark.parametrize("path", ["/v2/repository/models/good/load", "/v2/repository/index"])
def test_models_change_only_for_whoever_has_the_key(address, path):
    assert ask(address, path, method="POST")[0] == 403
    assert ask(address, path, method="POST", key="another")[0] == 403
    assert ask(address, path, method="POST", key=KEY)[0] == 200


@pytest.mark.parametrize("path", ["/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging"])
def test_shared_memory_trace_and_log_settings_are_closed(address, path):
    assert ask(address, path)[0] == 403


def test_metadata_is_open(address):
    status, body = ask(address, "/v2/models/good")
    assert status == 200
    assert json.loads(body)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [4]}]
