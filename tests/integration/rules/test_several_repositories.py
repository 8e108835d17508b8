# SPDX-License-Identifier: Apache-2.0
"""repo-tool validate on several repositories of one server, and what a real Triton says to them."""

import json
import re
import shutil

import pytest

from support.command import repo_tool
from support.rule_cases import RuleCase

RELEASE = ("--release", "24.10", "--ignore", "SEC001")


@pytest.fixture
def two(tmp_path):
    """An ensemble in ``search``, its models in ``common``, and a model that both have."""
    RuleCase("ENS101", "good").write(tmp_path / "common")
    (tmp_path / "search").mkdir()
    (tmp_path / "common" / "chain").rename(tmp_path / "search" / "chain")
    for folder in ("common", "search"):
        shutil.copytree(tmp_path / "common" / "first", tmp_path / folder / "twin")
    for config in tmp_path.glob("*/twin/config.pbtxt"):
        config.write_text(config.read_text().replace('"first"', '"twin"'))
    return tmp_path


def test_an_ensemble_finds_its_models_in_any_and_a_name_is_in_only_one(two):
    shown = repo_tool("validate", "common", "search", *RELEASE, cwd=two)
    assert shown.returncode == 1
    assert "common/twin: REP122 error: 'twin' is in another repository too: 'search'" in shown.stdout
    assert "search/twin: REP122 error: 'twin' is in another repository too: 'common'" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("5 models in 2 repositories, 2 errors (")
    shutil.rmtree(two / "search" / "twin")
    assert repo_tool("validate", "common", "search", *RELEASE, cwd=two).returncode == 0
    assert "ENS104" in repo_tool("validate", "search", *RELEASE, cwd=two).stdout


@pytest.mark.slow(reason="four commands")
def test_every_format_names_the_repository(two):
    def shown(output_format):
        return repo_tool("validate", "common", "search", *RELEASE, "--format", output_format, cwd=two).stdout

    document = json.loads(shown("json"))
    assert document["repositories"] == ["common", "search"]
    places = [(each["repository"], each["path"]) for each in document["diagnostics"]]
    assert places == [("common", "twin"), ("search", "twin")]
    whole = ["common/twin", "search/twin"]
    (run,) = json.loads(shown("sarif"))["runs"]
    locations = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert [location["artifactLocation"]["uri"] for location in locations] == whole
    assert re.findall(r'file="(.*?)"', shown("junit")) == whole
    assert [line.split(",")[0] for line in shown("github").splitlines()] == [f"::error file={path}" for path in whole]


def test_a_source_line_is_shown_from_its_own_repository(two):
    config = two / "search" / "twin" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size", "max_batch_sise"))
    shown = repo_tool("validate", "common", "search", *RELEASE, cwd=two)
    assert "search/twin/config.pbtxt:" in shown.stdout
    assert "| max_batch_sise" in shown.stdout


def test_a_model_may_be_in_any_but_must_be_in_one(two):
    shown = repo_tool("validate", "common", "search", "--model", "chain", *RELEASE, cwd=two)
    assert (shown.returncode, shown.stdout.startswith("1 model in 2 repositories")) == (0, True)
    wrong = repo_tool("validate", "common", "search", "--model", "chaim", *RELEASE, cwd=two)
    assert wrong.returncode == 2
    assert "no model 'chaim' in 'common' or 'search'" in wrong.stderr
    assert "did you mean chain?" in wrong.stderr


@pytest.mark.slow(reason="three commands")
def test_fixes_reach_each_repository_and_explanations_tell_them_apart(two):
    for config in (two / "common" / "first" / "config.pbtxt", two / "search" / "twin" / "config.pbtxt"):
        config.write_text('name: "other"\n' + config.read_text())
    shutil.rmtree(two / "common" / "twin")
    arguments = ("common", "search", *RELEASE)
    shown = repo_tool("validate", *arguments, "--diff", cwd=two)
    assert shown.returncode == 1
    assert "+++ b/common/first/config.pbtxt" in shown.stdout
    assert "+++ b/search/twin/config.pbtxt" in shown.stdout
    fixed = json.loads(repo_tool("validate", *arguments, "--fix", "--explain", "--json", cwd=two).stdout)
    assert [(each["repository"], each["code"]) for each in fixed["fixed"]] == [
        ("common", "REP102"),
        ("search", "REP102"),
    ]
    assert [(each["repository"], each["model"]) for each in fixed["explain"]] == [
        ("common", "first"),
        ("common", "second"),
        ("search", "chain"),
        ("search", "twin"),
    ]
    assert "nothing fixed" in repo_tool("validate", *arguments, "--fix", cwd=two).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["common", "nowhere"], "no model repository at 'nowhere'"),
        (["common", "./common/../common"], "is given twice"),
    ],
)
def test_what_no_server_can_be_given_is_a_mistake(two, arguments, words):
    shown = repo_tool("validate", *arguments, cwd=two)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert words in shown.stderr


@pytest.mark.slow(reason="two commands")
def test_settings_come_from_one_file(two):
    (two / "common" / "repo-tool.yaml").write_text("validate: {ignore: [REP122, SEC001]}")
    assert repo_tool("validate", "search", "common", "--release", "24.10", cwd=two).returncode == 0
    (two / "search" / "repo-tool.yaml").write_text("validate: {ignore: [SEC001]}")
    shown = repo_tool("validate", "search", "common", cwd=two)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "the repositories have different settings for validate" in shown.stderr


def test_one_server_is_given_all_of_them_and_agrees(two):
    shown = repo_tool("validate", "search", "common", *RELEASE, "--live", "--json", cwd=two)
    live = {(each["repository"], each["model"]): each for each in json.loads(shown.stdout)["live"]}
    assert shown.returncode == 1
    assert {model: each["loads"] for (_, model), each in live.items()} == {
        "chain": True,
        "first": True,
        "second": True,
        "twin": False,
    }
    for repository in ("search", "common"):
        assert "not unique across all model repositories" in live[repository, "twin"]["refusal"]
        assert live[repository, "twin"]["codes"] == ["REP122"]
    assert not any(each["disagreement"] for each in live.values())
