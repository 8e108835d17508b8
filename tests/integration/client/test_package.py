# SPDX-License-Identifier: Apache-2.0
"""The client as a service has it: its own distribution in an environment without repo-tool."""

import subprocess
import sys
from pathlib import Path

import pytest

from repo_tool.triton.server import EmbeddedServer, ServerOptions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PROGRAM = """
import importlib.util, sys
import repo_client.testing, repo_client.typed
from repo_client import Admin, Client

assert importlib.util.find_spec("repo_tool") is None
for url in sys.argv[1:]:
    with Client(url) as client, Admin(url) as admin:
        answer = client.model("rows").infer_batch({"image": [[[1.0, 2, 3], [4, 5, 6]]] * 9})
        print(answer.text("label").shape, answer["total"].ravel().tolist()[:2], admin.is_live())
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The Python of an environment that has the client and what it says that it needs."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
    python = folder / "environment" / "bin" / "python"
    wanted = [str(ROOT / "clients"), "--constraint", str(ROOT / "constraints.txt")]
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return python


def test_the_client_works_without_repo_tool(alone, client_repository):
    with EmbeddedServer(client_repository, ServerOptions(graceful_stop_s=0)) as server:
        assert server.load_all(["rows"])[0].is_ready
        urls = [f"grpc://{server.grpc_url}", f"http://{server.http_url}"]
        done = subprocess.run(
            [alone, "-I", "-c", PROGRAM, *urls], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(9, 1) [21.0, 21.0] True\n" * 2
