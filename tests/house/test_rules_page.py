# SPDX-License-Identifier: Apache-2.0
"""docs/rules.md is what the rules say of themselves."""

from pathlib import Path

from repo_tool.rules import RULES
from repo_tool.rules.render_page import Disagreement, known_disagreements, render_page

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def test_the_page_is_current():
    assert PAGE.read_text() == render_page(RULES, known_disagreements()), "make it anew: make docs"


def test_every_rule_has_its_section_with_wrong_before_right():
    page = PAGE.read_text()
    for rule in RULES:
        section = page.partition(f"\n### {rule.code}: ")[2].partition("\n### ")[0]
        assert 0 < section.index("\nWrong:\n") < section.index("\nRight:\n"), rule.code


def test_disagreements_are_told_with_their_reason():
    one = Disagreement(
        codes=("CFG101",), configuration="a|b", rules_say="loads", triton_says="refuses", reason="nobody writes it"
    )
    page = render_page(RULES[:1], [one])
    assert "## Remaining disagreements with Triton" in page
    assert "| CFG101 | a\\|b | loads | refuses | nobody writes it |" in page
    assert "None is known." in render_page(RULES[:1], [])


def test_known_disagreements_name_rules_that_there_are():
    codes = {rule.code for rule in RULES}
    assert {code for each in known_disagreements() for code in each.codes} <= codes
