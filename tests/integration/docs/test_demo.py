# SPDX-License-Identifier: Apache-2.0
"""The demo from training to the scores through Triton, and the repository that it leaves."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from repo_tool.repository.stamps import unstamped
from support.command import environment, repo_tool

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MODELS = ("breast_cancer", "diabetes", "digits_cnn", "digits_keras", "digits_reader", "wine")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What the demo said, and the repository that it made."""
    repository = tmp_path_factory.mktemp("demo") / "model_repository"
    done = subprocess.run(
        [sys.executable, "examples/demo/run.py", "--no-bench", "--repository", repository],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, repository


def test_every_model_scores_through_triton_as_in_its_framework(demo):
    rows = [line.split() for line in demo[0].splitlines() if len(line.split()) == 8 and line.split()[0] in MODELS]
    assert [row[0] for row in rows] == [
        "breast_cancer",
        "diabetes",
        "digits_cnn",
        "digits_keras",
        "wine",
        "digits_reader",
    ]
    for name, _, trained, served, *_ in rows:
        assert trained == served, name
        assert float(trained) > (0.3 if name == "diabetes" else 0.9), name


def test_the_configurations_come_out_as_they_are_committed(demo):
    """But for the stamps: nobody trains the same bytes twice."""
    assert configurations(demo[1]) == configurations(ROOT / "model_repository")


def configurations(repository):
    return {str(path.relative_to(repository)): unstamped(path.read_text()) for path in repository.rglob("config.pbtxt")}


def test_the_committed_repository_is_clean():
    done = repo_tool("validate", "--live", "--strict", ROOT / "model_repository")
    assert done.returncode == 0, done.stdout
    older = repo_tool("validate", "--release", "24.10", "--ignore", "SEC", ROOT / "model_repository")
    assert older.returncode == 0, older.stdout


def test_the_readme_shows_the_table_of_these_models():
    readme = (ROOT / "README.md").read_text()
    for name in MODELS:
        assert f"\n {name} " in readme


def test_the_reader_takes_pixels_too(tmp_path):
    shutil.copytree(ROOT / "model_repository", tmp_path / "models")
    pixels = np.random.default_rng(1).integers(0, 256, size=(5, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    reader = ROOT / "examples" / "demo" / "digits_reader_pixels.yaml"
    done = repo_tool("add-pipeline", reader, "--sample", tmp_path / "pixels.npy", "-r", tmp_path / "models")
    assert done.returncode == 0, done.stderr
    assert "[1…32, 8, 8, 1]" in done.stdout
