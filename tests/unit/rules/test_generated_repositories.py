# SPDX-License-Identifier: Apache-2.0
"""Whatever a machine writes into a repository, validation ends in diagnostics that name a place."""

import tempfile
from pathlib import Path

from hypothesis import given, settings

from differential.generator import a_case, cases
from differential.pool import the_pool
from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import validate
from support.rule_cases import EMBEDDED_RELEASE


@settings(derandomize=True, max_examples=100, deadline=None)
@given(cases(seed=3))
def test_validation_never_fails_and_every_diagnostic_has_a_place(case):
    with tempfile.TemporaryDirectory() as folder:
        case.write(folder)
        found = validate(ModelRepository(Path(folder)), release=release(EMBEDDED_RELEASE))
        assert all(each.message and (each.model in case.models or not each.model) for each in found)
        assert all(each.path == each.model or each.path.startswith(f"{each.model}/") for each in found if each.model)


@given(cases(seed=3))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_a_case_is_made_by_its_number_alone(case):
    number = int(case.target[1:7])
    assert a_case(3, number) == case


def test_the_pool_is_always_the_same():
    rendered = {name: draft.rendered() for name, draft in the_pool().items()}
    the_pool.cache_clear()
    assert rendered == {name: draft.rendered() for name, draft in the_pool().items()}
