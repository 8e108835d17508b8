# SPDX-License-Identifier: Apache-2.0
"""However a change of a repository is cut off, what is there is whole, and the next command puts the rest in order."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "support" / "interrupted_changes.py"
MEMORY = Path("/dev/shm")  # noqa: S108 - where nothing waits for a disk


@pytest.fixture
def folder(tmp_path):
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        yield folder


@pytest.mark.parametrize("exchange", ["yes", "no"])
@pytest.mark.parametrize("ending", ["crash", "error"])
def test_versions_that_come_together(folder, ending, exchange):
    """``exchange``: whether the machine can let two folders change places at once."""
    assert cut_off_at(folder, "publish", ending, exchange) >= (100 if ending == "crash" else 2)


@pytest.mark.parametrize("ending", ["crash", "error"])
def test_files_that_get_other_words_together(folder, ending):
    assert cut_off_at(folder, "rewrite", ending, "yes") >= (50 if ending == "crash" else 3)


@pytest.mark.parametrize("exchange", ["yes", "no"])
def test_a_version_that_goes(folder, exchange):
    assert cut_off_at(folder, "remove", "error", exchange) >= 2


def test_a_model_that_goes(folder):
    assert cut_off_at(folder, "withdraw", "error", "yes") >= 2


@pytest.mark.slow
@pytest.mark.parametrize("what", ["remove", "withdraw"])
def test_what_goes_when_the_command_is_killed(folder, what):
    assert cut_off_at(folder, what, "crash", "yes") >= 40


def cut_off_at(folder, *how):
    done = subprocess.run([sys.executable, PROGRAM, folder, *how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
