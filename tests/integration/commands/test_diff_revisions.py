# SPDX-License-Identifier: Apache-2.0
"""Operands of ``repo-tool diff`` that lie in Git: nothing is left out, and models are called as they are."""

import os
import subprocess

import pytest

from repo_tool.errors import ConfigError, RepositoryError
from repo_tool.workflows.diff_repositories import diff
from support.command import environment

CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "words/en/short/labels.txt" }
"""
SMALLER = CONFIG.replace("size: 8", "size: 4")
LABELS = "words/en/short/labels.txt"


def git(*arguments):
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *who, *arguments], env=environment(), check=True, capture_output=True)


def commit():
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", "one")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def top(tmp_path, monkeypatch):
    """A working tree with the models `m` and `2024` in `models`, all of it in Git."""
    top = tmp_path / "top"
    for name in ("m", "2024"):
        write(top / "models" / name / "config.pbtxt", CONFIG)
        write(top / "models" / name / LABELS, "no\nyes\n")
        write(top / "models" / name / "1" / "model.py", "pass\n")
    monkeypatch.chdir(top)
    git("init", "--quiet")
    commit()
    return top


def breaking(old, new):
    return {
        (model.name, change.path)
        for model in diff(old, new).models
        for change in model.changes
        if change.effect.value == "breaking"
    }


def test_a_revision_differs_in_nothing_from_what_was_checked_out(top):
    assert diff("HEAD:models", "models").to_dict()["models"] == []
    assert diff("HEAD:models", "models").compared == 2


@pytest.mark.parametrize("model", ["m", "2024"])
def test_every_model_is_compared_whatever_its_name(top, model):
    write(top / "models" / model / "config.pbtxt", SMALLER)
    assert breaking("HEAD:models", "models") == {(model, "max_batch_size")}


def test_labels_are_compared_in_whatever_folder_of_the_model_they_are(top):
    write(top / "models" / "m" / LABELS, "yes\nno\n")
    expected = {("m", "output[0].label_filename")}
    assert breaking("HEAD:models", "models") == expected
    assert breaking("HEAD:models/m", "models/m") == expected
    assert breaking("HEAD:models/m/config.pbtxt", "models/m/config.pbtxt") == expected


def test_labels_in_a_folder_of_digits_are_compared_too(top):
    write(top / "models" / "m" / "config.pbtxt", CONFIG.replace(LABELS, "1/labels.txt"))
    write(top / "models" / "m" / "1" / "labels.txt", "no\n")
    commit()
    write(top / "models" / "m" / "1" / "labels.txt", "yes\n")
    assert breaking("HEAD:models", "models") == {("m", "output[0].label_filename")}


def test_a_large_configuration_is_compared(top):
    padding = "# words\n" * 200_000
    write(top / "models" / "m" / "config.pbtxt", padding + CONFIG)
    commit()
    write(top / "models" / "m" / "config.pbtxt", SMALLER)
    assert breaking("HEAD:models", "models") == {("m", "max_batch_size")}


def test_a_label_file_that_went_breaks_the_model(top):
    (top / "models" / "m" / LABELS).unlink()
    assert breaking("HEAD:models", "models") == {("m", "output[0].label_filename")}
    assert breaking("models", "HEAD:models") == set()


def test_links_within_the_revision_are_followed(top):
    write(top / "shared" / "small.pbtxt", CONFIG)
    (top / "models" / "linked" / "configs").mkdir(parents=True)
    (top / "models" / "linked" / "config.pbtxt").symlink_to("../../shared/small.pbtxt")
    (top / "models" / "linked" / "configs" / "gpu.pbtxt").symlink_to("../config.pbtxt")
    (top / "models" / "twin").symlink_to("m")
    commit()
    assert diff("HEAD:models", "models").compared == 4
    write(top / "shared" / "small.pbtxt", SMALLER)
    variants = {"linked", "linked (configs/gpu.pbtxt)"}
    assert breaking("HEAD:models", "models") == {(name, "max_batch_size") for name in variants}


@pytest.mark.parametrize(
    ("target", "cause"),
    [("/etc/hostname", "does not keep"), ("../../../out.pbtxt", "out of what Git keeps"), ("config.pbtxt", "circle")],
)
def test_a_link_that_git_alone_cannot_follow_is_told(top, target, cause):
    (top / "models" / "linked").mkdir()
    (top / "models" / "linked" / "config.pbtxt").symlink_to(target)
    commit()
    with pytest.raises(RepositoryError) as refused:
        diff("HEAD:models", "models")
    assert cause in refused.value.cause


def test_a_model_in_a_submodule_is_told(top, tmp_path):
    write(tmp_path / "other" / "config.pbtxt", CONFIG)
    git("-C", str(tmp_path / "other"), "init", "--quiet")
    git("-C", str(tmp_path / "other"), "add", "config.pbtxt")
    git("-C", str(tmp_path / "other"), "commit", "--quiet", "--message", "one")
    git("submodule", "--quiet", "add", str(tmp_path / "other"), "models/other")
    commit()
    with pytest.raises(RepositoryError) as refused:
        diff("HEAD:models", "models")
    assert "submodule" in refused.value.cause


def test_a_pointer_of_git_lfs_is_not_taken_for_labels(top):
    write(top / "models" / "m" / LABELS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    commit()
    write(top / "models" / "m" / LABELS, "no\nyes\n")
    with pytest.raises(RepositoryError) as refused:
        diff("HEAD:models", "models")
    assert "LFS" in refused.value.cause


@pytest.mark.parametrize("old", ["HEAD:models", "models"])
@pytest.mark.parametrize("as_link", [True, False])
def test_labels_outside_of_the_model_are_told_and_not_read(top, old, as_link):
    write(top / "models" / "labels.txt", "secret\n")
    if as_link:
        (top / "models" / "m" / LABELS).unlink()
        (top / "models" / "m" / LABELS).symlink_to("../../../../labels.txt")
    else:
        write(top / "models" / "m" / "config.pbtxt", CONFIG.replace(LABELS, "../labels.txt"))
    commit()
    with pytest.raises(RepositoryError) as refused:
        diff(old, old)
    assert "outside of the model's folder" in refused.value.fact


@pytest.mark.parametrize(
    ("folder", "old", "new"),
    [
        (".", "HEAD:models/m/config.pbtxt", "models/m/config.pbtxt"),
        (".", "HEAD:./models/m", "models/m"),
        ("models/m", "HEAD:config.pbtxt", "config.pbtxt"),
        ("models/m", "HEAD:", "."),
        ("models/m", "HEAD:.", "../m"),
        ("models/m", "HEAD:..", "../../models"),
        ("models/m/1", "HEAD:..", "../../m"),
        ("models/m/1", "HEAD:../config.pbtxt", "../config.pbtxt"),
        ("models", "HEAD:m/../", "."),
    ],
)
def test_an_unchanged_model_is_called_as_its_folder_is(top, monkeypatch, folder, old, new):
    monkeypatch.chdir(top / folder)
    told = diff(old, new)
    assert told.compared > 0
    assert told.models == ()


def test_a_model_at_the_top_is_called_as_the_working_tree_is(tmp_path, monkeypatch):
    write(tmp_path / "churn" / "config.pbtxt", CONFIG)
    monkeypatch.chdir(tmp_path / "churn")
    git("init", "--quiet")
    commit()
    assert diff("HEAD:", ".").models == ()
    assert diff("HEAD:config.pbtxt", "config.pbtxt").models == ()


@pytest.mark.parametrize(
    "operand",
    [
        "a:" + "b" * 300,
        "HEAD:" + "b" * 300,
        "b" * 300,
        "HEAD:../..",
        "HEAD:nowhere",
        "none:models",
        "HEAD:models/m/1/x",
    ],
)
def test_what_is_not_there_is_said(top, operand):
    for pair in ((operand, "models"), ("models", operand)):
        with pytest.raises(RepositoryError):
            diff(*pair)


def test_what_git_keeps_under_a_name_of_bytes_is_called_so(top):
    name = os.fsdecode(b"b\xff")
    write(top / "models" / name / "config.pbtxt", SMALLER)
    commit()
    write(top / "models" / name / "config.pbtxt", SMALLER.replace("4", "2", 1))
    assert breaking("HEAD:models", "models") == {(name, "max_batch_size")}


def test_a_configuration_of_a_revision_that_does_not_parse_is_told(top):
    write(top / "models" / "m" / "config.pbtxt", 'output { label_filename: "x" } nonsense')
    commit()
    with pytest.raises(ConfigError, match=r"m/config.pbtxt"):
        diff("HEAD:models", "models")
