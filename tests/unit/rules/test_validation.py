# SPDX-License-Identifier: Apache-2.0
"""What validate looks at, what it leaves out, and what it says when onnx is missing."""

import re
import shutil
import subprocess
import sys

import pytest

from repo_tool.errors import UserMistakeError
from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import RULES, Severity, find_rule, validate
from repo_tool.rules.subjects import RepositorySubject
from support.rule_cases import RuleCase, rule_cases


@pytest.fixture
def repository(tmp_path):
    """One model whose input dims are wrong, and nothing else."""
    return ModelRepository(RuleCase("SIG108", "bad").write(tmp_path / "models"))


def test_only_the_models_asked_for_are_reported(tmp_path):
    for code in ("CFG103", "SIG108"):
        RuleCase(code, "bad").write(tmp_path)
    found = validate(ModelRepository(tmp_path), release=release(), models=["echo"])
    assert {diagnostic.model for diagnostic in found} == {"echo"}


def test_an_ensemble_may_refer_to_a_repository_beside(tmp_path):
    for folder, kept in (("staged", "chain"), ("served", "")):
        written = RuleCase("ENS101", "good").write(tmp_path / folder)
        for model in ("chain", "first", "second"):
            if (folder == "staged") == (model != kept):
                shutil.rmtree(written / model)
    staged, served = ModelRepository(tmp_path / "staged"), ModelRepository(tmp_path / "served")
    assert {found.code for found in validate(staged, release=release())} == {"ENS104"}
    assert validate(staged, release=release(), beside=served) == []


def test_a_broken_neighbour_is_not_reported(tmp_path):
    good = ModelRepository(RuleCase("SIG108", "good").write(tmp_path / "mine"))
    bad = ModelRepository(RuleCase("CFG103", "bad").write(tmp_path / "theirs"))
    assert validate(good, release=release(), beside=bad) == []


def test_without_onnx_one_note_says_that_signatures_were_skipped(repository):
    program = (
        "import sys; sys.modules['onnx'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'onnx' else find(name, *rest)\n"
        "from pathlib import Path; from repo_tool.rules import *; from repo_tool.releases import release\n"
        "from repo_tool.repository.layout import ModelRepository\n"
        f"found = validate(ModelRepository(Path({str(repository.path)!r})), release=release())\n"
        "print([(d.code, d.severity.value, d.fix) for d in found])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "[('SIG001', 'note', \"pip install 'triton-repo-tool[onnx]'\")]\n"


def test_validation_loads_no_framework(repository):
    program = (
        "import sys; from pathlib import Path; from repo_tool.rules import *; from repo_tool.releases import release\n"
        "from repo_tool.repository.layout import ModelRepository\n"
        f"validate(ModelRepository(Path({str(repository.path)!r})), release=release())\n"
        "print(sorted({'onnxruntime', 'torch', 'tensorflow', 'sklearn'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_validation_writes_nothing(tmp_path):
    repository = RuleCase("ENS101", "good").write(tmp_path / "models")
    before = sorted((path, path.stat().st_mtime_ns) for path in repository.rglob("*"))
    validate(ModelRepository(repository), release=release())
    assert sorted((path, path.stat().st_mtime_ns) for path in repository.rglob("*")) == before


def test_a_rule_is_found_in_any_case_and_near_codes_are_named():
    assert find_rule("sig108").code == "SIG108"
    with pytest.raises(UserMistakeError) as error:
        find_rule("SIG99")
    assert "SIG" in error.value.next_step


@pytest.mark.parametrize("value", ["22", " 4", "-1", "2abc", "999999999999999999999", "9" * 5000, "four", ""])
def test_integer_parameters_are_read_as_the_backend_reads_them(tmp_path, value):
    repository = RuleCase("CFG601", "good").write(tmp_path)
    config = repository / "linear" / "config.pbtxt"
    config.write_text(
        re.sub(
            r'"execution_mode" value { string_value: "1"',
            f'"inter_op_thread_count" value {{ string_value: "{value}"',
            config.read_text(),
        )
    )
    found = {diagnostic.code for diagnostic in validate(ModelRepository(repository), release=release())}
    expected = {"2abc": {"CFG602"}, "22": set(), " 4": set(), "-1": set()}.get(value, {"CFG601"})
    assert found == expected


def test_every_error_rule_has_a_case_in_which_a_real_triton_is_asked_or_says_why_not():
    unasked = {rule.code for rule in RULES if rule.severity is Severity.ERROR and not rule.embedded_refuses}
    loads_and_never_answers, needs_a_gpu, of_other_builds = (
        {"CFG306", "ENS113", "ENS122"},
        {"CFG702", "CFG703"},
        {"CFG607", "CFG810"},
    )
    unasked -= loads_and_never_answers | needs_a_gpu | of_other_builds
    assert unasked == {
        "REL103",
        "REL105",
        "REL108",
        "SEC101",
        "SEC102",
        "SEC103",
        "SEC104",
        "SEC105",
        "SIG207",
        "SIG210",
        "SIG212",
    }
    assert len(rule_cases("bad")) == len(rule_cases("good"))


@pytest.mark.parametrize(
    ("policy", "codes"),
    [
        ("", set()),
        ("version_policy { }", set()),
        ("version_policy { all { } }", set()),
        ("version_policy { latest { num_versions: 9 } }", set()),
        ("version_policy { latest { } }", {"REP103"}),
        ("version_policy { specific { } }", {"REP103"}),
        ("version_policy { specific { versions: [ 7 ] } }", {"REP103"}),
    ],
)
def test_which_versions_a_policy_loads(tmp_path, policy, codes):
    config = RuleCase("REP103", "good").write(tmp_path) / "linear" / "config.pbtxt"
    config.write_text(re.sub("version_policy.*", policy, config.read_text()))
    assert {found.code for found in validate(ModelRepository(tmp_path), release=release())} == codes


def test_a_file_that_is_no_configuration_excuses_nothing(tmp_path):
    repository = ModelRepository(RuleCase("CFG101", "bad").write(tmp_path / "models"))
    (config,) = repository.path.glob("*/config.pbtxt")
    config.write_text("# repo-tool: allow-model CFG101, REP118 because it loads elsewhere\n" + config.read_text())
    (config.parent / "notes").symlink_to("nowhere")
    found = validate(repository, release=release())
    assert {"CFG101", "REP118", "CFG901"} <= {each.code for each in found}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", (3,)),
        ("version_policy { }", (1, 2, 3)),
        ("version_policy { all { } }", (1, 2, 3)),
        ("version_policy { latest { num_versions: 2 } }", (2, 3)),
        ("version_policy { specific { versions: [ 1, 3 ] } }", (1, 3)),
        ("version_policy { specific { } }", ()),
    ],
)
def test_the_versions_that_triton_serves_are_foreseen(tmp_path, policy, served):
    for version in (1, 2, 3):
        (tmp_path / "echo" / str(version)).mkdir(parents=True)
    (tmp_path / "echo" / "config.pbtxt").write_text(f'backend: "python" {policy}')
    assert RepositorySubject(ModelRepository(tmp_path), release()).models["echo"].served_versions == served
