# SPDX-License-Identifier: Apache-2.0
"""Each configuration in configs/ is held to the rules as config.pbtxt is, with its own path."""

import pytest

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Severity, find_rule, validate
from repo_tool.rules.subjects import RepositorySubject
from support.rule_cases import RuleCase


@pytest.fixture
def model(tmp_path):
    """A good ONNX model whose variants the tests write."""
    folder = RuleCase("SIG108", "good").write(tmp_path) / "linear"
    (folder / "configs").mkdir()
    return folder


def found_in(repository):
    return [
        (each.code, each.path, each.line)
        for each in validate(ModelRepository(repository), release=release())
        if each.severity is Severity.ERROR
    ]


def write(model, name, change=lambda text: text):
    (model / "configs" / f"{name}.pbtxt").write_text(change((model / "config.pbtxt").read_text()))


def test_a_good_variant_is_silent(model):
    write(model, "same")
    write(model, "small", lambda text: text.replace("max_batch_size: 4", "max_batch_size: 1"))
    assert found_in(model.parent) == []


@pytest.mark.parametrize(
    ("code", "line", "change"),
    [
        ("CFG101", 7, lambda text: text + "max_batchsize: 1\n"),
        ("REP102", 7, lambda text: text + 'name: "another"\n'),
        ("REP103", 7, lambda text: text + "version_policy { specific { versions: [ 7 ] } }\n"),
        ("REP105", 4, lambda text: text.replace("dims: [ 2 ]", 'dims: [ 2 ] label_filename: "labels.txt"')),
        ("SIG108", 3, lambda text: text.replace("dims: [ 4 ]", "dims: [ 5 ]")),
        ("SIG106", 3, lambda text: text.replace("TYPE_FP32 dims: [ 4 ]", "TYPE_FP64 dims: [ 4 ]")),
    ],
)
def test_a_bad_variant_is_told_by_its_own_path_and_line(model, code, line, change):
    write(model, "good")
    write(model, "bad", change)
    assert found_in(model.parent) == [(code, "linear/configs/bad.pbtxt", line)]


def read_by(code, repository):
    """The models whose configuration a rule about the repository has read."""
    subject = RepositorySubject(ModelRepository(repository), release("24.10"))
    found = list(find_rule(code).run(subject))
    return found, {model.name for model in subject.own_models() if "_parsed" in vars(model)}


def test_where_nobody_has_variants_no_configuration_is_read_to_know(model):
    assert read_by("REP111", model.parent) == ([], set())
    write(model, "gpu")
    assert read_by("REP111", model.parent) == ([], {model.name})


def test_what_both_have_of_the_model_file_is_told_once(model):
    (model / "1" / "model.onnx").write_bytes(b"")
    write(model, "same")
    assert found_in(model.parent) == [("SIG101", "linear/1/model.onnx", None)]


def test_a_comment_in_a_variant_suppresses_there_only(model):
    bad = (model / "config.pbtxt").read_text().replace("max_batch_size: 4", "max_batch_size: -1")
    write(model, "first", lambda text: bad)
    write(model, "second", lambda text: f"# repo-tool: allow-model CFG103 because it is a test\n{bad}")
    assert [path for code, path, _ in found_in(model.parent) if code == "CFG103"] == ["linear/configs/first.pbtxt"]


def test_an_ensemble_is_seen_beside_the_variants_that_serve_with_it(tmp_path):
    RuleCase("REP116", "good").write(tmp_path)
    for model in ("chain", "echo"):
        (tmp_path / model / "configs").mkdir()
    write(tmp_path / "chain", "wide", lambda text: text.replace("dims: [ 4 ]", "dims: [ 8 ]"))
    write(tmp_path / "echo", "wide", lambda text: text.replace("dims: [ 4 ]", "dims: [ 8 ]"))
    assert found_in(tmp_path) == []
    (tmp_path / "echo" / "configs" / "wide.pbtxt").unlink()
    assert {path for _, path, _ in found_in(tmp_path)} == {"chain/configs/wide.pbtxt"}


def test_a_variant_for_gpus_may_ask_for_them(model):
    write(model, "gpu", lambda text: text.replace("KIND_CPU", "KIND_GPU"))
    assert "CFG302" not in {each.code for each in validate(ModelRepository(model.parent), release=release())}
