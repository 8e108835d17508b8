# SPDX-License-Identifier: Apache-2.0
"""What docker-compose.yml describes, without Docker: the files of the image, and a server started by its command."""

import http.client
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from repo_tool.triton.environment import scrubbed
from repo_tool.triton.installation import assemble_backends, find_installation
from repo_tool.triton.ports import free_ports

ROOT = Path(__file__).parents[2]
KEY = "a key for this test"
_COPY = re.compile(r"^COPY --from=backends (.+) /opt/tritonserver/backends/(\w+)/$", re.MULTILINE)


def brought_files(dockerfile, context):
    """The files that the image gets for each of our backends."""
    copies = _COPY.findall(dockerfile.read_text())
    return {name: [path for pattern in patterns.split() for path in context.glob(pattern)] for patterns, name in copies}


def assemble_as_the_image(folder, compose):
    """Those backends of the image that run on any machine: Triton's Python backend, and ours as the Dockerfile says."""
    assemble_backends(find_installation(), folder / "assembled", {})
    shutil.copytree(folder / "assembled" / "python", folder / "backends" / "python")
    build = compose["services"]["triton"]["build"]
    context = ROOT / build["additional_contexts"]["backends"]
    for name, files in brought_files(ROOT / build["context"] / "Dockerfile", context).items():
        (folder / "backends" / name).mkdir()
        for path in files:
            shutil.copy(path, folder / "backends" / name / path.name)
    return folder / "backends"


@contextmanager
def compose_server(folder, *, ready, **settings):
    """The host and port of a server of ``folder/models``, started as docker-compose.yml does; ``ready`` loads last.

    ``settings`` are further variables of its environment.
    """
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    backends = assemble_as_the_image(folder, compose)
    installation = find_installation()
    http_port, grpc_port, metrics_port = free_ports(3)
    command = [flag.replace("=/models", f"={folder / 'models'}") for flag in compose["services"]["triton"]["command"]]
    command += [f"--backend-directory={backends}", f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    command += [f"--metrics-port={metrics_port}", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]
    environment = scrubbed(os.environ, library_path=installation.library_path()) | {"TRITON_ADMIN_KEY": KEY}
    environment |= settings
    environment["PATH"] = f"{installation.server.parent}:{environment['PATH']}"
    for name in ("env", "empty"):  # our copy of the Python backend keeps its environments beside the working directory
        (folder / name).mkdir()
    with (folder / "log").open("wb") as log:
        start = ROOT / "deploy" / "triton" / "start-triton"
        server = subprocess.Popen([start, *command], env=environment, cwd=folder / "empty", stdout=log, stderr=log)
        try:
            host = f"127.0.0.1:{http_port}"
            _wait_until_ready(server, host, ready, folder / "log")
            yield host
        finally:
            server.terminate()
            server.wait(timeout=40)


def _wait_until_ready(server, address, model, log, *, timeout_s=90):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        if ask(address, f"/v2/models/{model}/ready")[0] == 200:
            return
        time.sleep(0.05)  # between two looks of a poll with a deadline
    pytest.fail(f"not ready: {log.read_text()}")


def ask(address, path, *, method="GET", key=None, body=b"{}", timeout_s=10):
    """The status and body of a reply; a status of None while nobody listens."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request(
            method, path, body=body if method == "POST" else None, headers={"triton-admin-key": key or ""}
        )
        reply = connection.getresponse()
        return reply.status, reply.read()
    except OSError:
        return None, b""
    finally:
        connection.close()
