# SPDX-License-Identifier: Apache-2.0
"""Repositories that nobody meant: each is answered with diagnostics, in time, and never with a traceback."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Severity, find_rule, validate
from repo_tool.rules.onnx_file import read_onnx

ECHO = b'backend: "python"\ninput [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
ECHO += b'output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]\n'
ECHO += b"instance_group [ { kind: KIND_CPU count: 1 } ]\n"
MODEL = b"class TritonPythonModel:\n    def execute(self, requests): ...\n"


def errors_of(repository):
    found = validate(ModelRepository(repository), release=release())
    return {diagnostic.code for diagnostic in found if diagnostic.severity is Severity.ERROR}


def a_socket(path):
    # A socket's address is short: make it elsewhere.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{folder}/s")
        os.rename(f"{folder}/s", path)  # noqa: PTH104 # what Path.rename does


STRANGE = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a link in a circle": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a link to the kernel's log": lambda path: path.symlink_to("/dev/kmsg"),
    "a link to memory": lambda path: path.symlink_to("/proc/self/mem"),
    "a link to a folder": lambda path: path.symlink_to("/proc"),
    "an empty file": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(os.urandom(5000)),
    "much of nothing": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 50_000_000),
}
PLACES = {
    "python": ["config.pbtxt", "configs", "configs/gpu.pbtxt", "1", "1/model.py", "1/more.py", "labels.txt"],
    "onnxruntime": ["1/model.onnx", "warmup", "warmup/row"],
    "pytorch": ["1/model.pt"],
    "tensorflow": ["1/model.savedmodel", "1/model.savedmodel/saved_model.pb"],
    "sklearn": ["1/model.skops", "1/model.json"],
    "fil": ["1/xgboost.json"],
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize(
    ("backend", "place"), [(backend, place) for backend, places in PLACES.items() for place in places]
)
def test_whatever_lies_where_a_file_should_be(tmp_path, backend, place, strange):
    model = tmp_path / "m"
    (model / "1").mkdir(parents=True)
    warmup = b'model_warmup { batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 input_data_file: "row" } } }'
    (model / "config.pbtxt").write_bytes(ECHO.replace(b"python", backend.encode()) + warmup)
    for name in ("model.py", "model.skops"):
        (model / "1" / name).write_bytes(MODEL)
    (model / "labels.txt").write_text("a\nb\nc\nd\n")
    path = model / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        path.unlink()
    elif path.is_dir():
        path.rename(tmp_path.with_suffix(".away"))
    strange(path)
    errors_of(tmp_path)


def test_a_configuration_of_50_megabytes_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "m").mkdir()
    with (tmp_path / "m" / "config.pbtxt").open("wb") as file:
        file.write(ECHO)
        file.truncate(50_000_000)
    assert errors_of(tmp_path) == {"CFG101"}


def test_a_model_directory_of_ten_thousand_entries(tmp_path):
    model = tmp_path / "m"
    for number in range(1, 301):
        (model / str(number)).mkdir(parents=True)
    for number in range(9700):
        (model / f"{number}.txt").touch()
    (model / "config.pbtxt").write_bytes(ECHO)
    assert errors_of(tmp_path) == {"REP104", "REP105"}


def test_a_repository_of_ten_thousand_entries(tmp_path):
    for number in range(9000):
        (tmp_path / f"{number}.txt").touch()
    for number in range(1000):
        (tmp_path / f"m{number}").mkdir()
    assert errors_of(tmp_path) == {"REP101"}


def test_names_as_long_as_can_be_and_folders_as_deep(tmp_path):
    place = tmp_path / ("m" * 255)
    place.mkdir()
    (place / "config.pbtxt").write_bytes(ECHO)
    (place / ("v" * 255)).touch()
    deep = os.open(tmp_path / ("m" * 255), os.O_RDONLY)
    for _ in range(1200):  # deeper than a path can say, and than Python calls
        os.mkdir("1", dir_fd=deep)
        inner = os.open("1", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    try:
        assert {"REP104", "REP105"} <= errors_of(tmp_path)
    finally:
        subprocess.run(["rm", "-r", place], check=True)  # pytest's own way of removing it calls itself too deep


@pytest.mark.parametrize(
    "name", ["n" * 300, "a/" * 3000, "\\000", "../" * 2000 + "etc/passwd", "/proc/self/mem", "\\n"]
)
def test_names_in_a_configuration_that_no_file_can_have(tmp_path, name):
    config = 'backend: "onnxruntime" default_model_filename: "NAME" output { name: "y" label_filename: "NAME" }'
    config += ' model_warmup { batch_size: 1 inputs { key: "x" value { input_data_file: "NAME" } } }'
    config += ' sequence_batching { state { initial_state { data_file: "NAME" } } } runtime: "NAME"'
    config += ' parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/NAME" } }'
    config += ' model_operations { op_library_filename: "NAME" }'
    for backend in ("onnxruntime", "python", "pytorch", "tensorflow", "sklearn", "fil"):
        (tmp_path / backend / "1").mkdir(parents=True)
        written = config.replace("NAME", name).replace("onnxruntime", backend)
        (tmp_path / backend / "config.pbtxt").write_text(written)
    errors_of(tmp_path)


def test_versions_as_large_as_can_be(tmp_path):
    for name in ("9" * 200, "18446744073709551616", "-1", "+1", "0", "00", "1e3", "½", "٣"):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_bytes(ECHO.replace(b'label_filename: "labels.txt"', b""))
    found = validate(ModelRepository(tmp_path), release=release())
    too_large = {diagnostic.path for diagnostic in found if diagnostic.code == "REP119"}
    assert too_large == {f"m/{name}" for name in ("9" * 200, "18446744073709551616")}
    assert errors_of(tmp_path) == {"REP104", "REP119"}  # and there is no model.py


def test_files_that_may_not_be_read_are_diagnostics(tmp_path):
    """Root may read all, so the rights to are given away first."""
    for name in ("config", "model", "version", "directory", "variant"):
        folder = tmp_path / "models" / name
        (folder / "1").mkdir(parents=True)
        (folder / "configs").mkdir()
        for place in ("config.pbtxt", "configs/gpu.pbtxt"):
            (folder / place).write_bytes(ECHO.replace(b'label_filename: "labels.txt"', b""))
        (folder / "1" / "model.py").write_bytes(MODEL)
    closed = ["config/config.pbtxt", "model/1/model.py", "version/1", "directory", "variant/configs/gpu.pbtxt"]
    for place in closed:
        (tmp_path / "models" / place).chmod(0)
    program = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "assert libc.prctl(24, 1) == libc.prctl(24, 2) == 0 or os.getuid() != 0\n"  # PR_CAPBSET_DROP: CAP_DAC_*
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    validating = (
        "import json, sys; from pathlib import Path; from repo_tool.rules import validate\n"
        "from repo_tool.releases import release; from repo_tool.repository.layout import ModelRepository\n"
        "found = validate(ModelRepository(Path(sys.argv[1])), release=release())\n"
        "print(json.dumps([(each.model, each.code) for each in found if each.severity.value == 'error']))"
    )
    try:
        shown = subprocess.run(
            [sys.executable, "-c", program, "-c", validating, tmp_path / "models"],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for place in reversed(closed):
            (tmp_path / "models" / place).chmod(0o755)
    assert shown.returncode == 0, shown.stderr
    found = {tuple(each) for each in json.loads(shown.stdout)}
    assert {("config", "CFG101"), ("version", "REP104"), ("directory", "REP101"), ("variant", "CFG101")} <= found


def graph(nodes, *, outputs, initializers=(), functions=()):
    made = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1])], outputs, list(initializers))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(made, opset_imports=opsets, functions=list(functions), ir_version=8)


def doubled_without_end():
    nodes = [helper.make_node("Shape", ["x"], ["v0"])]
    nodes += [helper.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], axis=0) for i in range(40)]
    nodes += [helper.make_node("ConstantOfShape", ["v40"], ["y"])]
    return graph(nodes, outputs=[helper.make_tensor_value_info("y", 1, None)])


def a_function_of_itself():
    own = helper.make_function(
        "own", "f", ["a"], ["b"], [helper.make_node("f", ["a"], ["b"], domain="own")], [helper.make_opsetid("own", 1)]
    )
    call = helper.make_node("f", ["x"], ["y"], domain="own")
    return graph([call], outputs=[helper.make_tensor_value_info("y", 1, [1])], functions=[own])


def data_that_is_not_there():
    tensor = TensorProto(name="s", data_type=TensorProto.INT64, dims=[2**40])
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    return graph([node], outputs=[helper.make_tensor_value_info("y", 1, ["N"])], initializers=[tensor])


def sizes_beyond_all_numbers():
    model = graph([helper.make_node("Flatten", ["x"], ["y"])], outputs=[helper.make_tensor_value_info("y", 1, ["N"])])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, [2**62, 2**62, -7]))
    return model


@pytest.mark.parametrize(
    "make", [doubled_without_end, a_function_of_itself, data_that_is_not_there, sizes_beyond_all_numbers]
)
def test_an_onnx_file_that_asks_for_all_time_and_memory_is_read(tmp_path, make):
    path = tmp_path / "model.onnx"
    path.write_bytes(make().SerializeToString())
    assert [tensor.name for tensor in read_onnx(path).outputs] == ["y"]


NAMES = st.sampled_from(
    [
        "m", "1", "2", "01", "1abc", "0", "configs", "warmup", "initial_state", ".git", "config.pbtxt", "model.onnx",
        "model.py", "model.pt", "model.savedmodel", "saved_model.pb", "labels.txt", "gpu.pbtxt", "a b.pbtxt", ".pbtxt",
        "model.json", "model.skops", "ä", "\n", os.fsdecode(b"\xff"), "n" * 200, ";rm", "9" * 30,
    ]
)  # fmt: skip
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [ECHO, MODEL, b"version https://git-lfs.github.com/spec/v1\n", b"{}", b"PK\x05\x06" + bytes(18)]
        + [b'backend: "%s" max_batch_size: 4' % name.encode() for name in PLACES]
        + [b'platform: "ensemble" ensemble_scheduling { step { model_name: "m" } }']
    ),
)
TREES = st.recursive(
    st.one_of(CONTENTS, st.sampled_from(["loop", "pipe", "out"])),
    lambda inner: st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


def plant(path, tree):
    if isinstance(tree, dict):
        path.mkdir(exist_ok=True)
        for name, inner in tree.items():
            plant(path / name, inner)
    elif isinstance(tree, bytes):
        path.write_bytes(tree)
    elif tree == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("." if tree == "loop" else "/etc")


@settings(deadline=None, max_examples=150)
@given(tree=st.dictionaries(NAMES, TREES, max_size=5))
def test_no_tree_of_files_makes_validation_fail(tree):
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "repository")
        plant(repository, tree)
        if (repository / "config.pbtxt").exists():
            return
        found = validate(ModelRepository(repository), release=release())
    assert {diagnostic.model for diagnostic in found} <= {"", *tree}
    for diagnostic in found:
        assert find_rule(diagnostic.code).code == diagnostic.code
        assert diagnostic.path.split("/")[0] == diagnostic.model or not diagnostic.model
        assert json.loads(json.dumps(diagnostic.to_dict()))["message"]
