# SPDX-License-Identifier: Apache-2.0
"""config.pbtxt is read and written with Triton's own message, and nothing that a person wrote is lost."""

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from tritonclient.grpc import model_config_pb2

from repo_tool.config import pbtxt
from repo_tool.config.fields import proto_fields
from repo_tool.config.messages import ENUMS, VALUES, from_message, to_message
from repo_tool.config.model import ModelConfig, ModelTensor, VersionPolicy, Warmup, WarmupInput
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.datatypes import DataType
from repo_tool.errors import ConfigError
from support.model_configs import every_message_type, model_configs


@given(model_configs)
def test_every_message_becomes_values_and_the_same_message_again(message):
    assert to_message(from_message(message), model_config_pb2.ModelConfig()) == message


@settings(max_examples=60, deadline=None)
@given(model_configs)
def test_what_is_written_reads_back_the_same(message):
    config = from_message(message)
    assert pbtxt.parse(pbtxt.render(config)) == config


def test_every_field_of_the_message_has_a_place_in_the_values():
    for message_type in every_message_type():
        values = VALUES.get(message_type.full_name)
        if values is not None:
            known = {field.name for field in proto_fields(values)}
            if not message_type.full_name.endswith(("ModelInput", "ModelOutput")):  # one class stands for both
                assert known - {"name"} <= {field.name for field in message_type.fields}
            assert {field.name for field in message_type.fields} <= known


def test_every_enumeration_that_is_one_of_ours_has_all_members():
    enums = {field.enum_type for message in every_message_type() for field in message.fields if field.enum_type}
    for enum in enums:
        if enum.full_name in ENUMS:
            assert {member.value for member in ENUMS[enum.full_name]} == set(enum.values_by_name)


def test_an_empty_message_is_not_an_absent_one():
    config = pbtxt.parse('name: "m" optimization { } sequence_batching { direct { } } version_policy { specific { } }')
    assert config.optimization is not None
    assert config.sequence_batching is not None
    assert config.sequence_batching.direct is not None
    assert config.version_policy is not None
    assert config.version_policy.specific == ()


def test_what_repo_tool_writes_itself_is_commented_and_the_rest_follows():
    text = pbtxt.render(ModelConfig(name="model", backend="python", response_cache=True, metric_tags={"team": "a"}))
    assert "# Requests are not batched" in text
    assert text.endswith('metric_tags {\n  key: "team"\n  value: "a"\n}\nresponse_cache {\n  enable: true\n}\n')


def comments(text):
    return [line for line in text.splitlines() if line.startswith("#")]


@pytest.mark.parametrize("max_batch_size", [0, 8])
@pytest.mark.parametrize("variant", ["", "cpu"])
def test_nothing_is_said_to_be_proven_unless_the_caller_says_so(max_batch_size, variant):
    config = ModelConfig(name="model", backend="python", max_batch_size=max_batch_size)
    silent, said = (pbtxt.render(config, variant=variant, **claim) for claim in ({}, {"verified": True}))
    assert "NOT" in comments(silent)[0] + comments(silent)[1]
    assert "were run before" not in silent
    assert "NOT" not in said


@pytest.mark.parametrize(("delay", "says_none"), [(0, True), (1, False), (500_000, False)])
def test_the_comment_on_the_queue_delay_is_true_for_any_delay(delay, says_none):
    config = ModelConfig(name="model", backend="python", dynamic_batching=DynamicBatching(max_queue_delay_us=delay))
    assert any("No delay" in comment for comment in comments(pbtxt.render(config))) is says_none


@pytest.mark.parametrize(("latest", "says_one"), [(1, True), (2, False)])
def test_the_comment_on_versions_is_true_for_any_number(latest, says_one):
    config = ModelConfig(name="model", backend="python", version_policy=VersionPolicy(latest=latest))
    assert ("# Only the newest version is loaded" in pbtxt.render(config)) is says_one


def test_a_warm_up_of_random_values_needs_no_file():
    tensor = ModelTensor(name="x", datatype=DataType.FP32, dims=(4,))
    row = WarmupInput(name="x", datatype=DataType.FP32, dims=(4,), random_data=True)
    config = ModelConfig(
        name="m", backend="python", inputs=(tensor,), outputs=(tensor,), model_warmup=(Warmup(name="w", inputs=(row,)),)
    )
    assert pbtxt.parse(pbtxt.render(config)) == config


@pytest.mark.parametrize(
    "text",
    [
        "instance_group { kind: 77 }",
        "input { data_type: 99 }",
        "sequence_batching { control_input { control { kind: 9 } } }",
    ],
)
def test_a_number_that_names_nothing_is_refused(text):
    with pytest.raises(ConfigError, match="a number that names nothing"):
        pbtxt.parse(text)


def test_a_misspelt_field_is_named_with_its_place():
    with pytest.raises(ConfigError) as raised:
        pbtxt.parse('name: "model"\nmax_batchsize: 8\n')
    assert "2:1" in raised.value.cause
    assert "max_batchsize" in raised.value.cause


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("max_batchsize: 8", "did you mean 'max_batch_size'?"),
        ("dynamic_batching { } sequence_batching { }", "keep one of the two"),
        ("\ufeffname: 'm'", "without a byte order mark"),
        ("response_cache { quux: 1 }", "inference.ModelResponseCache has enable"),
    ],
)
def test_the_way_out_fits_the_fault(text, way_out):
    with pytest.raises(ConfigError) as raised:
        pbtxt.parse(text)
    assert way_out in raised.value.next_step


def test_messages_without_end_are_refused():
    with pytest.raises(ConfigError):
        pbtxt.parse("input {" * 100_000)


def test_text_of_the_message_itself_is_read():
    message = model_config_pb2.ModelConfig(name="m", max_batch_size=3)
    assert pbtxt.parse(text_format.MessageToString(message)) == ModelConfig(name="m", max_batch_size=3)
