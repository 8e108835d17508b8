# SPDX-License-Identifier: Apache-2.0
"""A change of config.pbtxt in the variants that say the same about the field."""

from dataclasses import replace

import pytest

from repo_tool.config import pbtxt
from repo_tool.config.carry import carry
from repo_tool.config.derive import DeriveOptions, derive
from repo_tool.config.edit import remove_field, set_field
from repo_tool.config.variants import GraphFacts, variants
from repo_tool.datatypes import DataType
from repo_tool.errors import ConfigError
from repo_tool.releases import release
from repo_tool.signature import ModelSignature, TensorSpec

MAIN = """\
name: "m"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
dynamic_batching { }
instance_group [ { kind: KIND_AUTO count: 1 } ]
parameters { key: "a" value { string_value: "1" } }
version_policy { latest { num_versions: 1 } }
"""
OWN = MAIN.replace("KIND_AUTO", "KIND_GPU")


def after(path, value, text=MAIN):
    return set_field(text, path, value) if value is not None else remove_field(text, path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("max_batch_size", "16"),
        ("max_batch_size", None),
        ("input[0].dims", "[ 5, -1 ]"),
        ("input[1]", '{ name: "z" data_type: TYPE_BOOL dims: [ 1 ] }'),
        ("dynamic_batching.max_queue_delay_microseconds", "500"),
        ("dynamic_batching", None),
        ("sequence_batching.direct.minimum_slot_utilization", "0.1"),
        ("instance_group[0].count", "3"),
        ("parameters[a]", "2"),
        ("parameters[a]", None),
        ("parameters[b c]", '"quoted"'),
        ("version_policy", "{ specific { versions: [ 1, 2 ] } }"),
        ("version_policy.latest.num_versions", "2"),
        ("optimization.graph.level", "-1"),
        ("response_cache", "{ }"),
        ("response_cache.enable", "true"),
        ("default_model_filename", "größe.onnx"),
    ],
)
def test_what_both_say_changes_in_both(path, value):
    changed = after(path, value)
    carried = carry(OWN, MAIN, changed)
    assert carried.kept == ()
    assert pbtxt.parse(carried.text) == pbtxt.parse(after(path, value, OWN))
    assert "KIND_GPU" in carried.text


@pytest.mark.parametrize(
    ("own", "path", "value"),
    [
        (OWN, "instance_group[0].kind", "KIND_CPU"),
        (OWN, "instance_group", "[ ]"),
        (OWN.replace("size: 8", "size: 4"), "max_batch_size", "16"),
        (OWN.replace('"1"', '"4"'), "parameters[a]", "2"),
        (OWN.replace('"1"', '"4"'), "parameters[a]", None),
        (OWN.replace('"a"', '"b"'), "parameters[a]", "2"),
        (OWN.replace("dynamic_batching", "sequence_batching"), "dynamic_batching.preserve_ordering", "true"),
        (OWN.replace("latest { num_versions: 1 }", "all { }"), "version_policy.latest.num_versions", "2"),
        (OWN.replace('"x"', '"pixels"'), "input[0].dims", "[ 5 ]"),
        (OWN.replace('"a"', '"b"') + 'parameters { key: "a" value { string_value: "x" } }', "parameters[a]", None),
    ],
)
def test_what_a_variant_has_of_its_own_stays(own, path, value):
    carried = carry(own, MAIN, after(path, value))
    assert carried.text == own
    assert carried.kept


def test_what_a_variant_says_already_is_neither_changed_nor_kept():
    own = OWN.replace("size: 8", "size: 16")
    assert carry(own, MAIN, after("max_batch_size", "16")) == carry(own, MAIN, MAIN)


def test_a_text_that_does_not_parse_is_refused():
    with pytest.raises(ConfigError, match="does not parse"):
        carry("max_batch_sise: 8", MAIN, after("max_batch_size", "16"))


@pytest.fixture
def with_tensorrt():
    """config.pbtxt and configs/gpu.pbtxt of a model whose batch is all that varies."""
    specs = [TensorSpec(name=name, datatype=DataType.FP32, shape=(-1, 4)) for name in ("x", "y")]
    signature = ModelSignature(inputs=(specs[0],), outputs=(specs[1],))
    config = derive(signature, DeriveOptions(name="m", backend="onnxruntime", cores=1))
    facts = GraphFacts(digest="0123456789abcdef", is_standard=True)
    _, gpu = variants(config, facts, release("26.07"), {})
    return pbtxt.render(config), pbtxt.render(gpu.config, verified=False, variant="gpu")


def parameters(text):
    return pbtxt.parse(text).optimization.execution_accelerators.gpu[0].parameters


def test_tensorrt_s_shapes_follow_the_largest_batch(with_tensorrt):
    main, gpu = with_tensorrt
    carried = carry(gpu, main, after("max_batch_size", "64", main))
    assert parameters(carried.text) == {
        **parameters(gpu),
        "trt_profile_opt_shapes": "x:64x4",
        "trt_profile_max_shapes": "x:64x4",
    }


def test_shapes_that_a_person_gave_stay(with_tensorrt):
    main, gpu = with_tensorrt
    own = gpu.replace('"trt_profile_opt_shapes" value: "x:32x4"', '"trt_profile_opt_shapes" value: "x:8x4"')
    carried = parameters(carry(own, main, after("max_batch_size", "64", main)).text)
    assert (carried["trt_profile_opt_shapes"], carried["trt_profile_max_shapes"]) == ("x:8x4", "x:64x4")


def test_a_model_whose_shapes_begin_to_vary_is_recorded_no_more(with_tensorrt):
    main, _ = with_tensorrt
    shapes = [f"{tensor}[0].dims" for tensor in ("input", "output")]
    whole = after("max_batch_size", "0", main)
    for path in shapes:
        whole = after(path, "[ 1, 4 ]", whole)
    config = pbtxt.parse(whole)
    config = replace(config, dynamic_batching=None)
    _, fixed = variants(config, GraphFacts(digest="01", is_standard=True), release("26.07"), {})
    text = pbtxt.render(fixed.config, verified=False, variant="gpu")
    assert "trt_cuda_graph_enable" in parameters(text)
    varied = carry(text, pbtxt.render(config), after("input[0].dims", "[ -1, 4 ]", pbtxt.render(config)))
    assert "trt_cuda_graph_enable" not in parameters(varied.text)
