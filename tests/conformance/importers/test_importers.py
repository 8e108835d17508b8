# SPDX-License-Identifier: Apache-2.0
"""What every importer owes, held over every form of source."""

import json
import subprocess
import sys

import numpy as np
import pytest

from repo_tool.importers.registry import installed_importers
from support.artifacts import run_artifact
from support.importer_sources import CASES

FRAMEWORKS = (
    "sklearn",
    "skl2onnx",
    "joblib",
    "skops",
    "torch",
    "tensorflow",
    "keras",
    "onnx",
    "onnxruntime",
    "xgboost",
    "lightgbm",
    "catboost",
    "transformers",
    "pandas",
)
_BESIDE = {"onnx-external-data": {"weights"}, "python-class": {"code"}}  # what belongs to an artifact
RECOGNISE = """
import json, sys
from repo_tool.importers.registry import recognise
framework = recognise(sys.argv[1]).framework
print(json.dumps([framework, sorted(set(sys.argv[2:]) & set(sys.modules))]))
"""


def test_every_importer_is_held_to_this_suite():
    assert {case.framework for case in CASES} == set(installed_importers())


def test_a_source_is_recognised_without_importing_its_framework(case, written):
    folder, source = written(case)
    command = [sys.executable, "-P", "-c", RECOGNISE, source, *FRAMEWORKS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [case.framework, []]


def test_names_labels_and_backend_are_what_a_client_expects(case, brought_in):
    imported, _ = brought_in(case)
    assert tuple(spec.name for spec in imported.signature.inputs) == case.inputs
    assert tuple(spec.name for spec in imported.signature.outputs) == case.outputs
    assert (imported.framework, imported.backend, imported.labels) == (case.framework, case.backend, case.labels)
    assert imported.inputs_were_generated is ("sample" not in case.request)
    assert case.framework in ("huggingface", "pytorch", "sklearn") or case.framework in imported.tool_versions


def test_inputs_and_reference_have_the_types_and_shapes_of_the_signature(case, brought_in):
    imported, _ = brought_in(case)
    for specs, tensors in (
        (imported.signature.inputs, imported.inputs),
        (imported.signature.outputs, imported.reference),
    ):
        assert set(tensors) == {spec.name for spec in specs}
        for spec in specs:
            array = tensors[spec.name]
            assert array.dtype == spec.datatype.numpy
            assert len(array.shape) == len(spec.shape)
            assert all(want in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_artifact_answers_batches_as_the_framework_did(case, brought_in, rows):
    imported, _ = brought_in(case)
    assert imported.signature.can_batch
    found = run_artifact(imported, {name: array[:rows] for name, array in imported.inputs.items()})
    for name, reference in imported.reference.items():
        assert found[name].shape == reference[:rows].shape
        if reference.dtype.kind == "f":
            np.testing.assert_allclose(found[name], reference[:rows], rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(found[name], reference[:rows])


def test_nothing_but_the_artifact_is_left_behind(case, brought_in):
    imported, into = brought_in(case)
    assert [entry.name for entry in into.iterdir()] == ["artifact"]
    assert imported.artifact.parent == into / "artifact"
    beside = {entry.name for entry in imported.artifact.parent.iterdir()} - {imported.artifact.name}
    assert beside == _BESIDE.get(case.name, set())
