# SPDX-License-Identifier: Apache-2.0
"""Every fixable rule mends its bad case, and nothing else is worse for it."""

import pytest

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import RULES, Severity, examine, validate
from repo_tool.workflows.fix_repository import apply_fixes, find_fixes
from repo_tool.workflows.settings import ValidateSettings
from support.command import everything_in
from support.rule_cases import RuleCase, rule_cases

FIXABLE = [rule.code for rule in RULES if rule.fixable]
# Their bad cases show what only a person can mend; the tests below have the rest.
BY_HAND = {"CFG402", "ENS109", "REP103"}


def mended(repository, case_release="24.10", **choices):
    """Fix a repository on the disk; what was mended and what is left."""
    place = ModelRepository(repository)
    settings = ValidateSettings(releases=(case_release,), **choices)
    fixes = find_fixes(place, settings)
    apply_fixes(place, fixes)
    return fixes, validate(place, release=release(case_release))


@pytest.mark.parametrize("code", sorted(set(FIXABLE) - BY_HAND))
def test_a_fixable_rule_mends_its_bad_case(code, tmp_path):
    case = RuleCase(code, "bad")
    repository = case.write(tmp_path / "models")
    before = validate(ModelRepository(repository), release=release(case.release))
    fixes, left = mended(repository, case.release)
    assert code in {diagnostic.code for diagnostic in fixes.mended}
    assert code not in {diagnostic.code for diagnostic in left}
    assert {each.code for each in left if each.severity is Severity.ERROR} <= {each.code for each in before}


def test_a_negative_count_goes_since_triton_takes_it_for_an_absent_one(tmp_path):
    repository = RuleCase("CFG305", "bad").write(tmp_path / "models")
    mended(repository)
    (config,) = repository.glob("*/config.pbtxt")
    assert "instance_group [ { kind: KIND_CPU } ]" in config.read_text()


@pytest.mark.parametrize("case", rule_cases("bad"), ids=lambda case: case.code)
def test_only_what_is_fixable_carries_edits_and_a_second_run_has_nothing_to_do(case, tmp_path):
    place = ModelRepository(case.write(tmp_path / "models"))
    found = examine(place, releases=[release(case.release)]).diagnostics
    assert {each.code for each in found if each.edits} <= set(FIXABLE)
    mended(place.path, case.release)
    assert find_fixes(place, ValidateSettings(releases=(case.release,))).diff == ""


@pytest.mark.parametrize("code", FIXABLE)
def test_a_good_case_stays_as_it_is(code, tmp_path):
    case = RuleCase(code, "good")
    repository = case.write(tmp_path / "models")
    before = everything_in(repository)
    fixes, _ = mended(repository, case.release, select=(code,))
    assert fixes.mended == ()
    assert everything_in(repository) == before
