# SPDX-License-Identifier: Apache-2.0
"""What every processing step promises: it is found, self-contained, typed before it runs, and right in any batch."""

import ast
import io
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.catalogue import step_kind, step_names
from repo_tool.pipelines.wire import Wire

ALLOWED_IMPORTS = {"numpy", "PIL", *sys.stdlib_module_names}


def png(seed, size=(9, 7)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


@dataclass(frozen=True)
class Case:
    """A step on rows it can work on."""

    inputs: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)


def rows_of_bytes(*values):
    rows = np.empty((len(values), 1), dtype=object)
    rows[:, 0] = values
    return rows


RANDOM = np.random.default_rng(3)
CASES = {
    "decode_image": Case({"image": rows_of_bytes(*map(png, range(5)))}, {"height": 4, "width": 6, "mode": "RGB"}),
    "normalise": Case(
        {"pixels": RANDOM.integers(0, 255, (5, 4, 6, 3), dtype=np.uint8)}, {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}
    ),
    "softmax": Case({"logits": RANDOM.normal(0, 400, (5, 10)).astype(np.float32)}),
    "top_k_labels": Case(
        {"probabilities": RANDOM.random((5, 4), dtype=np.float32)}, {"labels": ["a", "b", "c", "ü"], "k": 2}
    ),
}


def wires(case):
    return {name: Wire(DataType.from_numpy(array.dtype), array.shape[1:]) for name, array in case.inputs.items()}


def test_every_step_has_a_case():
    assert set(CASES) == set(step_names())


@pytest.mark.parametrize("name", step_names())
def test_its_file_needs_numpy_pillow_and_the_standard_library_only(name):
    tree = ast.parse(step_kind(name).source.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert {module.partition(".")[0] for module in imported} <= ALLOWED_IMPORTS


@pytest.mark.parametrize("name", step_names())
def test_its_docstring_is_its_documentation(name):
    assert len(step_kind(name).code.__doc__ or "") > 30


@pytest.mark.parametrize("name", CASES)
def test_what_it_gives_has_the_type_it_announced(name):
    case = CASES[name]
    shipped = step_kind(name).with_parameters(case.parameters)
    announced = shipped.output_wires(wires(case))
    results = shipped.run(case.inputs)
    assert results.keys() == announced.keys()
    for output, array in results.items():
        assert DataType.from_numpy(array.dtype) is announced[output].datatype
        assert array.shape == (5, *announced[output].dims)


@pytest.mark.parametrize("name", CASES)
def test_a_row_alone_and_in_a_batch_is_the_same(name):
    case = CASES[name]
    shipped = step_kind(name).with_parameters(case.parameters)
    together = shipped.run(case.inputs)
    for row in range(5):
        alone = shipped.run({key: array[row : row + 1] for key, array in case.inputs.items()})
        for output, array in alone.items():
            np.testing.assert_array_equal(array[0], together[output][row])


@pytest.mark.parametrize("name", CASES)
def test_an_unknown_parameter_is_refused(name):
    with pytest.raises(PipelineError, match="do not fit") as raised:
        step_kind(name).with_parameters(CASES[name].parameters | {"colour": "red"})
    assert "colour" in raised.value.cause


@pytest.mark.parametrize("name", CASES)
def test_inputs_of_another_type_are_refused_before_anything_runs(name):
    shipped = step_kind(name).with_parameters(CASES[name].parameters)
    wrong = dict.fromkeys(CASES[name].inputs, Wire(DataType.INT16, (2, 2)))
    with pytest.raises(PipelineError, match=f"step '{name}' cannot work"):
        shipped.output_wires(wrong)


def small_decoder():
    return step_kind("decode_image").with_parameters({"height": 2, "width": 2, "mode": "L"})


@pytest.mark.parametrize(
    "encoded", [b"", b"not a picture", png(1)[:60]], ids=["nothing", "something else", "half a picture"]
)
def test_a_row_that_is_no_picture_is_named(encoded):
    with pytest.raises(ValueError, match="row 1: not a readable image"):
        small_decoder().run({"image": rows_of_bytes(png(1), encoded)})


def test_a_picture_too_large_is_refused_before_it_is_unpacked():
    stream = io.BytesIO()
    Image.new("1", (8_000, 8_000)).save(stream, format="PNG")
    with pytest.raises(ValueError, match="row 0: the image has 8000 x 8000 pixels, too many"):
        small_decoder().run({"image": rows_of_bytes(stream.getvalue())})


def test_listing_the_steps_imports_none():
    code = "import sys; from repo_tool.pipelines.catalogue import step_names; step_names(); print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_step_gets_the_nearest_name():
    with pytest.raises(PipelineError) as raised:
        step_kind("decode_img")
    assert raised.value.next_step == "did you mean 'decode_image'?"


def test_the_files_lie_where_the_catalogue_says():
    assert all(Path(step_kind(name).source).is_file() for name in step_names())
