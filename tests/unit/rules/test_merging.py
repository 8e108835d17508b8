# SPDX-License-Identifier: Apache-2.0
"""What several releases find is told once."""

from repo_tool.rules import Diagnostic, Severity
from repo_tool.rules.merging import merged


def diagnostic(message, cause="so it is"):
    return Diagnostic(
        code="REL106",
        severity=Severity.ERROR,
        model="m",
        path="m/config.pbtxt",
        field="model_metrics",
        message=message,
        cause=cause,
        fix="choose another release",
    )


def told(*found):
    return [(each.message, each.cause, each.releases) for each in merged(found)]


def test_what_holds_for_all_is_one_even_where_a_model_is_called_like_a_release():
    same = diagnostic("model 24.10 is wrong")
    assert told((same, "24.10"), (same, "26.07")) == [("model 24.10 is wrong", "so it is", ("24.10", "26.07"))]


def test_findings_that_differ_in_the_name_of_the_release_are_one():
    found = [(diagnostic(f"Triton {name} lacks it", f"it came after {name}"), name) for name in ("24.10", "25.01")]
    assert told(*found) == [("Triton 24.10 (and 25.01) lacks it", "it came after 24.10", ("24.10", "25.01"))]


def test_findings_that_differ_in_more_stay_apart():
    found = [(diagnostic(f"Triton {name} lacks it", cause), name) for name, cause in (("24.10", "a"), ("25.01", "b"))]
    assert told(*found) == [("Triton 24.10 lacks it", "a", ("24.10",)), ("Triton 25.01 lacks it", "b", ("25.01",))]


def test_what_one_release_finds_twice_is_told_once():
    same = diagnostic("wrong")
    assert told((same, "24.10"), (same, "24.10")) == [("wrong", "so it is", ("24.10",))]
