# SPDX-License-Identifier: Apache-2.0
"""The mark stands below what it is about, however long or odd the line is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from repo_tool.rules.diagnostics import Region
from repo_tool.rules.excerpts import SourceLines, excerpt


def shown(line, column, end, width=40):
    cut = excerpt(line, Region(line=1, column=column, end_line=1, end_column=end), width=width)
    return [cut.text, " " * cut.indent + "^" * cut.length]


def test_a_short_line_is_shown_whole():
    assert shown("max_batch_size: -1", 1, 19) == ["max_batch_size: -1", "^^^^^^^^^^^^^^^^^^"]


def test_a_mark_within_the_line():
    assert shown("input { dims: 0 }", 9, 16) == ["input { dims: 0 }", "        ^^^^^^^"]


def test_tabs_take_four_columns():
    assert shown("\tdims: 0", 2, 9) == ["    dims: 0", "    ^^^^^^^"]


def test_wide_letters_take_two_columns():
    assert shown('name: "模型" x: 1', 12, 16) == ['name: "模型" x: 1', "             ^^^^"]


def test_control_characters_are_spelt_out():
    assert shown("a: \x1b[2J x: 1", 9, 13) == ["a: \\x1b[2J x: 1", "           ^^^^"]


def test_a_long_line_is_cut_around_the_mark():
    line = "a" * 100 + " dims: 0 " + "b" * 100
    assert shown(line, 102, 109) == ["…aaaaaaaaaaaaaa dims: 0 bbbbbbbbbbbbbbb…", "                ^^^^^^^"]


def test_a_long_line_is_cut_behind_the_mark_only_when_the_mark_is_first():
    assert shown("dims: 0 " + "b" * 100, 1, 8) == ["dims: 0 " + "b" * 31 + "…", "^^^^^^^"]


def test_a_mark_that_is_too_long_is_cut():
    assert shown("x" * 500, 1, 501) == ["x" * 38 + "…", "^" * 38]


def test_where_only_the_line_is_known_it_is_marked_as_a_whole():
    cut = excerpt("  import pandas  ", Region(line=1), width=40)
    assert (cut.indent, cut.length) == (2, len("import pandas"))


def test_a_region_of_several_lines_is_marked_where_it_begins():
    cut = excerpt("input [", Region(line=1, column=1, end_line=5, end_column=2), width=40)
    assert (cut.indent, cut.length) == (0, 1)


@example(line="", column=1, length=5, width=40)
@given(
    line=st.text(st.characters(exclude_characters="\n"), max_size=300),
    column=st.integers(1, 320),
    length=st.integers(1, 320),
    width=st.integers(40, 100),
)
def test_any_line_fits_its_width_and_shows_only_what_prints(line, column, length, width):
    cut = excerpt(line, Region(line=1, column=column, end_line=1, end_column=column + length), width=width)
    assert cell_len(cut.text) <= width
    assert cut.text.isprintable()
    assert cut.length >= 1
    assert cut.indent + cut.length <= width + 1


@pytest.mark.parametrize("number", [0, 4, -1])
def test_a_line_that_is_not_there_is_empty(tmp_path, number):
    (tmp_path / "file").write_text("a\r\nb\n")
    sources = SourceLines(tmp_path)
    assert sources.line("file", 1) == "a"
    assert sources.line("file", number) == ""
    assert sources.line("nowhere", 1) == ""
    assert sources.line("", 1) == ""
