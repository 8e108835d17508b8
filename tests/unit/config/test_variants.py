# SPDX-License-Identifier: Apache-2.0
"""configs/cpu.pbtxt and configs/gpu.pbtxt: what of config.pbtxt they change, and that nobody's release refuses them."""

import itertools
from dataclasses import replace

import pytest

from repo_tool.config import pbtxt
from repo_tool.config.changes import Effect
from repo_tool.config.compare import compare
from repo_tool.config.derive import DeriveOptions, derive, reasons_for
from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.variants import GraphFacts, variants
from repo_tool.datatypes import DataType
from repo_tool.releases import known_releases, release
from repo_tool.signature import ModelSignature, TensorSpec
from support.golden import matches_golden


def tensor(name, datatype, *shape):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


BATCHING = ModelSignature(
    inputs=(tensor("image", DataType.FP32, -1, 3, 224, 224), tensor("scale", DataType.FP32, -1)),
    outputs=(tensor("scores", DataType.FP32, -1, 10),),
)
FIXED = ModelSignature(inputs=(tensor("x", DataType.FP32, 1, 8),), outputs=(tensor("y", DataType.FP32, 1, 2),))
SEQUENCES = ModelSignature(
    inputs=(tensor("ids", DataType.INT64, -1, -1),), outputs=(tensor("y", DataType.FP32, -1, 2),)
)
WORDS = ModelSignature(inputs=(tensor("text", DataType.BYTES, -1, 1),), outputs=(tensor("y", DataType.FP32, -1, 2),))
WHOLE = GraphFacts(digest="0123456789abcdef", is_standard=True)


def options(**changes):
    return DeriveOptions(**{"name": "model", "backend": "onnxruntime", "cores": 4} | changes)


def of(signature, facts=WHOLE, *, target="26.07", **changes):
    chosen = options(**changes)
    config = derive(signature, chosen)
    return {one.name: one for one in variants(config, facts, release(target), reasons_for(config, signature, chosen))}


def accelerators(variant):
    optimization = variant.config.optimization
    return () if optimization is None else optimization.execution_accelerators.gpu


def rendered(variant, *, verified=False):
    return pbtxt.render(variant.config, verified=verified, reasons=variant.reasons, variant=variant.name)


@pytest.mark.parametrize(
    ("name", "signature", "facts", "changes"),
    [
        ("batching", BATCHING, replace(WHOLE, precision="FP16"), {"row_bytes": 602_160}),
        ("fixed", FIXED, WHOLE, {}),
        ("words", WORDS, WHOLE, {}),
        ("sklearn", SEQUENCES, WHOLE, {"backend": "sklearn"}),
    ],
)
def test_the_gpu_variant_is_commented(name, signature, facts, changes):
    assert matches_golden(rendered(of(signature, facts, **changes)["gpu"]), f"configs/gpu_{name}.pbtxt")


def test_the_cpu_variant_is_commented():
    assert matches_golden(rendered(of(BATCHING, instances=2)["cpu"], verified=True), "configs/cpu.pbtxt")


def test_shapes_that_a_request_chooses_have_no_range_and_a_graph_that_branches_no_recording():
    assert "trt_profile_max_shapes" not in accelerators(of(SEQUENCES)["gpu"])[0].parameters
    branching = of(FIXED, replace(WHOLE, branches=True))["gpu"]
    assert "trt_cuda_graph_enable" not in accelerators(branching)[0].parameters


def test_a_name_that_would_break_the_list_of_shapes_has_no_range():
    named = replace(BATCHING, inputs=(tensor("serving_default_x:0", DataType.FP32, -1, 4),))
    assert "trt_profile_max_shapes" not in accelerators(of(named)["gpu"])[0].parameters


@pytest.mark.parametrize("facts", [replace(WHOLE, is_standard=False)])
def test_a_graph_that_tensorrt_would_cut_runs_on_cuda(facts):
    variant = of(BATCHING, facts)["gpu"]
    assert accelerators(variant) == ()
    assert variant.config.instance_groups[0].kind is InstanceKind.KIND_GPU


@pytest.mark.parametrize(
    ("backend", "target", "kind"),
    [
        ("onnxruntime", "26.07", InstanceKind.KIND_GPU),
        ("pytorch", "26.07", InstanceKind.KIND_GPU),
        ("fil", "26.07", InstanceKind.KIND_GPU),
        ("tensorflow", "25.02", InstanceKind.KIND_GPU),
        ("tensorflow", "26.07", InstanceKind.KIND_CPU),
        ("sklearn", "26.07", InstanceKind.KIND_CPU),
        ("python", "26.07", InstanceKind.KIND_CPU),
    ],
)
def test_where_a_backend_computes_is_where_its_instances_are(backend, target, kind):
    assert of(BATCHING, backend=backend, target=target)["gpu"].config.instance_groups[0].kind is kind


def test_a_group_of_a_person_s_own_kind_stays():
    config = replace(
        derive(BATCHING, options()), instance_groups=(InstanceGroup(kind=InstanceKind.KIND_MODEL, count=1),)
    )
    for variant in variants(config, WHOLE, release("26.07"), {}):
        assert variant.config.instance_groups == config.instance_groups


@pytest.mark.parametrize("signature", [BATCHING, FIXED, SEQUENCES, WORDS])
def test_no_client_can_tell_which_variant_is_served(signature):
    config = derive(signature, options())
    for variant in of(signature).values():
        assert {change.effect for change in compare(config, variant.config)} == {Effect.SERVER}


@pytest.mark.parametrize("target", known_releases())
def test_nothing_is_written_that_a_release_does_not_know(target):
    unknown = release(target).unknown_config_fields
    for signature, backend in itertools.product((BATCHING, FIXED, SEQUENCES), ("onnxruntime", "pytorch", "python")):
        for variant in of(signature, backend=backend, target=target).values():
            written = set(paths(pbtxt.parse(rendered(variant))))
            assert not written & unknown


def paths(config):
    """The paths of all fields of the message that are set."""
    from tritonclient.grpc import model_config_pb2

    from repo_tool.config.messages import to_message

    def walk(message, prefix):
        for field, value in message.ListFields():
            path = f"{prefix}.{field.name}" if prefix else field.name
            yield path
            is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
            if field.message_type is not None and not is_map:
                for part in value if field.is_repeated else [value]:
                    yield from walk(part, path)

    return walk(to_message(config, model_config_pb2.ModelConfig()), "")
