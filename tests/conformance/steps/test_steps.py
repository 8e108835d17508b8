# SPDX-License-Identifier: Apache-2.0
"""What every processing step promises: it is found, self-contained, typed before it runs, and right in any batch."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conformance.steps.all_cases import CASES, THEMES
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind, step_names
from repo_tool.pipelines.wire import Wire
from repo_tool.rules.release_rules import IMAGE_PACKAGES
from support.step_cases import ROWS, given_parameters, step_for, step_of, wires_of


def test_every_step_has_a_case():
    assert {step_of(key) for key in CASES} == set(step_names())


def test_no_case_hides_another():
    assert len(CASES) == sum(len(theme.CASES) for theme in THEMES)


@pytest.mark.parametrize("name", step_names())
def test_its_file_needs_numpy_its_packages_and_the_standard_library_only(name):
    tree = ast.parse(step_kind(name).source.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    its_own = {module for module, package in IMAGE_PACKAGES.items() if package in step_kind(name).packages}
    assert {module.partition(".")[0] for module in imported} <= {"numpy", *its_own, *sys.stdlib_module_names}


@pytest.mark.parametrize("name", step_names())
def test_its_packages_are_in_the_gpu_image(name):
    assert set(step_kind(name).packages) <= set(IMAGE_PACKAGES.values())


@pytest.mark.parametrize("name", step_names())
def test_its_docstring_is_its_documentation(name):
    assert len(step_kind(name).code.__doc__ or "") > 30


@pytest.mark.parametrize("key", CASES)
def test_what_it_gives_has_the_type_it_announced(key):
    shipped = step_for(key, CASES[key])
    announced = shipped.output_wires(wires_of(CASES[key]))
    results = shipped.run(CASES[key].inputs)
    assert results.keys() == announced.keys()
    for output, rows in results.items():
        assert isinstance(rows, list) == (-1 in announced[output].dims)
        assert len(rows) == ROWS
        for row in rows:
            assert DataType.from_numpy(row.dtype) is announced[output].datatype
            assert row.ndim == len(announced[output].dims)
            assert all(told in (-1, found) for told, found in zip(announced[output].dims, row.shape, strict=True))


@pytest.mark.parametrize("key", CASES)
def test_a_row_alone_and_in_a_batch_is_the_same(key):
    shipped = step_for(key, CASES[key])
    together = shipped.run(CASES[key].inputs)
    for row in range(ROWS):
        alone = shipped.run({name: rows[row : row + 1] for name, rows in CASES[key].inputs.items()})
        for output, rows in alone.items():
            np.testing.assert_array_equal(rows[0], together[output][row])


@pytest.mark.parametrize("key", CASES)
def test_it_leaves_its_inputs_as_they_are(key):
    before = {name: [row.copy() for row in rows] for name, rows in CASES[key].inputs.items()}
    step_for(key, CASES[key]).run(CASES[key].inputs)
    for name, rows in CASES[key].inputs.items():
        for row, copied in zip(rows, before[name], strict=True):
            np.testing.assert_array_equal(row, copied)


@pytest.mark.parametrize("key", CASES)
def test_an_unknown_parameter_is_refused(key):
    with pytest.raises(PipelineError, match="do not fit") as raised:
        step_kind(step_of(key)).with_parameters(given_parameters(CASES[key]) | {"colour": "red"})
    assert "colour" in raised.value.cause


@pytest.mark.parametrize("key", CASES)
def test_inputs_of_another_type_are_refused_before_anything_runs(key):
    shipped = step_for(key, CASES[key])
    wrong = dict.fromkeys(CASES[key].inputs, Wire(DataType.BOOL, (2, 2, 2, 2, 2, 2)))
    with pytest.raises(PipelineError, match=f"step '{step_of(key)}' cannot work") as raised:
        shipped.output_wires(wrong)
    assert any(f"'{name}'" in raised.value.cause for name in wrong)


def test_listing_the_steps_imports_none():
    code = "import sys; from repo_tool.pipelines.catalogue import step_names; step_names(); print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_step_gets_the_nearest_name():
    with pytest.raises(PipelineError) as raised:
        step_kind("normalize")
    assert raised.value.next_step == "did you mean 'normalise'?"


def test_the_files_lie_where_the_catalogue_says():
    assert all(Path(step_kind(name).source).is_file() for name in step_names())
