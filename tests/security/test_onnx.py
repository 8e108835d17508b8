# SPDX-License-Identifier: Apache-2.0
"""ONNX files whose weights lie where they must not, or say what they must not."""

import onnx
import pytest

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.onnx import OnnxImporter
from support.importer_sources import write_linear_onnx


def bring_in(folder, *, location=None, **entries):
    """Bring a model in whose weights say ``location`` and ``entries``."""
    path = folder / "inside/model.onnx"
    model = onnx.load_model(path, load_external_data=False)
    (tensor,) = model.graph.initializer
    for entry in tensor.external_data:
        if entry.key == "location" and location is not None:
            entry.value = str(location)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    (folder / "artifact").mkdir()
    request = ImportRequest(source=str(path), max_opset=21, max_ir_version=10)
    return OnnxImporter().bring_in(request, None, folder / "artifact")


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "inside").mkdir()
    write_linear_onnx(tmp_path / "inside/model.onnx", external="weights.bin")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"s" * 48)
    return secret


def _absolute(folder, secret):
    return secret


def _parent(folder, secret):
    return "../secret.bin"


def _hidden_parent(folder, secret):
    (folder / "a").mkdir()
    return "a/../../secret.bin"


def _windows(folder, secret):
    return "..\\secret.bin"


def _symlink(folder, secret):
    (folder / "link.bin").symlink_to(secret)
    return "link.bin"


def _hardlink(folder, secret):
    (folder / "link.bin").hardlink_to(secret)
    return "link.bin"


def _linked_folder(folder, secret):
    (folder / "linked").symlink_to(secret.parent)
    return "linked/secret.bin"


def _folder(folder, secret):
    return "."


def _absent(folder, secret):
    return "nothing.bin"


def _empty(folder, secret):
    return ""


WAYS = (_absolute, _parent, _hidden_parent, _windows, _symlink, _hardlink, _linked_folder, _folder, _absent, _empty)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
def test_weights_outside_the_folder_are_refused(way, tmp_path, outside, canary):
    location = way(tmp_path / "inside", outside)
    with pytest.raises(SourceError) as refused:
        bring_in(tmp_path, location=location)
    assert refused.value.cause
    assert not list((tmp_path / "artifact").rglob("*"))


@pytest.mark.parametrize("name", ["model.onnx", "provenance.json", "sample.npz", "Model.ONNX"])
def test_weights_in_a_file_that_we_write_ourselves_are_refused(name, tmp_path, outside):
    """They would replace the graph that was checked, or be replaced after it was proven."""
    (tmp_path / "inside" / name).write_bytes(b"w" * 48) if name != "model.onnx" else None
    with pytest.raises(SourceError) as refused:
        bring_in(tmp_path, location=name)
    assert "writes a file of that name" in refused.value.cause


@pytest.mark.parametrize("key", ["basepath", "__class__", "raw_data", "name", "Location"])
def test_keys_that_onnx_does_not_know_are_refused(key, tmp_path, outside):
    with pytest.raises(SourceError, match="which ONNX does not know"):
        bring_in(tmp_path, **{key: "x"})


def test_weights_beside_the_model_are_taken_along(tmp_path, outside):
    assert bring_in(tmp_path).signature.output("y").shape == (-1, 3)
