# SPDX-License-Identifier: Apache-2.0
"""docs/steps.md is what the steps say of themselves."""

import dataclasses
from pathlib import Path

import pytest

from conformance.steps.all_cases import CASES
from repo_tool.pipelines.catalogue import step_kind, step_names
from repo_tool.pipelines.step_page import step_facts, step_markdown, steps_page
from support.step_cases import step_for, step_of, wires_of

PAGE = Path(__file__).parents[2] / "docs" / "steps.md"


def test_the_page_is_current():
    assert PAGE.read_text() == steps_page(), "make it anew: make docs"


@pytest.mark.parametrize("name", step_names())
def test_a_section_has_every_parameter(name):
    section = step_markdown(step_kind(name))
    for field in dataclasses.fields(step_kind(name).code):
        assert f"\n| `{field.name}` | " in section


@pytest.mark.parametrize("key", CASES)
def test_the_outputs_told_are_those_given(key):
    told = step_facts(step_kind(step_of(key)))["outputs"]
    given = step_for(key, CASES[key]).output_wires(wires_of(CASES[key]))
    assert told in ([], list(given))
