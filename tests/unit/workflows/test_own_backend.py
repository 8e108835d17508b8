# SPDX-License-Identifier: Apache-2.0
"""When a model that was proven otherwise as ONNX is left to its framework's backend, and what is said then."""

from pathlib import Path

import pytest

from repo_tool.importers.base import ImportedModel
from repo_tool.signature import ModelSignature
from repo_tool.verification import OutputParity, Parity
from repo_tool.workflows.own_backend import own_backend_instead, what_differs

IMPORTED = ImportedModel(
    framework="tensorflow",
    backend="onnxruntime",
    own_backend="tensorflow",
    signature=ModelSignature(inputs=(), outputs=()),
    artifact=Path("model.onnx"),
    inputs={},
    inputs_were_generated=True,
    reference={},
)


def parity(*, equal=False, complaint=""):
    fine = OutputParity(name="x", equal=True, largest_absolute=0, largest_relative=0, worst_row=0)
    output = OutputParity(
        name="y", equal=equal, largest_absolute=0.25, largest_relative=1, worst_row=3, complaint=complaint
    )
    return Parity(batch_sizes=(1, 2), rows=4, outputs=(fine, output))


def test_what_nobody_chose_and_differs_is_left_to_its_framework():
    assert own_backend_instead(IMPORTED, parity(), chosen=None, refined=False) == "tensorflow"


@pytest.mark.parametrize(
    ("found", "chosen", "refined"),
    [
        (parity(equal=True), None, False),
        (None, None, False),
        (parity(), "onnxruntime", False),
        (parity(), None, True),
    ],
    ids=["equal", "not proven", "chosen", "refined"],
)
def test_anything_else_stays_as_it_came_out(found, chosen, refined):
    assert own_backend_instead(IMPORTED, found, chosen=chosen, refined=refined) == ""


def test_the_reason_is_of_the_output_that_differs():
    assert what_differs(parity()) == "served answers differ by up to 0.25 in output 'y'"
    words = what_differs(parity(complaint="is 3 instead of 2"))
    assert words == "served answers differ: output 'y' is 3 instead of 2"
    assert what_differs(parity(equal=True)) == "4 rows, batches of 1, 2: largest difference 0.25"
