# SPDX-License-Identifier: Apache-2.0
"""Whatever lies in a repository, validation answers with diagnostics and never with an exception."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_tool.errors import RepositoryError
from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Severity, examine, render_json, render_text, validate
from repo_tool.rules.excerpts import SourceLines


def errors_of(repository):
    report = examine(ModelRepository(repository), releases=[release()])
    render_text(report, sources=SourceLines(repository), width=80).encode()
    render_json(report).encode()
    return {diagnostic.code for diagnostic in report.diagnostics if diagnostic.severity is Severity.ERROR}


@pytest.fixture
def write(tmp_path):
    """Write one model called ``m`` and give the codes of its errors."""

    def written(config, **files):
        model = tmp_path / "m"
        model.mkdir()
        (model / "config.pbtxt").write_bytes(config)
        for name, content in files.items():
            path = model / "1" / name.replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return errors_of(tmp_path)

    return written


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(bytes(range(256)) * 8, id="binary"),
        pytest.param("\ufeffmax_batch_size: 1".encode(), id="a byte order mark"),
        pytest.param("max_batch_size: 1".encode("utf-16"), id="UTF-16"),
        pytest.param(b"max_batch_size: 1\0", id="a zero byte"),
        pytest.param(b'input [ { name: "x', id="half a file"),
        pytest.param(b"dynamic_batching { default_queue_policy {" * 3000, id="nested without end"),
        pytest.param(b"instance_group [ { kind: 99 } ]", id="an enum's unknown number"),
        pytest.param(b"max_batch_size: 99999999999", id="a number too large"),
        pytest.param(b"#" * 5_000_000, id="too large a file"),
    ],
)
def test_a_config_that_cannot_be_read_is_one_error(write, config):
    assert write(config) == {"CFG101"}


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no protobuf", os.urandom(512)], ids=["empty", "another format", "noise"]
)
def test_a_file_that_is_no_onnx_model_is_one_error(write, content):
    assert write(b'backend: "onnxruntime"', model_onnx=content) == {"SIG101"}


@pytest.mark.parametrize("content", [b"import (", b"import os \x00", b"\xff\xfe", b"class Model: pass"])
def test_a_python_file_that_is_no_model_is_one_error(write, content):
    assert write(b'backend: "python"', model_py=content) == {"SIG211"}


@pytest.mark.parametrize(
    "content",
    [
        b"from elsewhere import TritonPythonModel",
        b"from elsewhere import *",
        b"import elsewhere\nglobals()['Triton' + 'PythonModel'] = elsewhere.Model",
        b"try:\n    class TritonPythonModel: pass\nexcept OSError: pass",
        b"# " + b"(" * 500,
    ],
)
def test_a_python_file_that_may_be_a_model_is_left_to_python(write, content):
    assert write(b'backend: "python"', model_py=content) <= ({"SIG211"} if content.startswith(b"#") else set())


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_config_that_is_no_file_counts_as_missing(tmp_path, make):
    (tmp_path / "m").mkdir()
    make(tmp_path / "m" / "config.pbtxt")
    assert errors_of(tmp_path) - {"REP118"} == {"REP101"}


def test_hidden_and_oddly_named_folders_are_models_without_a_configuration(tmp_path):
    for name in (".git", "line\nbreak", "umlaut-ä", os.fsdecode(b"bytes-\xff")):
        (tmp_path / name).mkdir()
    assert errors_of(tmp_path) == {"REP101", "SEC101"}


def test_text_never_carries_control_characters_from_names(tmp_path):
    (tmp_path / "\x1b[2Jgone").mkdir()
    text = render_text(examine(ModelRepository(tmp_path), releases=[release()]))
    assert "\x1b" not in text
    assert "\\x1b[2Jgone/config.pbtxt" in text


def test_a_repository_that_is_a_file_is_the_users_mistake(tmp_path):
    (tmp_path / "models").write_text("")
    with pytest.raises(RepositoryError):
        validate(ModelRepository(tmp_path / "models"), release=release())


FIELDS = st.sampled_from(
    [
        'name: "m"', 'backend: "onnxruntime"', 'backend: "python"', 'platform: "ensemble"', "max_batch_size: 4",
        'input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]', 'output [ { name: "y" dims: [ -1, 0 ] } ]',
        "input [ { reshape { shape: [ ] } } ]", "dynamic_batching { priority_levels: 3 }", "instance_group [ { } ]",
        'model_warmup { batch_size: 1 inputs { key: "x" value { input_data_file: "../\\000" } } }',
        'ensemble_scheduling { step { model_name: "m" input_map { key: "a" value: "b" } } }',
        'default_model_filename: "\\000"', 'output [ { label_filename: "/etc/passwd" } ]',
        "version_policy { specific { versions: [ 1, -7 ] } }", 'parameters { key: "execution_mode" value { } }',
        "version_policy { latest { num_versions: 4000000000 } }", "response_cache { enable: true }", "}",
        "sequence_batching { }", "model_transaction_policy { decoupled: true }",
    ]
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    lines=st.lists(FIELDS, max_size=8), noise=st.text(max_size=10), folder=st.sampled_from(["1", "01", "2x", "warmup"])
)
def test_no_configuration_makes_validation_fail(lines, noise, folder):
    with tempfile.TemporaryDirectory() as repository:
        model = Path(repository, "m")
        (model / folder).mkdir(parents=True)
        (model / folder / "model.onnx").write_bytes(noise.encode("utf-8", "replace"))
        (model / "config.pbtxt").write_text("\n".join([*lines, f"# {noise}"]), encoding="utf-8", errors="replace")
        errors_of(Path(repository))


def test_a_number_that_names_nothing_and_that_triton_takes_is_a_warning(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.pbtxt").write_text("optimization { priority: 99 }")
    found = validate(ModelRepository(tmp_path), release=release())
    assert [(each.code, each.severity) for each in found] == [("REP117", Severity.WARNING)]


@pytest.mark.parametrize(
    "content", [b"# caf\xe9\nclass TritonPythonModel: pass", b"\xef\xbb\xbfclass TritonPythonModel: pass"]
)
def test_python_that_python_reads_is_no_error(write, content):
    assert write(b'backend: "python"', model_py=content) == set()


@pytest.mark.parametrize(
    "content", [b"return 1", b"x = 'caf\xe9'", b"def f(a, a): pass", b"class TritonPythonModel: x ="]
)
def test_python_that_only_parses_is_an_error(write, content):
    assert write(b'backend: "python"', model_py=content) == {"SIG211"}


def test_a_repository_a_level_too_high_says_so(tmp_path):
    (tmp_path / "repository" / "m").mkdir(parents=True)
    (tmp_path / "repository" / "m" / "config.pbtxt").touch()
    (found,) = (each for each in validate(ModelRepository(tmp_path), release=release()) if each.code == "REP101")
    assert "holds model directories itself" in found.cause
