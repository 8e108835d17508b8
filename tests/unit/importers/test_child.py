# SPDX-License-Identifier: Apache-2.0
"""The worker process: what it keeps out of the caller, and what becomes of it when things go wrong."""

import json
import operator
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from repo_tool.errors import MissingExtraError, ReleaseError, SampleError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.child import import_in_child
from repo_tool.samples import Sample, write_published_sample
from support.importer_sources import write_linear_onnx

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""


class Calling:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickled(folder, value):
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(value))
    return str(path)


CALLS = ("posix.system", "posix.kill", "posix.write", "posix.abort", "posix._exit")


def bring_in(source, folder, **options):
    limits = {"max_opset": 21, "max_ir_version": 10, "trusted_types": CALLS}
    timeout = options.pop("timeout_s", 120)
    return import_in_child(ImportRequest(source=source, **{**limits, **options}), folder / "in", timeout_s=timeout)


def hide(folder, monkeypatch, *modules):
    """Make every Python process that is started from here believe that ``modules`` are not installed."""
    (folder / "hidden").mkdir()
    (folder / "hidden/sitecustomize.py").write_text(HIDE.format(hidden=modules))
    monkeypatch.setenv("PYTHONPATH", str(folder / "hidden"))


def test_a_pickle_is_opened_in_another_process(tmp_path):
    opened_by = tmp_path / "in/artifact/opened_by"  # one of the two folders that it can write to
    source = pickled(tmp_path, Calling(os.system, f"echo $PPID > {opened_by}"))
    with pytest.raises(SourceError, match="holds no scikit-learn estimator"):
        bring_in(source, tmp_path)
    assert int(opened_by.read_text()) != os.getpid()


def test_a_worker_reaches_nothing_but_its_own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = tmp_path / "in/artifact/found"
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/id_ed25519").write_text("private")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "kept").write_text("kept")
    tries = (
        f"exec > {found} 2>&1; echo changed > {tmp_path}/kept; rm {tmp_path}/kept; touch {tmp_path}/made;"
        "cat $HOME/.ssh/id_ed25519; echo key=$AWS_SECRET_ACCESS_KEY; ulimit -c; kill -0 1 && echo killed;"
        f"{sys.executable} -c 'import socket; socket.socket(socket.AF_UNIX)';"
        f"{sys.executable} -c 'import socket; socket.create_connection((\"127.0.0.1\", 9))'; true"
    )
    with pytest.raises(SourceError):
        bring_in(pickled(tmp_path, Calling(os.system, tries)), tmp_path)
    said = found.read_text()
    assert said.count("Permission denied") == 4  # to change, remove, make and read
    assert said.count("PermissionError: [Errno 1] Operation not permitted") == 2
    assert "key=\n0\n" in said
    assert "private" not in said
    assert "killed" not in said
    assert (tmp_path / "kept").read_text() == "kept\n".strip()
    assert not (tmp_path / "made").exists()


def test_a_worker_that_asks_for_all_memory_is_told(tmp_path):
    source = pickled(tmp_path, Calling(operator.mul, b"x", 2**45))
    with pytest.raises(SourceError, match="the model needs more memory than there is") as refused:
        bring_in(source, tmp_path, trusted_types=("_operator.mul",))
    assert "GiB were free" in refused.value.cause


def test_a_worker_that_is_killed_is_told_with_the_likely_cause(tmp_path):
    source = pickled(tmp_path, Calling(os.kill, 0, int(signal.SIGKILL)))  # process group 0: its own
    with pytest.raises(SourceError, match=r"the process that was to load .*model\.pkl' died") as refused:
        bring_in(source, tmp_path)
    assert refused.value.cause.startswith("SIGKILL: something killed it, most likely because memory ran out")
    assert [entry.name for entry in (tmp_path / "in").iterdir()] == ["artifact"]


def test_a_worker_that_crashes_is_told_with_the_last_it_printed(tmp_path):
    source = pickled(tmp_path, [Calling(os.write, 2, b"last words\n"), Calling(os.abort)])
    with pytest.raises(SourceError) as refused:
        bring_in(source, tmp_path)
    assert "SIGABRT" in refused.value.cause
    assert "last words" in refused.value.cause


def test_a_worker_that_ends_without_an_answer_is_told(tmp_path):
    with pytest.raises(SourceError, match="it ended with status 5 and no answer"):
        bring_in(pickled(tmp_path, Calling(os._exit, 5)), tmp_path)


ANSWERS = {
    "another-folder": "imported",
    "a-link": "ln -s {outside}/kept {artifact}/model.onnx",
    "a-link-beside-it": "ln -s {outside}/kept {artifact}/weights.bin",
    "no-json": "{",
    "no-error": '{"error": {"error": "SourceError"}}',
    "an-unknown-error": '{"error": 7}',
    "a-list": "[]",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_code_in_the_source_wrote_moves_nothing(tmp_path, name):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_text("kept")
    artifact, text = tmp_path / "in/artifact", ANSWERS[name]
    if "imported" in text or "ln" in text:
        link = text if "ln" in text else "true"
        values = {
            "framework": "onnx", "backend": "onnxruntime", "signature": {"inputs": [], "outputs": []},
            "artifact": str(tmp_path / "outside/kept") if "imported" in text else str(artifact / "model.onnx"),
            "inputs_were_generated": True, "labels": [], "tool_versions": {}, "notes": [], "fallback_reason": "",
            "parameters": {}, "trusted": [], "unproven": "",
        }  # fmt: skip
        text = json.dumps({"imported": values})
        link = link.format(outside=tmp_path / "outside", artifact=artifact)
    else:
        link = "true"
    (tmp_path / "answer.json").write_text(text)
    write_published_sample(tmp_path / "tensors.npz", Sample(inputs={}, outputs={}))
    command = f"cp {tmp_path}/answer.json {tmp_path}/tensors.npz {tmp_path}/in/worker-*/; {link}; kill -9 $PPID"
    with pytest.raises(SourceError, match=r"left something else than a model|left no answer that reads"):
        bring_in(pickled(tmp_path, Calling(os.system, command)), tmp_path)
    assert (tmp_path / "outside/kept").read_text() == "kept"


def test_what_a_worker_prints_without_end_is_not_read_whole(tmp_path):
    source = pickled(
        tmp_path, Calling(os.system, "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end; kill -9 $PPID")
    )
    with pytest.raises(SourceError) as refused:
        bring_in(source, tmp_path)
    assert refused.value.cause.endswith("  end")
    assert len(refused.value.cause) < 70_000


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def wait_until_gone(process, *, within_s=10):
    deadline = time.monotonic() + within_s
    while is_running(process):
        assert time.monotonic() < deadline, f"process {process} is still there"
        time.sleep(0.05)  # between two looks of a poll with a deadline


def test_a_worker_that_takes_too_long_is_stopped_with_what_it_started(tmp_path):
    started = tmp_path / "in/artifact/started"
    source = pickled(tmp_path, Calling(os.system, f"sleep 600 & echo $! > {started}; wait"))
    with pytest.raises(SourceError, match="took longer than 15 s"):
        bring_in(source, tmp_path, timeout_s=15)
    wait_until_gone(int(started.read_text()))


def caller_of_a_hanging_worker(folder, command):
    """A process that brings in a pickle which runs ``command``, and the number that the command writes."""
    started = folder / "in/artifact/started"
    source = pickled(folder, Calling(os.system, command.format(started=started)))
    program = (
        "import sys; from pathlib import Path; from repo_tool.importers.base import ImportRequest;"
        "from repo_tool.importers.child import import_in_child;"
        "import_in_child(ImportRequest(source=sys.argv[1], max_opset=21, max_ir_version=10,"
        "trusted_types=('posix.system',)), Path(sys.argv[2]))"
    )
    caller = subprocess.Popen([sys.executable, "-c", program, source, str(folder / "in")], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (started.is_file() and started.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between two looks of a poll with a deadline
    return caller, int(started.read_text())


def test_ctrl_c_stops_the_worker_with_what_it_started(tmp_path):
    caller, started = caller_of_a_hanging_worker(tmp_path, "sleep 600 & echo $! > {started}; wait")
    caller.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in caller.communicate(timeout=30)[1]
    wait_until_gone(started)
    assert [entry.name for entry in (tmp_path / "in").iterdir()] == ["artifact"]


def test_a_worker_dies_with_its_caller_however_that_ends(tmp_path):
    caller, worker = caller_of_a_hanging_worker(tmp_path, "echo $PPID > {started}; sleep 60")
    assert is_running(worker)
    caller.kill()
    caller.communicate(timeout=30)
    wait_until_gone(worker)


def test_a_worker_whose_caller_is_already_gone_does_not_begin(tmp_path):
    command = [sys.executable, "-P", "-m", "repo_tool.importers._worker", "1", str(tmp_path), "0", "0"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "hidden", "extra"),
    [
        ("model.joblib", b"\x80\x04K\x01.", "joblib", "sklearn"),
        ("model.onnx", b"\x08\x08", "onnxruntime", "onnx"),
        ("package.module:build", None, "torch", "torch"),
        ("saved", None, "tensorflow", "tensorflow"),
    ],
)
def test_a_framework_that_is_not_installed_is_told_with_the_extra_that_brings_it(
    tmp_path, monkeypatch, name, content, hidden, extra
):
    source = name
    if content is not None:
        (tmp_path / name).write_bytes(content)
        source = str(tmp_path / name)
    elif ":" not in name:
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_bytes(b"x")
        source = str(tmp_path / name)
    hide(tmp_path, monkeypatch, hidden)
    with pytest.raises(MissingExtraError) as refused:
        bring_in(source, tmp_path)
    assert refused.value.fact == f"the Python package '{hidden}' is not installed"
    assert refused.value.next_step == f"pip install 'triton-repo-tool[{extra}]'"


def test_errors_cross_the_process_boundary_as_what_they_are(tmp_path):
    write_linear_onnx(tmp_path / "some.onnx")
    np.save(tmp_path / "rows.npy", np.zeros((2, 9), np.float32))
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT8E4M3FN, [None]) for name in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "newer", *([one] for one in values)
    )
    onnx.save(onnx.helper.make_model(graph, ir_version=10), tmp_path / "newer.onnx")
    with pytest.raises(ReleaseError, match=r"opset \d+ of ai\.onnx"):
        bring_in(str(tmp_path / "newer.onnx"), tmp_path / "a", max_ir_version=8, backend="onnxruntime")
    with pytest.raises(SampleError, match="does not fit input 'x'"):
        bring_in(str(tmp_path / "some.onnx"), tmp_path / "b", sample=tmp_path / "rows.npy")
    with pytest.raises(SampleError, match="no sample file at"):
        bring_in(str(tmp_path / "some.onnx"), tmp_path / "c", sample=tmp_path / "gone.npy")


def test_a_file_of_the_working_folder_shadows_no_package(tmp_path, monkeypatch):
    write_linear_onnx(tmp_path / "some.onnx")
    for name in ("onnx.py", "numpy.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert bring_in("some.onnx", Path()).signature.output("y").shape == (-1, 3)
