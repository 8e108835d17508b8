# SPDX-License-Identifier: Apache-2.0
"""Model files of other frameworks are read as data: names, types and shapes, or why nothing can be known."""

import json
import subprocess
import sys
import zipfile
from contextlib import suppress

import pytest

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.rules.model_files import read_model_file
from repo_tool.rules.model_signatures import ModelFileError, NoSuchSignatureError
from repo_tool.rules.saved_model_file import read_saved_model
from repo_tool.rules.torch_file import read_torch_file
from support.rule_cases import FILES


def described(tensors):
    return [(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors]


def test_a_saved_model_tells_names_types_and_shapes():
    found = read_saved_model(FILES / "sums.savedmodel")
    assert described(found.inputs) == [("x", DataType.FP32, (-1, 4))]
    assert described(found.outputs) == [
        ("s", DataType.FP32, ()), ("y", DataType.FP32, (-1, 2)), ("z", DataType.FP32, (-1, -1)),
    ]  # fmt: skip


@pytest.mark.parametrize("asked", [{"tag": "gpu"}, {"signature": "serving"}])
def test_a_saved_model_says_what_it_lacks(asked):
    with pytest.raises(NoSuchSignatureError, match="it has: serv"):
        read_saved_model(FILES / "sums.savedmodel", **asked)


@pytest.mark.parametrize("other", ["saved_model.cpb", "saved_model.pbtxt"])
def test_a_saved_model_in_another_form_is_not_guessed_at(tmp_path, other):
    (tmp_path / other).touch()
    assert read_saved_model(tmp_path).inputs is None


@pytest.mark.parametrize("content", [b"", b"no protobuf", b"\x08\x01"])
def test_what_is_no_saved_model_is_said(tmp_path, content):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ModelFileError):
        read_saved_model(tmp_path)


def test_torchscript_tells_the_arguments_of_forward():
    assert [tensor.name for tensor in read_torch_file(FILES / "two.pt").inputs] == ["pixels", "mask"]
    arguments = read_torch_file(FILES / "scaled.pt").inputs
    assert [(each.name, each.type_name, each.is_optional) for each in arguments] == [
        ("x", "Tensor", False), ("scale", "float", True),
    ]  # fmt: skip


def test_an_exported_program_tells_types_and_shapes():
    found = read_torch_file(FILES / "two.pt2")
    assert described(found.inputs) == [("pixels", DataType.FP32, (-1, 4)), ("mask", DataType.FP32, (-1, 2))]
    assert [(each.datatype, each.shape) for each in found.outputs] == [(DataType.FP32, (-1, 2))] * 2


def script(path, code, first=b"\x80\x02c__torch__.net\nNet\n"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", first)
        archive.writestr("net/code/__torch__/net.py", code)
    return path


FORWARD = "class Net(Module):\n  def forward(self: __torch__.net.Net,\n    x: {kind}) -> Tensor:\n    return x\n"


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (FORWARD.format(kind="Tensor"), ["x"]),
        (FORWARD.format(kind="Dict[str, Tensor]"), None),
        (FORWARD.format(kind="Tensor").replace("Net(", "Other("), None),
        (
            "class Other(Module):\n  def forward(self, y) -> Tensor:\n    return y\n" + FORWARD.format(kind="Tensor"),
            ["x"],
        ),
        ("class Net(Module):\n  training : bool\n", None),
        ("class Net(Module):\n  def forward(self, (x) -> Tensor:\n", None),
    ],
)
def test_arguments_are_read_or_not_guessed_at(tmp_path, code, names):
    found = read_torch_file(script(tmp_path / "net.pt", code)).inputs
    assert (found and [tensor.name for tensor in found]) == names


def test_an_archive_with_names_that_are_no_text_is_no_model(tmp_path):
    path = script(tmp_path / "net.pt", FORWARD)
    content = path.read_bytes().replace(b"net/data.pkl", b"\xa1et/data.pkl")
    path.write_bytes(content.replace(b"\x00\x00\x00\x00\x00net", b"\x00\x08\x00\x00\x00net"))
    for name in ("net.pt", "net.pt2"):
        (tmp_path / name).write_bytes(path.read_bytes())
        with suppress(ModelFileError):
            read_torch_file(tmp_path / name)


@pytest.mark.parametrize(
    ("backend", "name", "content", "words"),
    [
        ("tensorrt", "model.plan", b"", "empty"),
        ("tensorrt", "model.plan", b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        ("openvino", "model.xml", b"\x00binary", "XML"),
        ("fil", "xgboost.json", b"binf", "begins otherwise"),
        ("sklearn", "model.skops", b"PK", "model.json"),
        ("tensorflow", "model.savedmodel", b"PK", "folder"),
        ("pytorch", "model.pt", b"PK", "archive"),
    ],
)
def test_what_a_backend_cannot_open_is_said(tmp_path, backend, name, content, words):
    (tmp_path / name).write_bytes(content)
    found = read_model_file(ModelConfig(name="m", parameters={"model_type": "xgboost_json"}), backend, tmp_path / name)
    assert isinstance(found, ModelFileError)
    assert words in str(found)


@pytest.mark.parametrize(
    ("backend", "name", "content"),
    [
        ("tensorrt", "model.plan", b"ptrt"),
        ("openvino", "model.xml", b'\xef\xbb\xbf<?xml version="1.0"?>'),
        ("fil", "xgboost.json", b'\n {"learner": {}}'),
        ("onnxruntime", "model.onnx", b""),
        ("of_my_own", "model.bin", b""),
    ],
)
def test_of_what_cannot_be_judged_nothing_is_said(tmp_path, backend, name, content):
    (tmp_path / name).write_bytes(content)
    config = ModelConfig(name="m", parameters={"model_type": "xgboost_json"})
    assert read_model_file(config, backend, tmp_path / name) is None


def test_a_python_module_of_the_pytorch_backend_may_have_weights_alone():
    path = FILES / "weights.pt"
    assert read_model_file(ModelConfig(name="m", runtime="model.py"), "pytorch", path) is None
    assert isinstance(read_model_file(ModelConfig(name="m"), "pytorch", path), ModelFileError)


@pytest.mark.parametrize(("output", "is_known"), [("label", True), ("score", False)])
def test_a_description_beside_an_estimator_names_its_outputs(tmp_path, output, is_known):
    (tmp_path / "model.skops").write_bytes(b"PK")
    (tmp_path / "model.json").write_text(json.dumps({"answers": [{"output": "label"}]}))
    config = ModelConfig(name="m", outputs=(ModelTensor(name=output, datatype=DataType.INT64, dims=(1,)),))
    assert (read_model_file(config, "sklearn", tmp_path / "model.skops") is None) is is_known


def test_reading_imports_no_framework():
    program = (
        "import sys; from pathlib import Path\n"
        "from repo_tool.config.model import ModelConfig; from repo_tool.rules.model_files import read_model_file\n"
        f"folder = Path({str(FILES)!r})\n"
        "for backend, name in (('pytorch', 'two.pt'), ('pytorch', 'two.pt2'), ('tensorflow', 'sums.savedmodel')):\n"
        "    assert read_model_file(ModelConfig(name='m'), backend, folder / name).inputs\n"
        "print(sorted({'torch', 'tensorflow'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
