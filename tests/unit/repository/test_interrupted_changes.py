# SPDX-License-Identifier: Apache-2.0
"""However a change of a repository is cut off, what is there is whole, and the next command puts the rest in order."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from repo_tool.repository.journal import Journal
from repo_tool.repository.leftovers import leftovers
from repo_tool.repository.publish import sole_changer
from support.interrupted_changes import cut_off, files, publish_three, repository_at, rewrite_two

PROGRAM = Path(__file__).parents[2] / "support" / "interrupted_changes.py"
MEMORY = Path("/dev/shm")  # noqa: S108 - where nothing waits for a disk


@pytest.fixture
def folder(tmp_path):
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        yield folder


@pytest.mark.parametrize(
    ("ending", "exchange"),
    [
        pytest.param(
            "crash", "yes", marks=pytest.mark.slow(reason="a process for each of a hundred moments, as with 'no'")
        ),
        ("crash", "no"),
        ("error", "yes"),
        ("error", "no"),
    ],
)
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


def noted_and_nothing_done(folder, action):
    """A repository whose change was cut off once it was noted."""
    early, late = 0, 1000  # touches: before the note, and after all is done
    while late - early > 1:
        touch = (early + late) // 2
        repository = repository_at(Path(folder) / str(touch))
        before = files(repository.path)
        cut_off(lambda repository=repository: action(repository), touch, "crash")
        if files(repository.path) != before:
            late = touch
        elif any(left.is_noted for left in leftovers(repository)):
            return repository
        else:
            early = touch
    raise AssertionError("it was never noted")


def test_a_version_that_cannot_come_is_kept_and_the_journal_tells_nothing_of_it(folder, caplog):
    repository = noted_and_nothing_done(folder, publish_three)
    (repository.path / "step" / "notes.md").write_text("a person's, and newer")
    with sole_changer(repository):
        (kept,) = (repository.private_path / "withdrawn").glob("*/step/2/model.onnx")
    assert kept.read_text() == "step 2"
    assert str(kept.parents[2]) in caplog.text
    assert {path.parent.name: path.read_text() for path in repository.path.glob("*/config.pbtxt")} == {
        "other": "other 2",
        "pipeline": "pipeline 2",
        "step": "step 1",
    }
    assert sorted(entry.model for entry in Journal(repository).entries()) == ["other", "pipeline"]
    assert leftovers(repository) == ()


def test_words_that_cannot_come_are_kept_and_the_journal_tells_nothing_of_them(folder):
    repository = noted_and_nothing_done(folder, rewrite_two)
    (repository.path / "step" / "config.pbtxt").write_text("a person's")
    with sole_changer(repository):
        (kept,) = (repository.private_path / "withdrawn").glob("*/step/config.pbtxt")
    assert kept.read_text() == "new"
    assert (repository.path / "step" / "config.pbtxt").read_text() == "a person's"
    assert [entry.model for entry in Journal(repository).entries()] == ["other"]


def cut_off_at(folder, *how):
    done = subprocess.run([sys.executable, PROGRAM, folder, *how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
