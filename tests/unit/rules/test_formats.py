# SPDX-License-Identifier: Apache-2.0
"""Findings in every format that validate writes: whole expected files, the schemas, and names meant to do harm."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_tool.rules import RULES as ALL_RULES
from repo_tool.rules import Diagnostic, Report, Severity, render_json, render_text
from repo_tool.rules.diagnostics import Region, Suppression
from repo_tool.rules.excerpts import SourceLines
from repo_tool.rules.fixes import SetField
from repo_tool.rules.registry import rule
from repo_tool.rules.render_github import render_github
from repo_tool.rules.render_junit import render_junit
from repo_tool.rules.render_sarif import render_sarif
from repo_tool.rules.render_text import summary
from support.golden import FOLDER, matches_golden

FOLDER_IN_TREE = "deploy/models"
DOCUMENTATION = """Every `` {code} `` says what it demands.

And why.

Wrong::

    wrong: 1

Right::

    right: 1
"""


def made_rule(code, severity, *, fixable=False):
    def what_it_checks(_model):
        return ()

    what_it_checks.__doc__ = DOCUMENTATION.replace(" {code} ", code)
    return rule(code, severity=severity, fixable=fixable)(what_it_checks)


RULES = [
    made_rule("REP001", Severity.WARNING),
    made_rule("REP101", Severity.ERROR),
    made_rule("CFG104", Severity.ERROR, fixable=True),
    made_rule("CFG202", Severity.ERROR),
    made_rule("REL106", Severity.NOTE),
    made_rule("SEC101", Severity.ERROR),
    made_rule("SEC102", Severity.WARNING),
]
CONFIG = """\
backend: "onnxruntime"
input [
  {
    name: "x"
    dims: [ 4 ]
  }
]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
dynamic_batching { preferred_batch_size: [ 8 ] }
"""
HOSTILE = 'a\x1b[2J,b:c%25\n]]>&<x a="1">\'\udcff\u202e|'


def diagnostic(code, severity, **more):
    given = {
        "model": "linear",
        "path": "linear/config.pbtxt",
        "field": "",
        "message": "something is wrong",
        "cause": "it is so",
        "fix": "mend it",
        "releases": ("24.10", "26.07"),
    }
    return Diagnostic(code=code, severity=severity, **given | more)


@pytest.fixture
def report():
    return Report(
        models=("clean", "linear"),
        releases=("24.10", "26.07"),
        diagnostics=(
            diagnostic(
                "REP001",
                Severity.WARNING,
                model="",
                path="",
                message="the repository as a whole is odd",
                releases=("26.07",),
            ),
            diagnostic("REP101", Severity.ERROR, path="linear/2", message="version 2 holds no model", cause=""),
            diagnostic(
                "CFG104",
                Severity.ERROR,
                field="input[0].data_type",
                message="input[0] 'x' has no data_type",
                edits=(SetField("input[0].data_type", "TYPE_FP32"),),
                region=Region(line=2, column=1, end_line=2, end_column=6),
            ),
            diagnostic(
                "CFG202",
                Severity.ERROR,
                field="dynamic_batching.preferred_batch_size",
                message="the preferred batch size 8 is not between 1 and 4",
                region=Region(line=9, column=20, end_line=9, end_column=47),
                cause="Triton: dynamic batching preferred size must be positive and no larger than the maximum batch "
                "size of the model\nwhich is 4",
                releases=("24.10",),
            ),
            diagnostic(
                "REL106", Severity.NOTE, field="model_metrics", message="Triton 24.10 lacks it", releases=("24.10",)
            ),
        ),
        suppressed=(
            diagnostic(
                "CFG104",
                Severity.ERROR,
                field="output[0].dims",
                region=Region(line=8, column=10, end_line=8, end_column=55),
                suppression=Suppression(reason="the backend fills them in", is_in_source=True),
            ),
            diagnostic(
                "SEC102",
                Severity.ERROR,
                path="linear/1/model.onnx",
                suppression=Suppression(reason="ignored for models called lin*", is_in_source=False),
            ),
        ),
        seconds=0.125,
    )


@pytest.fixture
def hostile():
    """One finding whose every name was chosen by an enemy."""
    one = diagnostic(
        "SEC101",
        Severity.ERROR,
        model=HOSTILE,
        path=f"{HOSTILE}/config.pbtxt",
        field=f"parameters[{HOSTILE}]",
        message=f"the name is {HOSTILE}",
        cause=HOSTILE,
        fix=HOSTILE,
        region=Region(line=1, column=1),
    )
    other = diagnostic(
        "SEC101", Severity.ERROR, model=HOSTILE, suppression=Suppression(reason=HOSTILE, is_in_source=True)
    )
    return Report(models=(HOSTILE,), releases=("26.07",), diagnostics=(one,), suppressed=(other,))


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "linear").mkdir()
    (tmp_path / "linear" / "config.pbtxt").write_text(CONFIG)
    return SourceLines(tmp_path)


def sarif(report):
    return render_sarif(report, rules=RULES, folder=FOLDER_IN_TREE, version="1.2.3")


@pytest.fixture(scope="module")
def sarif_schema():
    path = FOLDER.parent / "support" / "schemas" / "sarif-2.1.0.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text()))


def test_text_shows_the_line_and_marks_the_field(report, sources):
    text = render_text(report, folder=FOLDER_IN_TREE, sources=sources)
    assert matches_golden(text + summary(report) + "\n", "validate/findings.txt")


def test_text_on_a_terminal_of_80_columns_wraps_what_explains(report, sources):
    text = render_text(report, folder=FOLDER_IN_TREE, sources=sources, width=80)
    assert matches_golden(text, "validate/findings-80.txt")
    explaining = [line for line in text.splitlines() if not line.startswith(FOLDER_IN_TREE)]
    assert max(map(len, explaining)) <= 80


def test_text_can_be_coloured_part_by_part(report, sources):
    text = render_text(report, sources=sources, style=lambda text, part: f"<{part}>{text}</{part}>")
    assert "<place>linear/config.pbtxt:2:1</place>: <error>CFG104 error</error>: input[0] 'x' has no" in text
    assert "<label>2 |</label> input [\n<label>  |</label> <error>^^^^^</error> input[0].data_type\n" in text


def test_without_the_file_text_names_the_field_instead_of_showing_it(report):
    assert "config.pbtxt:2:1: CFG104 error: input[0].data_type: input[0] 'x' has no data_type\n" in render_text(report)


def test_json_is_the_golden_file(report):
    assert matches_golden(render_json(report) + "\n", "validate/findings.json")


def test_sarif_is_the_golden_file_and_keeps_to_the_schema(report, sarif_schema):
    text = sarif(report)
    assert matches_golden(text + "\n", "validate/findings.sarif")
    assert list(sarif_schema.iter_errors(json.loads(text))) == []


def test_sarif_with_every_rule_keeps_to_the_schema(sarif_schema):
    text = render_sarif(Report(models=(), releases=()), rules=ALL_RULES, folder="", version="1.2.3")
    document = json.loads(text)
    assert list(sarif_schema.iter_errors(document)) == []
    assert len(document["runs"][0]["tool"]["driver"]["rules"]) == len(ALL_RULES)


def test_the_schema_would_notice_a_fault(report, sarif_schema):
    document = json.loads(sarif(report))
    document["runs"][0]["results"][0]["level"] = "fatal"
    assert len(list(sarif_schema.iter_errors(document))) == 1


def test_sarif_has_what_code_scanning_asks_for(report):
    (run,) = json.loads(sarif(report))["runs"]
    for described in run["tool"]["driver"]["rules"]:
        assert described["shortDescription"]["text"]
        assert described["help"]["text"]
        assert "```text" in described["help"]["markdown"]
        assert ("security-severity" in described["properties"]) == described["id"].startswith("SEC")
    for result in run["results"]:
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"].startswith(FOLDER_IN_TREE)
        assert place["region"]["startLine"] >= 1
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    fingerprints = [json.dumps(result["partialFingerprints"]) for result in run["results"]]
    assert len(fingerprints) == len(set(fingerprints))


def test_a_fingerprint_stays_when_the_field_moves(report):
    (before,) = {json.loads(sarif(report))["runs"][0]["results"][2]["partialFingerprints"]["repoToolFinding/v1"]}
    moved = Report(
        models=report.models,
        releases=report.releases,
        diagnostics=(
            diagnostic("CFG104", Severity.ERROR, field="input[0].data_type", message="x", region=Region(line=77)),
        ),
    )
    (result,) = json.loads(sarif(moved))["runs"][0]["results"]
    assert result["partialFingerprints"]["repoToolFinding/v1"] == before


def test_junit_is_the_golden_file(report):
    assert matches_golden(render_junit(report, folder=FOLDER_IN_TREE), "validate/findings.xml")


@pytest.mark.parametrize(("strict", "failures"), [(False, 3), (True, 4)])
def test_junit_counts_what_fails(report, strict, failures):
    root = ElementTree.fromstring(render_junit(report, folder=FOLDER_IN_TREE, strict=strict))  # noqa: S314  # our own
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("skipped")) == (
        "testsuites",
        "8",
        str(failures),
        "2",
    )
    for suite in root:
        assert suite.tag == "testsuite"
        for count, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
            assert int(suite.get(count)) == len(suite.findall(tag))
        assert all(case.get("classname") and case.get("name") for case in suite)
    assert [case.get("name") for case in root.find("testsuite[@name='clean']")] == ["nothing found"]


def test_github_annotations_are_the_golden_file(report):
    assert matches_golden(render_github(report, folder=FOLDER_IN_TREE), "validate/findings.github.txt")


def test_text_obeys_no_name(hostile):
    text = render_text(hostile, folder=FOLDER_IN_TREE)
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert "a\\x1b[2J,b:c%25\\n]]>" in text


def test_json_of_a_hostile_name_is_json(hostile):
    text = render_json(hostile)
    assert text.isascii()
    assert json.loads(text)["diagnostics"][0]["model"] == HOSTILE


def test_sarif_of_a_hostile_name_keeps_to_the_schema(hostile, sarif_schema):
    text = sarif(hostile)
    assert text.isascii()
    document = json.loads(text)
    assert list(sarif_schema.iter_errors(document)) == []
    uri = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"[A-Za-z0-9/._~%-]+", uri)
    assert uri.startswith("deploy/models/a%1B%5B2J%2Cb%3Ac%2525%0A")


def test_junit_of_a_hostile_name_is_xml_with_the_name_in_it(hostile):
    text = render_junit(hostile, folder=FOLDER_IN_TREE)
    (suite,) = ElementTree.fromstring(text)  # noqa: S314  # our own
    spelt_out = 'a\\x1b[2J,b:c%25\\n]]>&<x a="1">\'\\udcff\\u202e|'
    assert suite.get("name") == spelt_out
    assert suite[0].find("failure").get("message") == f"the name is {spelt_out}"


def test_a_hostile_name_is_one_annotation(hostile):
    (line,) = render_github(hostile, folder=FOLDER_IN_TREE).splitlines()
    command, properties, message = re.fullmatch(r"::(\w+) (.*?)::(.*)", line).groups()
    assert command == "error"
    assert [part.partition("=")[0] for part in properties.split(",")] == ["file", "line", "col", "title"]
    assert "%2Cb%3Ac%2525" in properties
    assert message.startswith("the name is a\\x1b[2J,b:c%2525\\n]]>")
    assert "%0Acause: a" in message


ANYTHING = st.text(max_size=30) | st.just(HOSTILE)


@settings(deadline=None, max_examples=60)
@given(
    model=ANYTHING,
    field=ANYTHING,
    message=ANYTHING,
    cause=ANYTHING,
    reason=ANYTHING,
    severity=st.sampled_from(Severity),
)
def test_no_word_breaks_a_format(model, field, message, cause, reason, severity):
    one = diagnostic(
        "CFG104", severity, model=model, path=f"{model}/config.pbtxt", field=field, message=message, cause=cause
    )
    hidden = replace(one, suppression=Suppression(reason=reason, is_in_source=False))
    report = Report(models=(model,), releases=("26.07",), diagnostics=(one,), suppressed=(hidden,))
    assert json.loads(render_json(report))["suppressed"][0]["reason"] == reason
    assert json.loads(sarif(report))["runs"][0]["results"][0]["ruleId"] == "CFG104"
    ElementTree.fromstring(render_junit(report, folder="")).find("testsuite/testcase")  # noqa: S314  # our own
    assert len(render_github(report, folder="").splitlines()) == 1
    assert all(sign.isprintable() or sign == "\n" for sign in render_text(report, width=80))
