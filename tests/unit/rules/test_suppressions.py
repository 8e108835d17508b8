# SPDX-License-Identifier: Apache-2.0
"""A comment says which diagnostic does not count at which field, and why; one that says less is told so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_tool.config.places import locate
from repo_tool.rules.diagnostics import Diagnostic, Severity
from repo_tool.rules.suppressions import suppressed

KNOWN = {"CFG101", "CFG104", "CFG302", "SIG101", "REP101", "REP102", "REP118"}


def diagnostic(code, field, path="m/config.pbtxt"):
    return Diagnostic(
        code=code, severity=Severity.ERROR, model="m", path=path, field=field, message="wrong", cause="so", fix="mend"
    )


def outcome(text, *diagnostics, asked=KNOWN):
    return suppressed(diagnostics, text, locate(text), model="m", known=KNOWN, asked=asked)


TEXT = """\
name: "m"
max_batch_size: 8  # repo-tool: allow CFG104 because the platform team does it
input [
  # repo-tool: allow SIG101, CFG302 because the file is older
  { name: "x" dims: [ 1 ] },
  { name: "y" dims: [ 2 ] }  # repo-tool: ALLOW sig101 BECAUSE of that
]
# repo-tool: allow CFG302 because we know
instance_group { count: 2 }
"""


@pytest.mark.parametrize(
    ("code", "field", "reason"),
    [
        ("CFG104", "max_batch_size", "the platform team does it"),
        ("SIG101", "input[0].dims", "the file is older"),
        ("CFG302", "input[0]", "the file is older"),
        ("SIG101", "input[0].data_type", "the file is older"),  # not written: the nearest that is
        ("SIG101", "input[1].dims[0]", "of that"),
        ("CFG302", "instance_group", "we know"),
        ("CFG302", "instance_group[0].kind", "we know"),
    ],
)
def test_a_comment_suppresses_at_its_field(code, field, reason):
    kept, hidden, _ = outcome(TEXT, diagnostic(code, field))
    assert kept == []
    assert [each.suppression.reason for each in hidden] == [reason]
    assert hidden[0].suppression.is_in_source


@pytest.mark.parametrize(
    ("code", "field"),
    [("CFG104", "name"), ("CFG302", "max_batch_size"), ("SIG101", "input"), ("CFG302", "input[1]"), ("CFG104", "")],
)
def test_it_suppresses_nothing_elsewhere(code, field):
    found = diagnostic(code, field)
    kept, hidden, _ = outcome(TEXT, found)
    assert kept == [found]
    assert hidden == []


@pytest.mark.parametrize("place", [0, len(TEXT)], ids=["in front", "at the end"])
def test_a_word_of_its_own_makes_it_about_the_model(place):
    comment = "# repo-tool: allow-model REP118, CFG104 because it is a stub\n"
    about = [diagnostic("REP118", "", path="m"), diagnostic("CFG104", "name")]
    kept, hidden, _ = outcome(TEXT[:place] + comment + TEXT[place:], *about)
    assert kept == []
    assert len(hidden) == 2


def test_in_front_of_the_first_field_it_is_about_that_field():
    text = "# repo-tool: allow REP102, CFG104 because it is a copy\n" + TEXT
    elsewhere = [diagnostic("CFG104", "input[1]"), diagnostic("REP102", "", path="m")]
    kept, hidden, _ = outcome(text, diagnostic("REP102", "name"), *elsewhere)
    assert kept == elsewhere
    assert [each.field for each in hidden] == ["name"]


def test_at_the_last_line_of_a_message_it_is_about_the_message():
    text = 'parameters {\n  key: "a"\n  value { string_value: "1" }\n}  # repo-tool: allow CFG104 because of that'
    kept, _, complaints = outcome(text, diagnostic("CFG104", "parameters[a].string_value"))
    assert kept == complaints == []


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("# repo-tool: allow CFG104", "without a reason"),
        ("# repo-tool: allow CFG104 because  ", "without a reason"),
        ("# repo-tool: allow CFG114 because of that", "CFG114, which is no rule"),
        ("# repo-tool: permit CFG104", "does not understand"),
        ("# repo-tool: allow because of that", "does not understand"),
        ("# repo-tool: allow-models CFG104 because of that", "does not understand"),
        ("# repo-tool: allow-model CFG101 because of that", "CFG101, which no comment can"),
        ("# repo-tool: allow CFG104, REP101 because of that", "REP101, which no comment can"),
    ],
)
def test_a_comment_that_says_too_little_does_not_count(comment, words):
    found = diagnostic("CFG104", "max_batch_size")
    kept, _, (complaint,) = outcome(f'name: "m"\n{comment}\nmax_batch_size: 8\n', found)
    assert kept == [found]
    assert (complaint.code, complaint.line, complaint.severity) == ("CFG901", 2, Severity.WARNING)
    assert words in complaint.message


def test_a_comment_that_suppresses_nothing_is_told_for_each_code():
    _, _, complaints = outcome(TEXT, diagnostic("SIG101", "input[0]"), diagnostic("SIG101", "input[1]"))
    assert [(each.code, each.line, each.message) for each in complaints] == [
        ("CFG902", 2, "the comment allows CFG104, which is not found at max_batch_size"),
        ("CFG902", 4, "the comment allows CFG302, which is not found at input[0]"),
        ("CFG902", 8, "the comment allows CFG302, which is not found at instance_group[0]"),
    ]


def test_a_rule_that_was_not_asked_is_not_missed():
    assert outcome(TEXT, asked={"CFG302"})[2] == outcome(TEXT, asked=KNOWN - {"CFG104", "SIG101"})[2]
    assert len(outcome(TEXT, asked={"CFG302"})[2]) == 2


def test_a_comment_at_the_end_of_a_message_is_not_about_the_next():
    text = 'input {\n  name: "x"\n  # repo-tool: allow SIG101 because of that\n}\noutput { name: "y" }\n'
    kept, _, (complaint,) = outcome(text, diagnostic("SIG101", "output[0]"))
    assert len(kept) == 1
    assert complaint.message == "the comment allows SIG101, which is not found there, where no field follows"


def test_other_comments_are_nobody_s_business():
    text = '# allow CFG104 because of that\nname: "# repo-tool: allow CFG104 because"  # see repo-tool: allow CFG104\n'
    assert outcome(text) == ([], [], [])


WORDS = [
    "# repo-tool: allow ",
    "CFG104",
    "SIG101, ",
    "because ",
    "so",
    "\n",
    "{",
    "}",
    "input ",
    "name: ",
    '"x"',
    "dims: [ 1, ",
    "]",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_nothing_is_lost_whatever_the_text_is(text):
    found = (diagnostic("CFG104", "input[0].name"), diagnostic("SIG101", "input[0].dims"), diagnostic("CFG104", ""))
    kept, hidden, complaints = outcome(text, *found)
    assert sorted(each.field for each in kept + hidden) == sorted(each.field for each in found)
    assert all(each.suppression and each.suppression.reason for each in hidden)
    assert {each.code for each in complaints} <= {"CFG901", "CFG902"}
