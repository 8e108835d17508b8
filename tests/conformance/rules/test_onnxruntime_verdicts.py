# SPDX-License-Identifier: Apache-2.0
"""The rules, without loading anything, give the verdicts measured on NVIDIA's ONNX Runtime backend (24.10, CPU)."""

import pytest

from repo_tool.releases import release
from repo_tool.repository.layout import ModelRepository
from repo_tool.rules import Severity, find_rule, validate
from repo_tool.rules.onnx_file import read_onnx
from support.onnx_cases import CASES
from support.rule_cases import EMBEDDED_RELEASE

# What says it, case by case: those that NVIDIA's backend refuses, and those that load and then cannot answer.
SAID_BY = {
    "in_name_wrong": "SIG104", "out_name_wrong": "SIG105", "input_missing_in_cfg": "SIG103",
    "control_missing_in_graph": "SIG103", "control_missing_in_cfg": "SIG103",
    "input_extra_in_cfg": "SIG103", "output_extra_in_cfg": "SIG105", "no_output_in_cfg": "CFG109",
    "in_dtype_wrong": "SIG106", "out_dtype_wrong": "SIG106", "BF16": "SIG106", "FP8_in_onnx": "SIG106",
    "INT4_in_onnx": "SIG106", "COMPLEX64_in_onnx": "SIG106", "in_dims_wrong": "SIG108", "in_rank_wrong": "SIG108",
    "in_dims_free_onnx_fixed": "SIG108", "out_dims_wrong": "SIG109", "out_dims_free_onnx_fixed": "SIG109",
    "out_dims_fixed_onnx_really_free": "SIG109", "batch_dim_fixed_mb4": "SIG107", "batch_fixed_only_out": "SIG107",
    "out_not_batched_runtime": "SIG107", "vector_out_mb4_noreshape": "SIG109",
    "sklearn_style_label_as_dims1": "SIG109", "scalar_out_mb4": "SIG113", "symbol_rankless_out": "SIG110",
    "ragged_input": "SIG109", "ragged_input_of_rank_2": "SIG112", "sequence_out_listed": "SIG102",
    "sequence_out_unlisted": "SIG102", "zipmap_unlisted": "SIG102", "onnx_optional_type": "SIG102",
    "optional_initializer_mb4": "SIG111", "optional_plain_input": "SIG103", "opset22_ir10": "REL101",
    "opset21_ir11": "REL102", "unknown_op": "SIG114", "default_filename_missing": "REP104", "file_missing": "REP104",
    "param_intra_op_thread_count_abc": "CFG601", "param_intra_op_thread_count_99999999999": "CFG601",
    "param_execution_mode_2": "CFG601", "param_enable_mem_arena_maybe": "CFG601",
    "param_enable_mem_pattern_2": "CFG601", "param_memory.enable_memory_arena_shrinkage_bogus": "CFG602",
    "param_allow_spinning_0": "CFG602", "kind_gpu": "CFG302", "no_instance_group": "CFG303",
    "warm_wrong_shape": "CFG501", "accel_openvino": "CFG704",
}  # fmt: skip
# Only a request shows them: the rows of the answer differ from those of the request, and the core refuses the request.
SEEN_BY_REQUESTS_ONLY = {"out_rows_differ_runtime", "zero_size_batch0_mb4"}


@pytest.mark.parametrize("case", [case for case in CASES if case.name in SAID_BY], ids=lambda case: case.name)
def test_a_rule_says_why(case, tmp_path):
    case.write(tmp_path)
    found = {diagnostic.code for diagnostic in validate(ModelRepository(tmp_path), release=release(EMBEDDED_RELEASE))}
    assert SAID_BY[case.name] in found


def test_every_case_that_nvidias_backend_does_not_answer_has_its_rule():
    failing = {case.name for case in CASES if case.refused or any(request.error for request in case.requests)}
    here_only = {case.name for case in CASES if "embedded backend" in case.refused}
    assert failing - here_only - SEEN_BY_REQUESTS_ONLY <= set(SAID_BY)


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
