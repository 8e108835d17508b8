# SPDX-License-Identifier: Apache-2.0
"""``repo-tool add-model`` as a person runs it: what appears in the repository, and what never does."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from repo_tool.repository.layout import ModelRepository
from repo_tool.samples import read_published_sample
from support.command import REPO_TOOL, environment, everything_in, repo_tool
from support.mounts import require_own_mounts


def test_what_is_published_is_whole_and_proven(published):
    repository, said = published
    model = ModelRepository(repository).model("wine")
    assert sorted(path.name for path in model.path.iterdir()) == ["1", "config.pbtxt", "labels.txt", "warmup"]
    assert sorted(path.name for path in model.version_path(1).iterdir()) == [
        "model.onnx",
        "provenance.json",
        "sample.npz",
    ]
    assert said["parity"]["batch_sizes"] == [1, 2, 3, 32]
    assert said["largest_absolute_difference"] < 1e-5
    provenance = json.loads(model.provenance_path(1).read_text())
    assert provenance["source"] == "wine.joblib"
    assert provenance["source_digest"].startswith("sha256:")
    assert provenance["parity"] == said["parity"]


def test_the_published_sample_carries_the_answers(published):
    sample = read_published_sample(ModelRepository(published[0]).model("wine").sample_path(1))
    assert sample.inputs["features"].shape == (30, 13)
    assert (sample.outputs["probabilities"].argmax(axis=1) == sample.outputs["label"]).all()


def test_nothing_of_ours_lies_in_the_repository(published):
    assert [path.name for path in published[0].iterdir()] == ["wine"]


def test_a_further_version_leaves_the_first_as_it_was(published, sources, tmp_path):
    repository = tmp_path / "model_repository"
    shutil.copytree(published[0], repository)
    before = everything_in(repository / "wine" / "1")
    done = repo_tool("add-model", sources / "wine.joblib", "--name", "wine", "--repository", repository)
    assert done.returncode == 0, done.stderr
    assert ModelRepository(repository).model("wine").versions() == (1, 2)
    assert everything_in(repository / "wine" / "1") == before


def test_two_commands_at_once_publish_two_versions(sources, tmp_path):
    command = [REPO_TOOL, "add-model", sources / "relu.onnx", "-n", "relu", "-r", tmp_path / "models", "--json"]
    both = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(json.loads(stdout)["version"] for stdout, _ in said) == [1, 2]
    assert ModelRepository(tmp_path / "models").model("relu").versions() == (1, 2)


def test_the_table_says_what_to_send_and_what_comes_next(sources, tmp_path):
    done = repo_tool(
        *("add-model", sources / "wine.joblib", "-n", "wine", "-s", sources / "wine.csv", "-r", "models"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "[1…32, 13]" in done.stdout
    assert "next: repo-tool serve models" in done.stdout
    for step in ("bring in and convert", "validate for Triton 26.07", "verify on Triton", "publish"):
        assert step in done.stderr


def test_a_dry_run_shows_the_configuration_and_publishes_nothing(sources, tmp_path):
    done = repo_tool("add-model", sources / "relu.onnx", "-n", "relu", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'backend: "onnxruntime"' in done.stdout
    assert "nothing was published" in done.stdout
    assert everything_in(tmp_path) == {}


def test_a_model_that_does_not_batch_is_served_whole(sources, tmp_path):
    done = repo_tool("add-model", sources / "fixed.onnx", "-n", "fixed", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["max_batch_size"] == 0


MISTAKES = {
    "a missing file": (["absent.joblib"], ["absent.joblib"]),
    "an empty file": (["empty.onnx"], ["empty"]),
    "half a file": (["truncated.onnx"], ["truncated.onnx"]),
    "a pickle of something else": (["dictionary.joblib"], ["dict"]),
    "no kind of model": (["notes.docx"], ["notes.docx"]),
    "a framework that there is not": (["relu.onnx", "--framework", "caffe"], ["caffe"]),
    "batching without a batch dimension": (["fixed.onnx", "--max-batch-size", "8"], ["cannot batch", "'x' [1, 4]"]),
    "a sample with too few columns": (["wine.joblib", "--sample", "narrow.npz"], ["[-1, 13]", "[3, 5]"]),
    "a sample of words": (["wine.joblib", "--sample", "words.npz"], ["could not convert string to float: 'a'"]),
    "a sample that is not there": (["wine.joblib", "--sample", "absent.npz"], ["absent.npz"]),
    "too few labels": (["wine.joblib", "--labels", "two_labels.txt"], ["2 labels fit no output"]),
    "a release that there is not": (["relu.onnx", "--release", "99.01"], ["99.01"]),
    "a backend that the release has not": (["relu.onnx", "--release", "24.02"], ["24.02"]),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_message_and_leaves_nothing(sources, tmp_path, arguments, words):
    arguments = [sources / word if "." in word and not word[0].isdigit() else word for word in arguments]
    done = repo_tool("add-model", *arguments, "--name", "model", "--repository", tmp_path / "models")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "next: " in done.stderr
    for word in words:
        assert word in done.stderr
    assert everything_in(tmp_path) == {}


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", ".hidden", "a;rm", "$(id)", "größe", "a/b", "a\n"])
def test_a_name_that_a_shell_could_read_is_refused(sources, tmp_path, name):
    done = repo_tool("add-model", sources / "relu.onnx", f"--name={name}", "-r", tmp_path / "models")
    assert done.returncode == 2
    assert "is not a model name" in done.stderr
    assert everything_in(tmp_path) == {}


def test_an_existing_version_is_never_changed(published, sources):
    before = everything_in(published[0])
    done = repo_tool("add-model", sources / "wine.joblib", "-n", "wine", "--version", 1, "-r", published[0])
    assert done.returncode == 2
    assert "version 1 of 'wine' exists" in done.stderr
    assert "it gets 2" in done.stderr
    assert everything_in(published[0]) == before


def test_a_difference_to_the_framework_is_a_finding_with_its_row(tmp_path):
    """A model whose answers hang on the process: it is steady where it is brought in, and another one on the server."""
    (tmp_path / "fickle.py").write_text(
        "import os\n\nPLACE = os.getpid()\n\n\n"
        "class Fickle:\n"
        "    inputs = {'x': ('float32', [-1, 2])}\n\n"
        "    def predict(self, arrays):\n"
        "        return {'y': arrays['x'] + PLACE}\n"
    )
    done = repo_tool("add-model", "fickle:Fickle", "-n", "fickle", "-r", "models", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "in output 'y', most in sample row" in done.stderr
    assert "largest absolute difference" in done.stderr
    assert not (tmp_path / "models").exists()


def test_a_framework_that_is_not_installed_is_named_with_its_extra(sources, tmp_path):
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding" / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('sklearn', 'skl2onnx'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    models = tmp_path / "models"
    done = repo_tool(
        *("add-model", sources / "wine.joblib", "-n", "wine", "-r", models), PYTHONPATH=str(tmp_path / "hiding")
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'triton-repo-tool[sklearn]'" in done.stderr
    assert not models.exists()


@pytest.mark.parametrize("free_kib", [0, 8, 16, 24, 32, 40])
def test_a_full_disk_loses_nothing(sources, tmp_path, free_kib):
    script = (
        f"mount -t tmpfs -o size=1m none {tmp_path} && "
        f"head -c {(1024 - free_kib) * 1024} /dev/zero > {tmp_path}/ballast && "
        f"{REPO_TOOL} add-model {sources}/wine.joblib -n wine -s {sources}/wine.npz -r {tmp_path}/models > /dev/null; "
        f"code=$?; find {tmp_path} -type f -size +0; exit $code"
    )
    require_own_mounts()
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode == 0 and free_kib > 16:
        kept = 7  # ballast, config, model, sample, provenance, warm-up, journal
        assert len(done.stdout.split()) == kept, done.stdout
        return
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr
    assert done.stdout.split() == [f"{tmp_path}/ballast"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.slow(reason="as with Ctrl-C")),
        pytest.param(signal.SIGHUP, 129, id="SIGHUP", marks=pytest.mark.slow(reason="as with Ctrl-C")),
    ],
)
def test_an_interrupted_command_leaves_no_trace(sources, tmp_path, number, code):
    process = subprocess.Popen(
        [REPO_TOOL, "add-model", sources / "wine.joblib", "-n", "wine", "-r", tmp_path / "models"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: list(tmp_path.glob(".models.repo-tool/staging/*/work")))
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code, said
    assert everything_in(tmp_path) == {}
    assert processes_that_mention(tmp_path) == []


def test_what_a_killed_command_left_is_swept_by_the_next(sources, tmp_path):
    process = subprocess.Popen(
        [REPO_TOOL, "add-model", sources / "wine.joblib", "-n", "wine", "-r", tmp_path / "models"],
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: list(tmp_path.glob(".models.repo-tool/staging/*/work")))
    process.kill()
    process.wait()
    assert not (tmp_path / "models").exists()
    assert repo_tool("add-model", sources / "relu.onnx", "-n", "relu", "-r", tmp_path / "models").returncode == 0
    assert list(tmp_path.glob(".models.repo-tool/staging/*")) == []
    wait_until(lambda: processes_that_mention(tmp_path) == [])


def wait_until(holds, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.01)  # between two looks of a poll with a deadline


def processes_that_mention(path):
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if str(path).encode() in command:
            found.append(command)
    return found


def test_numbers_survive_the_way_exactly(sources, tmp_path):
    """The sample's answers are the framework's own, to the last bit."""
    import joblib

    done = repo_tool(*("add-model", sources / "wine.joblib", "-n", "wine", "-s", sources / "wine.npz"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sample = read_published_sample(tmp_path / "model_repository" / "wine" / "1" / "sample.npz")
    model = joblib.load(sources / "wine.joblib")
    expected = model.predict_proba(sample.inputs["features"].astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(sample.outputs["probabilities"], expected)
