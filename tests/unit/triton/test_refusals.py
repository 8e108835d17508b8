# SPDX-License-Identifier: Apache-2.0
"""Triton's reason, freed of what Triton wraps around it."""

import pytest

from repo_tool.triton.log import parse_line
from repo_tool.triton.refusals import cleaned, poll_failure


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (
            "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: TritonModelException: model 'm', "
            "tensor 'x': no\n\nAt:\n  /tmp/model.py(9): initialize\n;\n",
            "model 'm', tensor 'x': no",
        ),
        (
            "load failed for model 'm': version 1 is at UNAVAILABLE state: Invalid argument: instance group m_0 has "
            "kind KIND_GPU but no GPUs are available;\n",
            "Invalid argument: instance group m_0 has kind KIND_GPU but no GPUs are available",
        ),
        ("Poll failed for model directory 'm': Invalid model name: bad", "Invalid model name: bad"),
    ],
)
def test_the_wrapping_is_gone_and_the_reason_whole(told, reason):
    assert cleaned(told) == reason


def test_a_parse_error_is_found_in_the_line_before_and_only_for_its_own_model():
    lines = [
        "[libprotobuf ERROR text_format.cc:337] Error parsing text-format inference.ModelConfig: 2:17: no integer\n",
        "2026-01-01T00:00:00Z E 7 x.cc:1] \"Poll failed for model directory 'a': failed to read text proto from a\"\n",
        "2026-01-01T00:00:00Z E 7 x.cc:1] \"Poll failed for model directory 'b': failed to read text proto from b\"\n",
    ]
    parsed = [parse_line(line) for line in lines]
    assert poll_failure(parsed, "a") == "failed to read text proto from a: 2:17: no integer"
    assert poll_failure(parsed, "b") == "failed to read text proto from b"
    assert poll_failure(parsed, "c") == ""
