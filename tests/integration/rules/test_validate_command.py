# SPDX-License-Identifier: Apache-2.0
"""repo-tool validate and repo-tool rule, as a person types them."""

import json

import pytest

from support.command import repo_tool
from support.rule_cases import RuleCase


@pytest.fixture
def bad(tmp_path):
    return RuleCase("SIG108", "bad").write(tmp_path / "bad")


@pytest.fixture
def good(tmp_path):
    return RuleCase("SIG108", "good").write(tmp_path / "good")


def test_a_clean_repository_leaves_with_0(good):
    shown = repo_tool("validate", good)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("1 model, nothing found (")


def test_an_error_leaves_with_1_and_its_words(bad):
    shown = repo_tool("validate", bad)
    assert shown.returncode == 1
    assert "/linear/config.pbtxt:3:42: SIG108 error: input[0] 'x' is declared" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("1 model, 1 error (")


def test_warnings_count_only_when_strict(good):
    arguments = ("validate", good, "--release", "25.05")
    assert repo_tool(*arguments).returncode == 0
    assert repo_tool(*arguments, "--strict").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--ignore", "SIG108"], 0),
        (["--ignore", "sig"], 0),
        (["--select", "CFG"], 0),
        (["--select", "CFG", "--select", "SIG108"], 1),
    ],
)
def test_rules_can_be_chosen(bad, arguments, code):
    assert repo_tool("validate", bad, *arguments).returncode == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no model repository"),
        (["--release", "26.7"], "there is no Triton release '26.7'"),
        (["--select", "CFG9"], "there is no rule 'CFG9'"),
    ],
)
def test_a_mistake_leaves_with_2_and_one_message(tmp_path, arguments, words):
    (tmp_path / "model_repository").mkdir()
    shown = repo_tool("validate", *arguments, cwd=tmp_path)
    assert shown.returncode == 2
    assert words in shown.stderr
    assert "Traceback" not in shown.stderr


def test_json_is_one_object(bad):
    shown = repo_tool("validate", bad, "--format", "json")
    document = json.loads(shown.stdout)
    assert (shown.returncode, document["models"], document["errors"]) == (1, 1, 1)
    assert document["diagnostics"][0]["code"] == "SIG108"


def test_live_shows_tritons_words_beside_ours_and_agrees(tmp_path):
    RuleCase("SIG108", "bad").write(tmp_path)
    RuleCase("ENS103", "bad").write(tmp_path)
    shown = repo_tool("validate", tmp_path, "--live", "--format", "json")
    live = {verdict["model"]: verdict for verdict in json.loads(shown.stdout)["live"]}
    assert shown.returncode == 1
    assert "the model expects 2 dimensions" in live["linear"]["refusal"]
    assert live["linear"]["codes"] == ["SIG108"]
    assert "required version 0 is not loaded" in live["chain"]["refusal"]
    assert live["first"]["loads"]
    assert not any(verdict["disagreement"] for verdict in live.values())


def test_live_marks_what_no_rule_foresaw(tmp_path):
    repository = RuleCase("SIG108", "good").write(tmp_path)
    config = repository / "linear" / "config.pbtxt"
    accelerator = 'optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }'
    config.write_text(config.read_text() + accelerator)
    shown = repo_tool("validate", repository, "--live")
    assert shown.returncode == 1
    assert "DISAGREEMENT: no rule foresaw it" in shown.stdout


def test_live_goes_on_after_a_model_that_ends_the_server(tmp_path):
    repository = RuleCase("REP105", "bad").write(tmp_path)
    (repository / "linear").rename(repository / "a_crash")
    config = repository / "a_crash" / "config.pbtxt"
    config.write_text(config.read_text().replace('"1/labels.txt"', '"1"'))  # a folder as label file
    RuleCase("SIG108", "good").write(repository)
    shown = repo_tool("validate", repository, "--live", "--format", "json")
    crashed, fine = json.loads(shown.stdout)["live"]
    assert "the server ended" in crashed["refusal"]
    assert not crashed["disagreement"]
    assert fine["loads"]


def test_a_rule_is_explained(tmp_path):
    shown = repo_tool("rule", "ens103")
    assert shown.returncode == 0
    assert shown.stdout.startswith("ENS103 (error)\n\nA step asks for version -1")
    assert "Wrong::" in shown.stdout
    assert "SIG108  error" in repo_tool("rule", "--list").stdout
    assert repo_tool("rule").returncode == 2
    assert repo_tool("rule", "XYZ1").returncode == 2
