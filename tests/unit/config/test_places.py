# SPDX-License-Identifier: Apache-2.0
"""Every field of a config.pbtxt is found where it is written, in whatever layout protobuf takes."""

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from repo_tool.config.places import locate
from repo_tool.config.prototext import as_python_reads
from support.model_configs import model_configs
from support.pbtxt_layouts import oddly_written, set_fields
from support.text_cases import READ

STYLES = [
    {},
    {"as_one_line": True},
    {"pointy_brackets": True, "use_short_repeated_primitives": True},
    {"as_utf8": True},
]


def parsed(text):
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def as_read(field, words):
    """What protobuf makes of ``words`` where they stand for a field's value."""
    holder = field.containing_type._concrete_class()
    text_format.Parse(f"{field.name}: {words}", holder)
    value = getattr(holder, field.name)
    return value[0] if field.is_repeated else value


def assert_all_found(text, message):
    places = locate(text)
    lines = text.split("\n")
    for path, field, value in set_fields(message):
        place = places.find(path)
        assert place is not None
        assert place.path == path
        words = text[place.value.start : place.value.end]
        if words[0] in "{<" and field.message_type is None:
            assert not value  # protobuf leaves out what a map's key maps to where it is the type's default
        else:
            assert as_read(field, words) == value
        assert lines[place.line - 1][place.column - 1 :].startswith(text[place.start : place.end].split("\n")[0])
        assert lines[place.end_line - 1][: place.end_column - 1].endswith(text[place.start : place.end].split("\n")[-1])
        if place.name is not None:
            assert text[place.name.start : place.name.end] in path


@settings(max_examples=50, deadline=None)
@given(model_configs, st.sampled_from(STYLES))
def test_every_field_that_protobuf_itself_writes_is_found(message, style):
    assert_all_found(text_format.MessageToString(message, **style), message)


@settings(max_examples=100, deadline=None)
@given(model_configs, st.randoms(use_true_random=False))
def test_every_field_is_found_in_the_oddest_layout(message, random):
    text = oddly_written(message, random)
    assert parsed(text) == message
    assert_all_found(text, message)


@pytest.mark.parametrize("name", READ)
def test_what_only_triton_reads_so_is_found_too(name):
    text = READ[name].decode(errors="replace")
    places = locate(text)
    for path, _, _ in set_fields(parsed(as_python_reads(text))):
        assert places.find(path).path == path


def test_a_sign_apart_from_its_number_belongs_to_the_value():
    text = "max_batch_size: - # one\n 1"
    value = locate(text).find("max_batch_size").value
    assert text[value.start : value.end] == "- # one\n 1"


WORDS = ["{", "}", "<", ">", "[", "]", ":", ",", ";", "#", "\n", '"', "'", "\\", "-", "1", "0x3", "name", "input"]
WORDS += ["parameters", "key", "value", "dims", "max_batch_size", '"a"', "true", "é", "\r", "\x00", "dynamic_batching"]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(WORDS)).map(" ".join), st.lists(st.sampled_from(WORDS)).map("".join))
)
def test_no_text_ends_it(text):
    for place in locate(text).fields:
        assert 0 <= place.start <= place.value.start <= place.value.end <= place.end <= len(text)


@settings(max_examples=100, deadline=None)
@given(model_configs, st.data())
def test_half_a_file_keeps_the_places_of_what_is_there(message, data):
    text = text_format.MessageToString(message)
    cut = data.draw(st.integers(0, len(text)))
    whole = {(place.path, place.start) for place in locate(text).fields}
    half = locate(text[:cut]).fields
    in_whole = [place for place in half if "[" not in place.path]  # a map's key may be what was cut
    assert {(place.path, place.start) for place in in_whole if place.end < cut} <= whole


def test_nested_without_end_is_broken_off():
    assert len(locate("a {" * 100_000).fields) < 100


TEXT = """\
# for the whole file
name: "m"  # at the end
max_batch_size: 0
max_batch_size: 8
input [ { name: "x" dims: [ 1, -1 ] dims: 3 }, < name: 'y' > ]
input { name: "z" }
parameters { key: "a" "b" value: { string_value: "1" } }
parameters { value < string_value: "2" > key: '\\x61b' }
dynamic_batching { priority_queue_policy { key: 0x3 value { max_queue_size: 4 } } preferred_batch_size: [ ] }
"""


@pytest.mark.parametrize(
    ("path", "found", "words"),
    [
        ("max_batch_size", "max_batch_size", "8"),  # the last of two, as protobuf has it
        ("input", "input", "[ { name: \"x\" dims: [ 1, -1 ] dims: 3 }, < name: 'y' > ]"),  # the first of two
        ("input[0].dims", "input[0].dims", "[ 1, -1 ]"),
        ("input[0].dims[2]", "input[0].dims[2]", "3"),
        ("input[2].name", "input[2].name", '"z"'),
        ("input[1].dims", "input[1]", "< name: 'y' >"),
        ("input[7].dims[3]", "input", "[ { name: \"x\" dims: [ 1, -1 ] dims: 3 }, < name: 'y' > ]"),
        ("parameters[ab]", "parameters[ab]", '< string_value: "2" >'),
        ("parameters[ab].string_value", "parameters[ab].string_value", '"2"'),
        (
            "dynamic_batching.priority_queue_policy[3]",
            "dynamic_batching.priority_queue_policy[3]",
            "{ max_queue_size: 4 }",
        ),
        ("dynamic_batching.preferred_batch_size", "dynamic_batching.preferred_batch_size", "[ ]"),
        ("dynamic_batching.preferred_batch_size[0]", "dynamic_batching.preferred_batch_size", "[ ]"),
    ],
)
def test_a_field_or_its_nearest_written_ancestor(path, found, words):
    place = locate(TEXT).find(path)
    assert place.path == found
    assert TEXT[place.value.start : place.value.end] == words


def test_a_field_of_which_nothing_is_written_has_no_place():
    assert locate(TEXT).find("instance_group[0].count") is None


def test_places_count_lines_and_columns_from_one():
    place = locate(TEXT).find("name")
    assert (place.line, place.column, place.end_line, place.end_column) == (2, 1, 2, 10)


def test_comments_have_their_lines():
    assert locate(TEXT).comments == ((1, "# for the whole file"), (2, "# at the end"))
