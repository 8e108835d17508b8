# SPDX-License-Identifier: Apache-2.0
"""One field changes, and nothing else: neither another field nor a comment."""

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from repo_tool.config.edit import remove_field, set_field
from repo_tool.config.prototext import as_python_reads
from repo_tool.errors import ConfigError
from support.model_configs import model_configs
from support.pbtxt_layouts import oddly_written, set_fields


def parsed(text):
    return text_format.Parse(as_python_reads(text), model_config_pb2.ModelConfig())


def is_speakable(path):
    """Whether no key of a map makes the path ambiguous."""
    return not set(path) & set("\"'") and "][" not in path and "]." not in path.replace("].", "", path.count("["))


TEXT = """\
# about the model
name: "m"
max_batch_size: 0  # no batches
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 1, 2 ] },  # first
  {
    name: "y"
    # its type
    data_type: TYPE_FP32
    dims: 3; dims: 4
  }  # second
]
parameters { key: "a" value: { string_value: "1" } }  # of a
parameters {
  key: "b"
}
version_policy { latest { num_versions: 1 } }
dynamic_batching {
  # nothing yet
}
instance_group { }
metric_tags: [ { key: "t" value: "u" }, { key: "v" value: "w" } ]
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("max_batch_size", "8", "max_batch_size: 0  #", "max_batch_size: 8  #"),
        ("name", "n", 'name: "m"', 'name: "n"'),
        ("name", '"n"', 'name: "m"', 'name: "n"'),
        ("name", 'a "b"', 'name: "m"', 'name: "a \\"b\\""'),
        ("input[0].dims", "[3]", "dims: [ 1, 2 ]", "dims: [3]"),
        ("input[0].dims", "3, 4", "dims: [ 1, 2 ]", "dims: [ 3, 4 ]"),
        ("input[0].dims[1]", "-1", "dims: [ 1, 2 ]", "dims: [ 1, -1 ]"),
        ("input[0].dims[2]", "-1", "dims: [ 1, 2 ]", "dims: [ 1, 2, -1 ]"),
        ("input[1].dims", "[5]", "dims: 3; dims: 4", "dims: [5];"),
        ("input[1].dims[1]", "5", "dims: 4", "dims: 5"),
        ("input[1].dims[2]", "5", "dims: 4\n", "dims: 4 dims: [ 5 ]\n"),
        ("input[1].optional", "true", "dims: 4\n", "dims: 4\n    optional: true\n"),
        ("input[2].name", "z", '  }  # second\n', '  },  # second\n  { name: "z" }\n'),
        ("parameters[a]", "2", 'string_value: "1"', 'string_value: "2"'),
        ("parameters[a].string_value", "2", 'string_value: "1"', 'string_value: "2"'),
        ("parameters[b]", "2", '  key: "b"\n', '  key: "b"\n  value { string_value: "2" }\n'),
        ("parameters[c.d]", "2", '"b"\n}\n', '"b"\n}\nparameters { key: "c.d" value { string_value: "2" } }\n'),
        ("metric_tags[t]", "x", 'value: "u"', 'value: "x"'),
        ("metric_tags[y]", "x", 'value: "w" }', 'value: "w" }, { key: "y" value: "x" }'),
        ("version_policy.all", "{ }", "latest { num_versions: 1 }", "all { }"),
        ("version_policy.specific.versions", "1", "latest { num_versions: 1 }", "specific { versions: [ 1 ] }"),
        ("dynamic_batching.preserve_ordering", "true", "yet\n", "yet\n  preserve_ordering: true\n"),
        ("instance_group[0].count", "2", "instance_group { }", "instance_group { count: 2 }"),
        ("instance_group[1].count", "2", "group { }\n", "group { }\ninstance_group { count: 2 }\n"),
        ("backend", "python", '"w" } ]\n', '"w" } ]\nbackend: "python"\n'),
        ("response_cache", "{ enable: true }", '"w" } ]\n', '"w" } ]\nresponse_cache { enable: true }\n'),
        ("optimization.graph.level", "-1", '"w" } ]\n', '"w" } ]\noptimization { graph { level: -1 } }\n'),
    ],
)  # fmt: skip
def test_a_field_is_set_where_its_writer_would_have_set_it(path, value, old, new):
    assert TEXT.count(old) == 1
    expected = TEXT.replace(old, new)
    assert set_field(TEXT, path, value) == expected


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("max_batch_size", "max_batch_size: 0  # no batches\n", ""),
        ("input[0].dims[0]", "[ 1, 2 ]", "[ 2 ]"),
        ("input[0].dims[1]", "[ 1, 2 ]", "[ 1 ]"),
        ("input[1].dims[0]", "dims: 3; dims: 4", "dims: 4"),
        ("input[1].dims", "    dims: 3; dims: 4\n", ""),
        ("input[0]", '  { name: "x" data_type: TYPE_FP32 dims: [ 1, 2 ] },  # first\n', ""),
        ("input[0].name", '{ name: "x" data', "{ data"),
        ("parameters[a]", 'parameters { key: "a" value: { string_value: "1" } }  # of a\n', ""),
        ("metric_tags[t]", '{ key: "t" value: "u" }, ', ""),
        ("metric_tags[v]", ', { key: "v" value: "w" }', ""),
        ("version_policy.latest", "{ latest { num_versions: 1 } }", "{ }"),
    ],
)
def test_a_field_is_taken_out_with_its_line(path, old, new):
    assert TEXT.count(old) == 1
    assert remove_field(TEXT, path) == TEXT.replace(old, new)


REMARK = "# repo-tool: allow CFG105 because of that\n"


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        (f"# a\n{REMARK}\n  # b\nbackend: 'x'\nname: 'm'\n", "backend", "# a\n\n  # b\nname: 'm'\n"),
        (f"input [\n  {REMARK}  {{ name: 'x' }},\n  {{ }}\n]\n", "input[0]", "input [\n  { }\n]\n"),
        (f"backend: 'x' {REMARK}name: 'm'\n", "backend", "name: 'm'\n"),
        (f"input {{\n  name: 'x'\n  dims: 0 }} {REMARK}", "input[0].dims", "input {\n  name: 'x'\n  }\n"),
        (f"{REMARK}metric_tags {{ key: 'a' }}\nname: 'm'\n", "metric_tags", "name: 'm'\n"),
    ],
)
def test_what_is_allowed_at_a_field_goes_with_it(before, path, after):
    assert remove_field(before, path) == after


@pytest.mark.parametrize(
    ("text", "path", "gone"),
    [
        ("# repo-tool: allow-model CFG105 because so\nbackend: 'x'\nname: 'm'\n", "backend", "backend: 'x'\n"),
        (f"{REMARK}name: 'm' backend: 'x'\n", "backend", " backend: 'x'"),
        (f"{REMARK}name: 'm'\nbackend: 'x'\n", "backend", "backend: 'x'\n"),
        (f"name: 'm' backend: 'x' {REMARK}", "backend", " backend: 'x'"),
    ],
)
def test_what_is_allowed_elsewhere_stays(text, path, gone):
    assert remove_field(text, path) == text.replace(gone, "")


def test_what_was_allowed_at_a_rival_is_not_allowed_at_the_field_in_its_place():
    text = f"{REMARK}dynamic_batching {{ }}\n"
    assert set_field(text, "sequence_batching.max_sequence_idle_microseconds", "7").startswith("sequence_batching {")


def test_line_ends_stay_as_they_are():
    text = 'name: "m"\r\ninput [\r\n  { name: "x" }\r\n]\r\n'
    assert set_field(text, "input[1].name", "y") == text.replace("}\r\n", '},\r\n  { name: "y" }\r\n')
    assert set_field(text, "backend", "b") == text + 'backend: "b"\r\n'
    assert remove_field(text, "name") == text[11:]


def test_a_text_without_a_last_line_end_gets_one_first():
    assert set_field('name: "m"', "max_batch_size", "8") == 'name: "m"\nmax_batch_size: 8\n'
    assert set_field("", "name", "m") == 'name: "m"\n'


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("max_batch_sise", "1", "did you mean max_batch_size?"),
        ("input[0].dim", "1", "did you mean input[0].dims?"),
        ("max_queue_size", "1", "did you mean dynamic_batching.default_queue_policy.max_queue_size"),
        ("max_batch_size", "many", "it is a whole number"),
        ("max_batch_size", "1.5", "it is a whole number"),
        ("max_batch_size", "3000000000", "to 2147483647"),
        ("max_batch_size", '1 name: "n"', "it is a whole number"),
        ("max_batch_size", "1 # one", "it is a whole number"),
        ("max_batch_size", "1,", "it is a whole number"),
        ("response_cache.enable", "maybe", "true or false"),
        ("input[0].data_type", "FP32", "did you mean TYPE_FP32"),
        ("instance_group[0].kind", "GPU", "KIND_GPU"),
        ("input[0].dims", "[1, x]", "a list"),
        ("input[3].dims", "[1]", "input[2] is the next"),
        ("input[0].dims[5]", "1", "dims[2] is the next"),
        ("input.dims", "1", "input[0].dims"),
        ("name.x", "1", "plain value"),
        ("name[0]", "1", "one value"),
        ("input[x]", "{ }", "input[0]"),
        ("input[0", "1", "not closed"),
        ("", "1", "no path"),
        ("input[0]dims", "1", "no path"),
        ("dynamic_batching", "500", "{ preferred_batch_size"),
        ("dynamic_batching.priority_queue_policy[x]", "{ }", "no number"),
        ("dynamic_batching", "{ max_batch_size: 1 }", "a message ModelDynamicBatching"),
    ],
)
def test_what_cannot_be_set_is_told_with_what_can(path, value, words):
    with pytest.raises(ConfigError) as raised:
        set_field(TEXT, path, value)
    assert words in str(raised.value)


def test_what_is_not_written_cannot_be_removed():
    for path in ("backend", "input[0].optional", "input[7]", "parameters[z]", "optimization.graph.level"):
        with pytest.raises(ConfigError, match="is not written"):
            remove_field(TEXT, path)


def test_a_text_that_does_not_parse_is_not_edited():
    with pytest.raises(ConfigError, match="does not parse"):
        set_field("name: ", "max_batch_size", "1")


@settings(max_examples=40, deadline=None)
@given(model_configs, st.randoms(use_true_random=False))
def test_every_field_that_is_set_can_be_removed_in_any_layout(message, random):
    text = oddly_written(message, random)
    while places := [path for path, _, _ in set_fields(parsed(text)) if is_speakable(path)]:
        path = random.choice(places)
        text = remove_field(text, path)  # which proves that nothing else changed
        assert path.endswith("]") or path not in {found for found, _, _ in set_fields(parsed(text))}
        if random.random() < 0.3:
            break


def words_of(field, value):
    """A value as protobuf writes it."""
    holder = field.containing_type._concrete_class()
    if field.is_repeated:
        getattr(holder, field.name).append(value)
    else:
        setattr(holder, field.name, value)
    text = text_format.MessageToString(holder, as_one_line=True)
    return text.partition(":")[2].strip()


@settings(max_examples=40, deadline=None)
@given(model_configs, model_configs, st.randoms(use_true_random=False))
def test_every_field_can_be_set_in_any_layout(message, wanted, random):
    text = oddly_written(message, random)
    for path, field, value in set_fields(wanted):
        if not is_speakable(path):
            continue
        is_there = path in {place for place, _, _ in set_fields(parsed(text))}
        if field.message_type is not None and not is_there:
            text = set_field(text, path, "{ }")  # which proves that nothing else changed
        elif field.message_type is None:
            text = set_field(text, path, words_of(field, value))
            assert value == {place: one for place, _, one in set_fields(parsed(text))}.get(path, type(value)())
