# SPDX-License-Identifier: Apache-2.0
"""What differs between two configurations, for clients and for the server."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo_tool.config import pbtxt
from repo_tool.config.changes import Effect
from repo_tool.config.compare import compare
from repo_tool.config.messages import from_message
from repo_tool.config.model import ModelConfig, ModelTensor, VersionPolicy
from repo_tool.config.scheduling import DynamicBatching, QueuePolicy, TimeoutAction
from repo_tool.datatypes import DataType
from support.conversations import breaks
from support.model_configs import model_configs

BASE = """
name: "churn"
backend: "onnxruntime"
max_batch_size: 8
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 4 ] },
  { name: "mask" data_type: TYPE_BOOL dims: [ 4 ] optional: true }
]
output [
  { name: "y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" },
  { name: "z" data_type: TYPE_INT64 dims: [ -1 ] }
]
instance_group [ { kind: KIND_AUTO count: 1 } ]
dynamic_batching { max_queue_delay_microseconds: 0 }
parameters { key: "threads" value { string_value: "2" } }
"""
FIXED = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 1, 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1, 2 ] } ]
"""
QUEUE = "max_queue_delay_microseconds: 0"
WORDS = {"labels.txt": ("no", "yes")}


def found(before, after, **labels):
    old, new = (pbtxt.parse(text) for text in (before, after))
    return [(change.effect, change.path) for change in compare(old, new, **labels)]


BREAKING = {
    ("dims: [ 4 ] }", "dims: [ 5 ] }"): "input[0].dims",
    ("TYPE_FP32 dims: [ 4 ] }", "TYPE_FP64 dims: [ 4 ] }"): "input[0].data_type",
    (" optional: true", ""): "input[1].optional",
    ("max_batch_size: 8", "max_batch_size: 4"): "max_batch_size",
    ("max_batch_size: 8", "max_batch_size: 0"): "max_batch_size",
    ("dims: [ 2 ]", "dims: [ -1 ]"): "output[0].dims",
    ("TYPE_INT64", "TYPE_INT32"): "output[1].data_type",
    (' label_filename: "labels.txt"', ""): "output[0].label_filename",
    ('name: "churn"', 'name: "leavers"'): "name",
    ("dynamic_batching { max", "model_transaction_policy { decoupled: true } dynamic_batching { max"): (
        "model_transaction_policy.decoupled"
    ),
    ("dynamic_batching { max_queue_delay_microseconds: 0 }", "sequence_batching { }"): "sequence_batching",
    ("input [", 'input [ { name: "w" data_type: TYPE_FP32 dims: [ 1 ] },'): "input[0]",
    ('name: "y"', 'name: "scores"'): "output[0]",
    ("instance_group", "version_policy { specific { versions: 1 } } instance_group"): "version_policy",
    (QUEUE, "default_queue_policy { max_queue_size: 9 }"): "dynamic_batching.default_queue_policy.max_queue_size",
    (QUEUE, "default_queue_policy { default_timeout_microseconds: 9 }"): (
        "dynamic_batching.default_queue_policy.default_timeout_microseconds"
    ),
}
COMPATIBLE = {
    ("instance_group", "version_policy { all { } } instance_group"): "version_policy",
    ("instance_group", "version_policy { latest { num_versions: 2 } } instance_group"): "version_policy",
    ("dims: [ 4 ] }", "dims: [ -1 ] }"): "input[0].dims",
    ("dims: [ 4 ] }", "dims: [ 4 ] optional: true }"): "input[0].optional",
    ("max_batch_size: 8", "max_batch_size: 16"): "max_batch_size",
    ("dims: [ -1 ]", "dims: [ 3 ]"): "output[1].dims",
    ("output [", 'output [ { name: "w" data_type: TYPE_FP32 dims: [ 1 ] },'): "output[0]",
    ("input [", 'input [ { name: "w" data_type: TYPE_FP32 dims: [ 1 ] optional: true },'): "input[0]",
}
SERVER = {
    ("count: 1", "count: 2"): "instance_group[0].count",
    ("microseconds: 0", "microseconds: 9"): "dynamic_batching.max_queue_delay_microseconds",
    ('string_value: "2"', 'string_value: "3"'): "parameters[threads]",
    ("dims: [ 4 ] }", "dims: [ 4 ] reshape { shape: [ 2, 2 ] } }"): "input[0].reshape.shape",
    ("instance_group", "version_policy { latest { num_versions: 1 } } instance_group"): "version_policy",
    ("onnxruntime", "pytorch"): "backend",
    (QUEUE, "default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 9 }"): (
        "dynamic_batching.default_queue_policy"
    ),
}


@pytest.mark.parametrize(
    ("change", "effect", "path"),
    [(change, Effect.BREAKING, path) for change, path in BREAKING.items()]
    + [(change, Effect.COMPATIBLE, path) for change, path in COMPATIBLE.items()]
    + [(change, Effect.SERVER, path) for change, path in SERVER.items()],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_one_change_is_told_with_its_effect_and_place(change, effect, path):
    assert change[0] in BASE
    told = found(BASE, BASE.replace(*change, 1))
    assert told[0] == (effect, path)
    assert {other for other, _ in told[1:]} <= {Effect.COMPATIBLE, Effect.SERVER}


def test_what_breaks_comes_first():
    effects = [effect for effect, _ in found(BASE, BASE.replace("count: 1", "count: 2").replace("size: 8", "size: 2"))]
    assert effects == [Effect.BREAKING, Effect.SERVER]


def test_a_tensor_that_only_changed_its_name_is_recognised():
    changes = compare(pbtxt.parse(BASE), pbtxt.parse(BASE.replace('name: "x"', 'name: "rows"')))
    assert "called 'rows' now" in changes[0].words


def test_the_words_of_label_files_count_and_their_names_do_not():
    renamed = BASE.replace("labels.txt", "classes.txt")
    same, other = {"classes.txt": ("no", "yes")}, {"classes.txt": ("yes", "no")}
    assert found(BASE, renamed, old_labels=WORDS, new_labels=same) == [(Effect.SERVER, "output[0].label_filename")]
    assert found(BASE, renamed, old_labels=WORDS, new_labels=other) == [(Effect.BREAKING, "output[0].label_filename")]


def test_the_batch_dimension_may_go_where_every_request_keeps_its_shape():
    batching = FIXED.replace("1, ", "") + "max_batch_size: 8"
    assert found(FIXED, batching)[0] == (Effect.COMPATIBLE, "max_batch_size")
    assert found(batching, FIXED)[0] == (Effect.BREAKING, "max_batch_size")


def test_a_sequence_may_need_another_kind_of_name():
    control = (
        'sequence_batching { control_input { name: "id" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_X } } }'
    )
    before, after = (control.replace("TYPE_X", name) for name in ("TYPE_UINT64", "TYPE_STRING"))
    assert (Effect.BREAKING, "sequence_batching.control_input") in found(before, after)


@settings(max_examples=30, deadline=None)
@given(model_configs)
def test_a_configuration_does_not_differ_from_itself(message):
    assert compare(from_message(message), from_message(message)) == ()


@settings(max_examples=20, deadline=None)
@given(model_configs, model_configs)
def test_two_that_differ_are_told_apart_both_ways(one, other):
    first, second = from_message(one), from_message(other)
    there, back = compare(first, second), compare(second, first)
    assert bool(there) == bool(back)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "specific { versions: [ 1, 2, 3 ] }",
            "specific { versions: [ 2 ] }",
            "requests for versions 1, 3 are refused",
        ),
        ("all { }", "latest { num_versions: 9 }", "may be left out"),
        ("latest { num_versions: 2 }", "latest { num_versions: 1 }", "may be left out"),
        ("specific { versions: [ 1 ] }", "", "may be left out"),
    ],
)
def test_a_version_that_is_not_served_any_more_breaks_its_clients(old, new, words):
    before, after = (pbtxt.parse(f"version_policy {{ {policy} }}" if policy else "") for policy in (old, new))
    (change,) = compare(before, after)
    assert (change.effect, change.path) == (Effect.BREAKING, "version_policy")
    assert words in change.words
    assert [found.effect for found in compare(after, before)] == [
        Effect.BREAKING if old.startswith("specific") and not new else Effect.COMPATIBLE
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [("", "version_policy { latest { num_versions: 1 } }"), ("version_policy { }", "version_policy { all { } }")],
)
def test_a_version_policy_that_means_the_same_concerns_the_server_only(old, new):
    assert found(old, new) == [(Effect.SERVER, "version_policy")]


def test_priorities_that_share_a_queue_now_have_less_room():
    levels = (
        "dynamic_batching { priority_levels: 3 default_priority_level: 1 default_queue_policy { max_queue_size: 2 } }"
    )
    one = "dynamic_batching { default_queue_policy { max_queue_size: SIZE } }"
    place = "dynamic_batching.default_queue_policy.max_queue_size"
    assert (Effect.BREAKING, place) in found(levels, one.replace("SIZE", "5"))
    assert Effect.BREAKING not in dict(found(levels, one.replace("SIZE", "6")))


@pytest.mark.parametrize("tensors", ["input", "output", ""])
def test_what_is_not_declared_cannot_be_told_to_keep_its_shape(tensors):
    declared = {kind: f'{kind} {{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }} ' for kind in ("input", "output")}
    bare = "".join(text for kind, text in declared.items() if kind == tensors)
    batching = bare + "max_batch_size: 8"
    for pair in ((bare, batching), (batching, bare)):
        assert found(*pair)[0] == (Effect.BREAKING, "max_batch_size")
    assert found(bare, bare) == []
    if not tensors:
        assert found(bare, declared["output"]) == [(Effect.BREAKING, "output")]
        assert found(declared["input"].replace("dims", "optional: true dims"), bare) == [(Effect.BREAKING, "input")]


TYPES = st.sampled_from([DataType.FP32, DataType.INT64])
DIMS = st.lists(st.sampled_from([-1, 1, 2]), min_size=1, max_size=2).map(tuple)
POLICIES = st.none() | st.one_of(
    st.builds(VersionPolicy),
    st.builds(VersionPolicy, all_versions=st.just(True)),
    st.builds(VersionPolicy, latest=st.integers(0, 3)),
    st.builds(VersionPolicy, specific=st.lists(st.integers(1, 3), max_size=3).map(tuple)),
)
LIMITS = st.builds(
    QueuePolicy,
    timeout_action=st.sampled_from(TimeoutAction),
    default_timeout_us=st.sampled_from([0, 3, 6]),
    allow_timeout_override=st.booleans(),
    max_queue_size=st.sampled_from([0, 1, 2, 3]),
)
QUEUES = st.none() | st.integers(0, 2).flatmap(
    lambda levels: st.builds(
        DynamicBatching,
        priority_levels=st.just(levels),
        default_priority_level=st.integers(min(levels, 1), levels),
        default_queue_policy=st.none() | LIMITS,
        priority_queue_policy=st.dictionaries(st.integers(1, 3), LIMITS, max_size=2),
    )
)


@st.composite
def small_configs(draw):
    """Small ones: input `a`, perhaps an optional or required `b`, one or two outputs; a side may be left out."""
    inputs = [ModelTensor(name="a", datatype=draw(TYPES), dims=draw(DIMS))]
    if draw(st.booleans()):
        inputs.append(ModelTensor(name="b", datatype=DataType.FP32, dims=draw(DIMS), optional=draw(st.booleans())))
    names = draw(st.sampled_from([("y",), ("y", "z")]))
    outputs = [ModelTensor(name=name, datatype=draw(TYPES), dims=draw(DIMS)) for name in names]
    size = draw(st.sampled_from([0, 0, 1, 2]))
    inputs, outputs = (side if draw(st.integers(0, 5)) else [] for side in (inputs, outputs))  # declared, as a rule
    return ModelConfig(
        name="m",
        max_batch_size=size,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        version_policy=draw(POLICIES),
        dynamic_batching=draw(QUEUES),
    )


@st.composite
def neighbours(draw):
    """Two configurations that share most."""
    old = draw(small_configs())
    other = draw(small_configs())
    names = ["max_batch_size", "inputs", "outputs", "version_policy", "dynamic_batching"]
    fields = draw(st.sets(st.sampled_from(names), min_size=1))
    return old, replace(old, **{name: getattr(other, name) for name in fields})


@settings(max_examples=300, deadline=None)
@given(neighbours())
def test_breaking_is_exactly_what_ends_a_conversation_that_worked(pair):
    old, new = pair
    is_breaking = any(change.effect is Effect.BREAKING for change in compare(old, new))
    assert is_breaking == (breaks(old, new) is not None)
