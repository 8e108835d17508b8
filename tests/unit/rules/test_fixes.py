# SPDX-License-Identifier: Apache-2.0
"""What --fix does beyond single rules: several at once, one behind another, and what it leaves alone."""

import subprocess

import pytest

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import validate
from repo_tool.workflows.fix_repository import apply_fixes, find_fixes
from repo_tool.workflows.settings import ValidateSettings
from support.command import everything_in
from support.rule_cases import RuleCase

SETTINGS = ValidateSettings(releases=("24.10",))


@pytest.fixture
def ensemble(tmp_path):
    """Two models and an ensemble of them, all clean."""
    return RuleCase("ENS109", "good").write(tmp_path / "models")


def amend(path, *replacements):
    text = path.read_text()
    for old, new in replacements:
        assert text.count(old) >= 1
        text = text.replace(old, new, 1)
    path.write_text(text)


def fix(repository):
    place = ModelRepository(repository)
    fixes = find_fixes(place, SETTINGS)
    apply_fixes(place, fixes)
    left = {each.code for each in validate(place, release=release("24.10"))}
    return {each.code for each in fixes.mended}, left - {"SEC001"}  # the release's own


def test_many_faults_of_one_file_go_at_once_and_its_comments_stay(ensemble):
    config = ensemble / "first" / "config.pbtxt"
    config.write_text(
        "# ours\n" + config.read_text() + "# the batcher\n"
        "dynamic_batching { preferred_batch_size: [ 64, 2, 128 ] default_priority_level: 3 }  # of ours\n"
        'model_repository_agents { }\nname: "other"\n'
    )
    done, left = fix(ensemble)
    assert done == {"CFG202", "CFG205", "CFG402", "REP102"}
    assert left == set()
    text = config.read_text()
    assert "# the batcher\ndynamic_batching { preferred_batch_size: [ 2 ] }  # of ours\n" in text
    assert 'name: "first"\n' in text
    assert "agents" not in text


def test_an_ensemble_gets_its_versions_and_its_folder(ensemble):
    chain = ensemble / "chain" / "config.pbtxt"
    text = chain.read_text()
    assert "model_version: -1" in text
    chain.write_text(text.replace("model_version: -1", ""))
    for left in (ensemble / "chain" / "1").iterdir():
        left.unlink()
    (ensemble / "chain" / "1").rmdir()
    done, left = fix(ensemble)
    assert {"ENS103", "REP103"} <= done
    assert left == set()
    assert (ensemble / "chain" / "1" / ".gitkeep").is_file()


def test_an_unneeded_entry_goes_and_then_the_step_s_other_one(ensemble):
    """Two tensors that nobody reads; the last entry of a map stays, which would be missed."""
    amend(
        ensemble / "first" / "config.pbtxt",
        ("output [ {", 'output [ { name: "z" data_type: TYPE_FP32 dims: [ 4 ] }, {'),
    )
    amend(
        ensemble / "chain" / "config.pbtxt",
        ("output_map {", 'output_map { key: "z" value: "unread" }\n    output_map {'),
    )
    done, left = fix(ensemble)
    assert (done, left) == ({"ENS109"}, set())
    assert "unread" not in (ensemble / "chain" / "config.pbtxt").read_text()


def test_the_diff_is_what_is_written(ensemble, tmp_path):
    (ensemble / "first" / "config.pbtxt").open("a").write('runtime: "model.py"\n')
    amend(ensemble / "chain" / "config.pbtxt", ("model_version: -1", ""))
    fixes = find_fixes(ModelRepository(ensemble), SETTINGS)
    subprocess.run(["patch", "-p1"], cwd=ensemble, input=fixes.diff, text=True, check=True, capture_output=True)
    patched = everything_in(ensemble)
    for path, (before, _) in fixes.texts.items():
        (ensemble / path).write_text(before)
    apply_fixes(ModelRepository(ensemble), fixes)
    assert everything_in(ensemble) == patched


def test_a_link_is_left_and_what_lies_beside_it_is_mended(ensemble):
    first, second = (ensemble / name / "config.pbtxt" for name in ("first", "second"))
    for path in (first, second):
        amend(path, ("KIND_CPU", "KIND_CPU gpus: [ 0 ]"))
    first.rename(ensemble.parent / "shared.pbtxt")
    first.symlink_to(ensemble.parent / "shared.pbtxt")
    fixes = find_fixes(ModelRepository(ensemble), SETTINGS)
    assert set(fixes.texts) == {"second/config.pbtxt"}


def test_only_the_models_asked_for_are_mended(ensemble):
    for name in ("first", "second"):
        amend(ensemble / name / "config.pbtxt", ("KIND_CPU", "KIND_CPU gpus: [ 0 ]"))
    assert set(find_fixes(ModelRepository(ensemble), SETTINGS, models=["first"]).texts) == {"first/config.pbtxt"}


def test_what_a_project_ignores_is_not_mended(ensemble):
    amend(ensemble / "first" / "config.pbtxt", ("KIND_CPU", "KIND_CPU gpus: [ 0 ]"))
    for settings in (
        ValidateSettings(releases=("24.10",), ignore=("CFG301",)),
        ValidateSettings(releases=("24.10",), model_ignores={"fir*": ("CFG301",)}),
    ):
        assert find_fixes(ModelRepository(ensemble), settings).diff == ""
    amend(
        ensemble / "first" / "config.pbtxt", ("instance_group", "# repo-tool: allow CFG301 because so\ninstance_group")
    )
    assert find_fixes(ModelRepository(ensemble), SETTINGS).diff == ""


def test_a_queue_with_limits_stays_though_nothing_is_batched(ensemble):
    config = ensemble / "first" / "config.pbtxt"
    text = config.read_text()
    amend(config, ("max_batch_size", "# was: max_batch_size"))
    config.open("a").write("dynamic_batching { default_queue_policy { max_queue_size: 8 } }\n")
    before = config.read_text()
    fix(ensemble)
    assert "max_queue_size: 8" in config.read_text()
    assert before != text


def test_a_broken_file_is_left(tmp_path):
    repository = RuleCase("CFG101", "bad").write(tmp_path / "models")
    before = everything_in(repository)
    fix(repository)
    assert everything_in(repository) == before


def test_a_variant_is_mended_in_its_own_file(ensemble):
    configs = ensemble / "first" / "configs"
    configs.mkdir()
    text = (ensemble / "first" / "config.pbtxt").read_text()
    (configs / "cpu.pbtxt").write_text(text.replace("KIND_CPU", "KIND_CPU gpus: [ 0 ]"))
    fix(ensemble)
    assert (configs / "cpu.pbtxt").read_text() == text


def test_a_version_that_somebody_asked_for_is_a_person_s_to_mend(ensemble):
    amend(ensemble / "chain" / "config.pbtxt", ("model_version: -1", "model_version: 7"))
    _, left = fix(ensemble)
    assert left == {"ENS103"}


HIDDEN = """\
backend: "python"
# repo-tool: allow CFG105 because the batcher is ours
dynamic_batching { }
input [ { name: "x" data_type: TYPE_FP32 dims: [ 0 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""


def test_a_comment_at_a_field_that_goes_hides_nothing_of_the_next(tmp_path):
    repository = RuleCase("CFG105", "bad").write(tmp_path / "models")
    (config,) = repository.glob("*/config.pbtxt")
    config.write_text(HIDDEN)
    done, left = fix(repository)
    assert ("CFG201" in done, "CFG105" in left) == (True, True)
    assert config.read_text() == HIDDEN.replace(HIDDEN[len('backend: "python"\n') : HIDDEN.index("input")], "")


def test_a_fix_after_which_a_comment_would_hide_an_error_is_not_made(tmp_path):
    repository = RuleCase("CFG105", "bad").write(tmp_path / "models")
    (config,) = repository.glob("*/config.pbtxt")
    text = HIDDEN.replace("dynamic_batching { }\n", "dynamic_batching { } ").replace("# repo-tool", "# repo tool")
    config.write_text(text.replace("input [ {", "input [ { # repo-tool: allow CFG105 because so\n"))
    fixes = find_fixes(ModelRepository(repository), SETTINGS)
    assert "CFG201" not in {each.code for each in fixes.mended}
