# SPDX-License-Identifier: Apache-2.0
"""A configuration is read as Triton's parser reads it, where Python's would read another thing."""

from contextlib import suppress

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from repo_tool.config import pbtxt
from repo_tool.config.prototext import as_python_reads
from repo_tool.errors import ConfigError
from support.text_cases import BEGINNING, READ, REFUSED


def parse(content):
    return pbtxt.parse(content.decode("utf-8", "replace"))


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_what_triton_reads_is_read(content):
    parse(content)


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_what_triton_refuses_is_refused(content):
    with pytest.raises(ConfigError):
        parse(content)


def parameter(value):
    return pbtxt.parse(f'parameters {{ key: "a" value {{ string_value: {value} }} }}').parameters["a"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"'\x414'", "A4"),
        (r"'\1014'", "A4"),
        (r"'\303\251'", "é"),
        (r"'\xc3\xa9 \?\''", "é ?'"),
        (r"'\ud83d\ude00'", "😀"),
        (r"'\xff'", "\ufffd"),
        (r"""'"\xff'""", '"\ufffd'),
    ],
)
def test_escapes_mean_what_they_mean_to_triton(written, read):
    assert parameter(written) == read


def test_numbers_mean_what_they_mean_to_triton():
    config = pbtxt.parse("max_batch_size: 0x10 optimization { graph { level: - # minus\n 017 } }")
    assert (config.max_batch_size, config.optimization.graph_level) == (16, -15)
    assert pbtxt.parse("model_transaction_policy { decoupled: 0x1 }").decoupled


def test_a_refusal_names_line_and_column():
    with pytest.raises(ConfigError) as error:
        pbtxt.parse('# é\nname: "a\\d"')
    assert error.value.cause == "2:9 : Invalid escape sequence in string literal"


def test_lines_stay_where_they_are():
    text = 'a: - # one\n\n 1 # é\nname: "\\xff"\n\n'
    assert as_python_reads(text).count("\n") == text.count("\n")


PIECES = st.sampled_from(
    [
        *("{", "}", "<", ">", "[", "]", ":", ",", ";", "-", "+", ".", "#", "\n", " ", "\t", "\0", "\\", '"', "'", "é"),
        *("0", "1", "0x1", "07", "08", "1e5", "1.5", "4f", "_", "true", "name", "max_batch_size", "input", "dims"),
        *('"x"', "'y\\n'", '"\\xff"', '"\\q"', "parameters", "key", "value", "dynamic_batching", "\u00a0", "\ufffd"),
    ]
)


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=14).map("".join)))
def test_any_text_is_read_or_refused(text):
    with suppress(ConfigError):
        pbtxt.parse(text)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.integers(0, len(BEGINNING)))
def test_any_bytes_are_read_or_refused(noise, place):
    with suppress(ConfigError):
        parse(BEGINNING[:place] + noise + BEGINNING[place:])


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_value_that_protobuf_writes_reads_back(value):
    message = model_config_pb2.ModelConfig()
    message.parameters["a"].string_value = value
    for as_utf8 in (False, True):
        written = text_format.MessageToString(message, as_utf8=as_utf8)
        assert pbtxt.parse(written).parameters["a"] == value
