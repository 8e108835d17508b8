# SPDX-License-Identifier: Apache-2.0
"""Steps and models become one ONNX graph that answers as they did one after another, or a reason why not."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from repo_tool.config import pbtxt
from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.model import ModelConfig, ModelTensor, Warmup, WarmupInput
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.datatypes import DataType
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.graphs import compiled_graph
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.stages import ModelStage, StepStage
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.layout import ModelRepository

RANDOM = np.random.default_rng(7)
PIXELS = Wire(DataType.UINT8, (4, 6, 3))
NORMALISE = step_kind("normalise").with_parameters({"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]})
SOFTMAX = step_kind("softmax").with_parameters({})
TOP = step_kind("top_k_labels").with_parameters({"labels": ["a", "b", "ü"], "k": 2})
WIRES = {
    "pixels": PIXELS,
    "tensor": Wire(DataType.FP32, (3, 4, 6)),
    "scores": Wire(DataType.FP32, (3,)),
    "probabilities": Wire(DataType.FP32, (3,)),
    "label": Wire(DataType.BYTES, (1,)),
    "probability": Wire(DataType.FP32, (1,)),
    "top_labels": Wire(DataType.BYTES, (2,)),
    "top_probabilities": Wire(DataType.FP32, (2,)),
}


def classifier(*, opset=18, nodes=(), functions=(), domains=(), names=("image", "logits"), ir=8, weights=None):
    """Pixels [batch, 3, 4, 6] to three numbers, with names inside that steps and other models have too."""
    read, written = names
    made = np.random.default_rng(11).normal(size=(72, 3)).astype(np.float32) if weights is None else weights
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", [read], ["tensor"], name="node"),
            helper.make_node("MatMul", ["tensor", "weight"], [written if not nodes else "label"], name="product"),
            *nodes,
        ],
        "classifier",
        [helper.make_tensor_value_info(read, TensorProto.FLOAT, ["N", 3, 4, 6])],
        [helper.make_tensor_value_info(written, TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(made, "weight")],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=list(functions))


def config_of(name="net", **settings):
    return ModelConfig(
        **{
            "name": name,
            "backend": "onnxruntime",
            "max_batch_size": 16,
            "inputs": (ModelTensor(name="image", datatype=DataType.FP32, dims=(3, 4, 6)),),
            "outputs": (ModelTensor(name="logits", datatype=DataType.FP32, dims=(3,)),),
            **settings,
        }
    )


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "models").mkdir()
    return ModelRepository(tmp_path / "models")


def add(repository, model, config=None, **save):
    config = config or config_of()
    folder = repository.path / config.name / "1"
    folder.mkdir(parents=True)
    onnx.save_model(model, folder / "model.onnx", **save)
    (folder.parent / "config.pbtxt").write_text(pbtxt.render(config))
    return config


def step_stage(step, **renamed):
    outputs = step.output_wires({tensor: WIRES[renamed.get(tensor, tensor)] for tensor in step.kind.inputs})
    return StepStage(
        step=step,
        inputs={tensor: renamed.get(tensor, tensor) for tensor in step.kind.inputs},
        outputs={tensor: renamed.get(tensor, tensor) for tensor in outputs},
        name=step.name,
    )


def model_stage(config, **wires):
    tensors = {"image": "tensor", "logits": "scores", **wires}
    return ModelStage(
        config=config,
        version=1,
        inputs={tensor.name: tensors[tensor.name] for tensor in config.inputs},
        outputs={tensor.name: tensors[tensor.name] for tensor in config.outputs},
        name=config.name,
    )


def part_of(*stages, reads=("pixels",), writes=("label", "top_probabilities"), **more):
    return Part(
        kind=PartKind.GRAPH,
        stages=stages,
        name="reader",
        reason="",
        reads=reads,
        writes=writes,
        **{"max_batch_size": 8, **more},
    )


def whole(config):
    return part_of(step_stage(NORMALISE), model_stage(config), step_stage(SOFTMAX, logits="scores"), step_stage(TOP))


def put(compiled, folder):
    folder.mkdir()
    for name, content in compiled.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder / "model.onnx"


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def expected(repository, pixels, name="net"):
    tensor = NORMALISE.run({"pixels": pixels})["tensor"]
    (scores,) = session(repository.path / name / "1" / "model.onnx").run(None, {"image": tensor})
    return TOP.run({"probabilities": SOFTMAX.run({"logits": scores})["probabilities"]})


def assert_answers_like_the_steps(compiled, repository, tmp_path):
    pixels = RANDOM.integers(0, 255, (5, 4, 6, 3), dtype=np.uint8)
    wanted = expected(repository, pixels)
    label, top = session(put(compiled, tmp_path / "merged")).run(["label", "top_probabilities"], {"pixels": pixels})
    assert [word.encode() for word in label.ravel()] == wanted["label"].ravel().tolist()
    np.testing.assert_allclose(top, wanted["top_probabilities"], rtol=1e-6)


@pytest.mark.parametrize(("opset", "merged_opset"), [(13, 18), (17, 17), (18, 18), (21, 21)])
def test_a_whole_pipeline_becomes_one_graph_in_the_models_opset(repository, tmp_path, opset, merged_opset):
    config = add(repository, classifier(opset=opset))
    compiled = compiled_graph(whole(config), WIRES, repository)
    assert_answers_like_the_steps(compiled, repository, tmp_path)
    merged = onnx.load_model(tmp_path / "merged" / "model.onnx")
    assert [(entry.domain, entry.version) for entry in merged.opset_import] == [("", merged_opset)]
    assert merged.ir_version == 8


def test_its_configuration_is_the_models_with_the_tensors_of_the_whole(repository):
    config = add(
        repository,
        classifier(),
        config_of(
            instance_groups=(InstanceGroup(kind=InstanceKind.KIND_CPU, count=3),),
            dynamic_batching=DynamicBatching(preferred_batch_sizes=(4, 16), max_queue_delay_us=7),
            parameters={"intra_op_thread_count": "1"},
            response_cache=True,
            model_warmup=(
                Warmup(
                    name="row",
                    batch_size=1,
                    inputs=(WarmupInput(name="image", datatype=DataType.FP32, dims=(3, 4, 6), file="image"),),
                ),
            ),
        ),
    )
    merged = compiled_graph(whole(config), WIRES, repository).config
    assert (merged.name, merged.max_batch_size) == ("reader", 8)
    assert [(tensor.name, tensor.dims) for tensor in (*merged.inputs, *merged.outputs)] == [
        ("pixels", (4, 6, 3)),
        ("label", (1,)),
        ("top_probabilities", (2,)),
    ]
    assert merged.instance_groups == config.instance_groups
    assert merged.dynamic_batching == DynamicBatching(preferred_batch_sizes=(4,), max_queue_delay_us=7)
    assert (merged.parameters, merged.response_cache) == (config.parameters, True)
    assert merged.model_warmup[0].inputs == (
        WarmupInput(name="pixels", datatype=DataType.UINT8, dims=(4, 6, 3), zero_data=True),
    )
