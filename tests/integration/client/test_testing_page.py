# SPDX-License-Identifier: Apache-2.0
"""The page about testing, followed to the letter."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from repo_tool.triton.server import EmbeddedServer, ServerOptions
from support.command import environment, repo_tool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path):
    """A folder with the files of the page."""
    page = (ROOT / "docs" / "client-testing.md").read_text()
    blocks = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, flags=re.DOTALL)
    assert [name for name, _ in blocks] == ["screening.py", "test_screening.py", "test_recorded.py"]
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    models = ROOT / "model_repository"
    done = repo_tool("client", "generate", "breast_cancer", "-o", tmp_path / "clients.py", "--repository", models)
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path


def run_tests(project, *arguments, **variables):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments]
    done = subprocess.run(
        command, cwd=project, env=environment() | variables, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_tests_of_the_page_pass_without_a_server(project):
    status, said = run_tests(project, "test_screening.py")
    assert status == 0, said
    assert "3 passed" in said


def test_what_was_recorded_from_a_server_is_replayed_without_it(project):
    recording = project / "screening.jsonl"
    with EmbeddedServer(ROOT / "model_repository", ServerOptions(graceful_stop_s=0)) as server:
        server.load("breast_cancer")
        status, said = run_tests(project, "test_recorded.py", RECORD_FROM=f"grpc://{server.grpc_url}")
    assert (status, recording.exists()) == (0, True), said
    status, said = run_tests(project, "test_recorded.py")
    assert status == 0, said
    test = project / "test_recorded.py"
    test.write_text(test.read_text().replace("np.zeros(30, np.float32)", "np.eye(30, dtype=np.float32)[4]"))
    status, said = run_tests(project, "test_recorded.py")
    assert status == 1
    assert "input 'features': 1 of 30 values, the first at [0, 4]: 1.0 here, 0.0 there" in said
