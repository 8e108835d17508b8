# SPDX-License-Identifier: Apache-2.0
"""Every rule fires on its bad case, is silent on its good one, and explains itself."""

import re

import pytest

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import RULES, Severity, validate
from support.rule_cases import CASES, rule_cases

# One shows only where a package is missing, one needs two repositories; tests/unit and tests/integration have them.
WITHOUT_CASES = {"SIG001", "REP122"}


def find(case, tmp_path):
    return validate(ModelRepository(case.write(tmp_path / "repository")), release=release(case.release))


@pytest.mark.parametrize("case", rule_cases("bad"), ids=lambda case: case.code)
def test_a_rule_fires_on_its_bad_case_and_no_other_error_does(case, tmp_path):
    found = find(case, tmp_path)
    assert case.code in {diagnostic.code for diagnostic in found}
    assert {diagnostic.code for diagnostic in found if diagnostic.severity is Severity.ERROR} <= {case.code}


@pytest.mark.parametrize("case", rule_cases("good"), ids=lambda case: case.code)
def test_a_rule_is_silent_on_its_good_case_and_so_is_every_error(case, tmp_path):
    found = find(case, tmp_path)
    assert case.code not in {diagnostic.code for diagnostic in found}
    assert not [diagnostic for diagnostic in found if diagnostic.severity is Severity.ERROR]


def is_written(diagnostic, repository):
    """Whether the field that a finding is about, or what it is in, stands in the configuration."""
    outermost = re.split(r"[.\[]", diagnostic.field)[0]
    if not outermost or not diagnostic.path.endswith(".pbtxt"):
        return False
    return re.search(rf"^\s*{outermost}\b", (repository / diagnostic.path).read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("case", rule_cases("bad"), ids=lambda case: case.code)
def test_a_finding_says_where_what_why_and_how_to_mend_it(case, tmp_path):
    for diagnostic in find(case, tmp_path):
        assert diagnostic.line is not None or not is_written(diagnostic, tmp_path / "repository")
        assert all((diagnostic.message, diagnostic.cause, diagnostic.fix))
        assert not diagnostic.message.endswith(".")
        assert not diagnostic.path.startswith("/")


def test_every_rule_has_its_cases():
    assert {folder.name for folder in CASES.iterdir()} == {rule.code for rule in RULES} - WITHOUT_CASES


def test_codes_are_unique_and_in_order_within_a_family():
    codes = [rule.code for rule in RULES]
    assert len(codes) == len(set(codes))
    for family in {code[:3] for code in codes}:
        numbers = [code for code in codes if code.startswith(family)]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_documents_what_is_wrong_before_what_is_right(rule):
    title, blank, *_ = rule.documentation.splitlines()
    assert title.endswith(".")
    assert blank == ""
    assert re.search(r"\nWrong::\n\n    .*\nRight::\n\n    ", rule.documentation, re.DOTALL)
