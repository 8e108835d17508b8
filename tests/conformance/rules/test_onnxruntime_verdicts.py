# SPDX-License-Identifier: Apache-2.0
"""The rules, without loading anything, give the verdicts measured on NVIDIA's ONNX Runtime backend (24.10, CPU)."""

import pytest

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Severity, find_rule, validate
from repo_tool.rules.onnx_file import read_onnx
from support.onnx_cases import CASES
from support.rule_cases import EMBEDDED_RELEASE


def foresees_a_refusal(diagnostic):
    return diagnostic.severity is Severity.ERROR or find_rule(diagnostic.code).embedded_refuses


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rules_refuse_what_nvidias_backend_refuses(case, tmp_path):
    case.write(tmp_path)
    found = [d for d in validate(ModelRepository(tmp_path), release=release(EMBEDDED_RELEASE)) if foresees_a_refusal(d)]
    is_refused = bool(case.refused) and "embedded backend" not in case.refused
    assert bool(found) == is_refused, [diagnostic.message for diagnostic in found]


@pytest.mark.parametrize("case", [case for case in CASES if not case.refused], ids=lambda case: case.name)
def test_shapes_are_those_of_a_loaded_session(case, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    case.write(tmp_path)
    file = next(path for path in sorted(tmp_path.rglob("*.onnx")) if path.is_file())
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    model = read_onnx(file)
    for ours, theirs in ((model.inputs, session.get_inputs()), (model.outputs, session.get_outputs())):
        loaded = {each.name: tuple(dim if isinstance(dim, int) else -1 for dim in each.shape) for each in theirs}
        assert {tensor.name: tensor.shape for tensor in ours} == loaded
