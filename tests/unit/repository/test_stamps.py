# SPDX-License-Identifier: Apache-2.0
"""A configuration says which bytes it is meant for, and without that it is what it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo_tool.config import pbtxt
from repo_tool.config.edit import set_field
from repo_tool.repository.layout import ModelDirectory
from repo_tool.repository.stamps import (
    due_stamps,
    provenance_digest,
    restamped,
    stamped,
    stamped_anew,
    stamps_of,
    unstamped,
    without_stamps,
)

CONFIG = '# a remark\nname: "m"\nmax_batch_size: 4\n'
DIGESTS = st.dictionaries(
    st.integers(1, 2**31), st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True), min_size=1, max_size=4
)
CONFIGS = st.builds(
    lambda lines, end: "\n".join(["max_batch_size: 4", *lines]) + end,
    st.lists(
        st.sampled_from(
            [
                "",
                "# provenance.1 of something else",
                'parameters { key: "threads" value { string_value: "2" } }',
                'parameters: { key: "other" value: { string_value: "provenance.1" } }',
                'default_model_filename: "provenance.7"',
            ]
        ),
        unique=True,
    ),
    st.sampled_from(["", "\n", "\n\n", "  # the end"]),
)


@given(text=CONFIGS, digests=DIGESTS, others=DIGESTS)
def test_stamps_are_read_back_and_leave_the_rest_as_it_was(text, digests, others):
    once = stamped(text, digests)
    assert stamps_of(pbtxt.parse(once)) == digests
    assert without_stamps(pbtxt.parse(once)) == pbtxt.parse(text)
    assert unstamped(once).rstrip("\n") == text.rstrip("\n")
    assert stamped(stamped(text, others), digests) == once
    assert stamped(once, {}) == unstamped(once)


def test_a_text_that_ends_its_line_comes_back_to_the_letter():
    assert unstamped(stamped(CONFIG, {1: "sha256:a"})) == CONFIG


@pytest.mark.parametrize(
    "written",
    [
        'parameters [ { key: "provenance.3" value { string_value: "sha256:a" } } ]\n',
        'parameters: {\n  key: "provenance.3"\n  value: { string_value: "sha256:a" }\n}\n',
        "parameters { key: 'provenance.3' value { string_value: 'sha256:a' } } # moved\n",
    ],
)
def test_stamps_that_a_formatter_has_moved_are_stamps(written):
    assert stamps_of(pbtxt.parse(CONFIG + written)) == {3: "sha256:a"}
    assert pbtxt.parse(unstamped(CONFIG + written)) == pbtxt.parse(CONFIG)


@pytest.mark.parametrize("key", ["provenance", "provenance.", "provenance.0", "provenance.01", "my.provenance.1"])
def test_other_parameters_are_no_stamps(key):
    text = f'parameters {{ key: "{key}" value {{ string_value: "mine" }} }}\n'
    assert stamps_of(pbtxt.parse(text)) == {}
    assert unstamped(text) == text


def test_what_does_not_parse_is_left_to_the_rules():
    assert unstamped("no configuration provenance.1 {") == "no configuration provenance.1 {"
    assert stamped_anew("", "no configuration {", ModelDirectory("nowhere")) == "no configuration {"


@pytest.fixture
def model(tmp_path):
    """Versions 1 to 3, of which the second was not published by us."""
    directory = ModelDirectory(tmp_path / "m")
    for version in (1, 2, 3):
        directory.version_path(version).mkdir(parents=True)
        if version != 2:
            directory.provenance_path(version).write_text(json.dumps({"version": version}))
    return directory


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", [3]),
        ("version_policy { latest { num_versions: 2 } }", [3]),
        ("version_policy { all {} }", [1, 3]),
        ("version_policy { specific { versions: [ 1, 2 ] } }", [1]),
        ("version_policy { specific { versions: [ 2 ] } }", []),
    ],
)
def test_each_version_that_is_loaded_has_a_stamp_if_we_published_it(model, policy, expected):
    text = CONFIG + policy
    due = {version: provenance_digest(model, version) for version in expected}
    assert due_stamps(model, pbtxt.parse(text)) == due
    assert stamps_of(pbtxt.parse(restamped(text, model))) == due


def test_a_configuration_is_stamped_anew_only_if_it_is_stamped(model):
    assert stamped_anew(CONFIG, CONFIG + "# mine\n", model) == CONFIG + "# mine\n"
    before = restamped(CONFIG, model)
    after = set_field(before, "version_policy.specific.versions", "[1]")
    assert list(stamps_of(pbtxt.parse(stamped_anew(before, after, model)))) == [1]
    assert stamped_anew("", CONFIG, model) == before
