# SPDX-License-Identifier: Apache-2.0
"""repo-tool validate and repo-tool rule, as a person types them."""

import json

import pytest

from repo_tool.rules import RULES
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
    assert shown.stdout.splitlines()[-1].startswith("1 model, 1 error")


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


def test_json_is_one_object_and_has_two_names(bad):
    shown, again = repo_tool("validate", bad, "--format", "json"), repo_tool("validate", bad, "--json")
    document = json.loads(shown.stdout)
    assert (shown.returncode, document["models"], document["errors"]) == (1, 1, 1)
    assert document["diagnostics"][0]["code"] == "SIG108"
    assert document["diagnostics"] == json.loads(again.stdout)["diagnostics"]


@pytest.mark.parametrize(
    ("output_format", "beginning"),
    [
        ("text", "bad/linear/config.pbtxt:3:42: SIG108"),
        ("json", "{"),
        ("sarif", "{"),
        ("junit", "<?xml"),
        ("github", "::err"),
    ],
)
def test_a_report_can_be_a_file(bad, tmp_path, output_format, beginning):
    shown = repo_tool("validate", "bad", "--format", output_format, "--output", "report", cwd=tmp_path)
    assert shown.returncode == 1
    assert shown.stdout.startswith("1 model, 1 error")
    assert (tmp_path / "report").read_text().startswith(beginning)


def test_paths_for_code_hosts_begin_at_the_work_tree(bad, tmp_path):
    (tmp_path / ".git").mkdir()
    shown = repo_tool("validate", ".", "--format", "github", cwd=bad)
    assert shown.stdout.startswith("::error file=bad/linear/config.pbtxt,line=3,col=42,")


def test_each_release_is_checked_and_a_finding_says_for_which_it_holds(tmp_path):
    repository = RuleCase("REL106", "bad").write(tmp_path)
    shown = repo_tool("validate", repository, "--release", "24.10", "--release", "26.07", "--json")
    found = json.loads(shown.stdout)
    assert found["releases"] == ["24.10", "26.07"]
    assert [(each["code"], each["releases"]) for each in found["diagnostics"]] == [
        ("SEC001", ["24.10"]),
        ("REL106", ["24.10"]),
    ]


def test_the_report_can_be_limited_to_models(tmp_path):
    for code in ("SIG108", "CFG103"):
        RuleCase(code, "bad").write(tmp_path)
    shown = repo_tool("validate", tmp_path, "--model", "echo")
    assert "CFG103" in shown.stdout
    assert "SIG108" not in shown.stdout
    assert "1 model, 1 error" in shown.stdout
    wrong = repo_tool("validate", tmp_path, "--model", "ecko")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean echo?" in wrong.stderr


def test_a_project_decides_and_the_command_line_wins(bad, tmp_path):
    section = '[tool.repo-tool.validate]\nignore = ["SIG"]\nrelease = "25.05"\nstrict = true\n'
    (tmp_path / "pyproject.toml").write_text(section)
    shown = repo_tool("validate", bad)
    assert (shown.returncode, "SEC001" in shown.stdout, "SIG108" in shown.stdout) == (1, True, False)
    assert repo_tool("validate", bad, "--no-strict").returncode == 0
    assert "SIG108" in repo_tool("validate", bad, "--ignore", "SEC").stdout
    (tmp_path / "pyproject.toml").write_text('[tool.repo-tool.validate.per-model-ignores]\n"lin*" = ["SIG108"]\n')
    shown = repo_tool("validate", bad)
    assert (shown.returncode, "1 model, 1 suppressed (" in shown.stdout) == (0, True)
    (tmp_path / "pyproject.toml").write_text("[tool.repo-tool.validate]\nstrickt = true\n")
    shown = repo_tool("validate", bad)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "did you mean 'strict'?" in shown.stderr


def test_a_comment_with_a_reason_suppresses(bad):
    config = bad / "linear" / "config.pbtxt"
    lines = config.read_text().splitlines()
    lines[2] += "  # repo-tool: allow SIG108 because the client pads"
    config.write_text("\n".join(lines))
    shown = repo_tool("validate", bad, "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["suppressed"][0]["reason"] == "the client pads"


def test_explain_shows_what_a_client_sends(good):
    shown = repo_tool("validate", good, "--explain")
    assert shown.returncode == 0
    assert "[batch 1..4, 4]" in shown.stdout
    assert json.loads(repo_tool("validate", good, "--explain", "--json").stdout)["explain"][0]["send"] == [
        {"name": "x", "datatype": "FP32", "shape": "[batch 1..4, 4]", "optional": False, "remarks": []}
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--explain", "--format", "sarif"], "--explain has no place in sarif"),
        (["--output", "nowhere/report"], "cannot be written"),
        (["--json", "--format", "sarif"], "--json and --format sarif"),
    ],
)
def test_what_does_not_go_together_is_a_mistake(good, tmp_path, arguments, words):
    shown = repo_tool("validate", good, *arguments, cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (2, "") or "--json" in arguments
    assert words in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_screen_that_knows_only_ascii_gets_escapes(tmp_path):
    (tmp_path / "models" / "模型").mkdir(parents=True)
    shown = repo_tool("validate", tmp_path / "models", PYTHONIOENCODING="ascii")
    assert shown.returncode == 1
    assert "\\u6a21\\u578b/config.pbtxt: REP101 error" in shown.stdout


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


def test_live_loads_what_every_release_loads(tmp_path):
    repository = RuleCase("REL101", "bad").write(tmp_path)  # its opset is too new for one of the two
    shown = repo_tool("validate", repository, "--release", "26.07", "--release", "24.10", "--live", "--json")
    (verdict,) = json.loads(shown.stdout)["live"]
    assert (verdict["loads"], verdict["codes"], verdict["disagreement"]) == (False, ["REL101"], False)


def test_live_marks_what_no_rule_foresaw(tmp_path):
    repository = RuleCase("SIG108", "good").write(tmp_path)
    (repository / "linear" / "batchstrategy.so").write_text("no library")
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


def test_a_rule_is_explained():
    shown = repo_tool("rule", "ens103")
    assert shown.returncode == 0
    assert shown.stdout.startswith("ENS103 (error): A step asks for version -1")
    assert "\nWrong:\n\n    " in shown.stdout
    assert "# repo-tool: allow ENS103 because" in shown.stdout
    facts = json.loads(repo_tool("rule", "ens103", "--json").stdout)
    assert (facts["code"], facts["severity"]) == ("ENS103", "error")
    assert "model_version: -1" in facts["right"]
    assert repo_tool("rule").returncode == 2
    assert repo_tool("rule", "XYZ1").returncode == 2


def test_every_rule_is_listed():
    listed = repo_tool("rule", "--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [rule.code for rule in RULES]
    assert [facts["code"] for facts in json.loads(repo_tool("rule", "--list", "--json").stdout)] == [
        rule.code for rule in RULES
    ]


def test_a_release_says_what_it_loads_and_lacks():
    facts = json.loads(repo_tool("release", "24.10", "--json").stdout)
    assert (facts["triton_version"], facts["max_onnx_opset"], facts["python_version"]) == ("2.51.0", 21, "3.10")
    assert "CVE-2025-23316" in {found["cve"] for found in facts["vulnerabilities"]}
    assert "CVE-2025-23316" in repo_tool("release", "24.10").stdout
    assert len(json.loads(repo_tool("release", "--json").stdout)) > 30
    assert repo_tool("release", "24.1").returncode == 2
