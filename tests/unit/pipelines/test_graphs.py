# SPDX-License-Identifier: Apache-2.0
"""Steps and models become one ONNX graph that answers as they did one after another, or a reason why not."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from repo_tool.config import pbtxt
from repo_tool.config.execution import Accelerator, ExecutionAccelerators, InstanceGroup, InstanceKind, Optimization
from repo_tool.config.model import ModelConfig, ModelTensor, Warmup, WarmupInput
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.datatypes import DataType
from repo_tool.pipelines.catalogue import step_kind
from repo_tool.pipelines.graphs import compiled_graph, is_arithmetic
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.stages import ModelStage, StepStage
from repo_tool.pipelines.wire import Wire
from repo_tool.releases import release
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


def test_a_model_that_reads_one_wire_twice_is_warmed_up_with_zeros(repository):
    shape = ["N", 3]
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["logits"])],
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "ab"],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    rows = tuple(WarmupInput(name=name, datatype=DataType.FP32, dims=(3,), random_data=True) for name in "ab")
    config = config_of(
        inputs=tuple(ModelTensor(name=name, datatype=DataType.FP32, dims=(3,)) for name in "ab"),
        model_warmup=(Warmup(name="rows", batch_size=1, inputs=rows),),
    )
    add(repository, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), config)
    model = model_stage(config, a="label", b="label", logits="scores")
    part = part_of(model, step_stage(SOFTMAX, logits="scores"), reads=("label",), writes=("probabilities",))
    wires = WIRES | {"label": WIRES["scores"]}
    merged = compiled_graph(part, wires, repository).config
    zeros = WarmupInput(name="label", datatype=DataType.FP32, dims=(3,), zero_data=True)
    assert [each.inputs for each in merged.model_warmup] == [(zeros,)]
    assert pbtxt.parse(pbtxt.render(merged)).model_warmup == merged.model_warmup


def test_names_of_the_model_that_wires_have_too_are_kept_apart(repository, tmp_path):
    config = add(repository, classifier(nodes=[helper.make_node("Identity", ["label"], ["logits"])]))
    assert_answers_like_the_steps(compiled_graph(whole(config), WIRES, repository), repository, tmp_path)


def test_graphs_inside_of_nodes_see_the_renamed_values_around_them(repository, tmp_path):
    branches = [
        helper.make_graph(
            [helper.make_node(operator, ["label", "label"], ["inside"])],
            operator,
            [],
            [helper.make_tensor_value_info("inside", TensorProto.FLOAT, None)],
        )
        for operator in ("Add", "Mul")
    ]
    nodes = [
        helper.make_node("ReduceMax", ["label"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "most"], ["is_more"]),
        helper.make_node("If", ["is_more"], ["logits"], then_branch=branches[0], else_branch=branches[1]),
    ]
    config = add(repository, classifier(nodes=nodes))
    assert_answers_like_the_steps(compiled_graph(whole(config), WIRES, repository), repository, tmp_path)


def own_function(operator):
    return helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node(operator, ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )


def test_functions_of_two_models_under_one_name_both_work(repository, tmp_path):
    call = helper.make_node("Twice", ["label"], ["logits"], domain="mine")
    square = np.eye(3, dtype=np.float32)
    first = add(repository, classifier(nodes=[call], functions=[own_function("Add")], domains=["mine"]))
    second = classifier(nodes=[call], functions=[own_function("Mul")], domains=["mine"], weights=square)
    second.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3]))
    after = add(
        repository,
        second,
        config_of("after", inputs=(ModelTensor(name="image", datatype=DataType.FP32, dims=(3,)),)),
    )
    wires = WIRES | {"squares": Wire(DataType.FP32, (3,))}
    part = part_of(
        model_stage(first), model_stage(after, image="scores", logits="squares"), reads=("tensor",), writes=("squares",)
    )
    compiled = compiled_graph(part, wires, repository)
    rows = RANDOM.normal(size=(4, 3, 4, 6)).astype(np.float32)
    (scores,) = session(repository.path / "net" / "1" / "model.onnx").run(None, {"image": rows})
    (squares,) = session(put(compiled, tmp_path / "merged")).run(["squares"], {"tensor": rows})
    np.testing.assert_array_equal(squares, scores * scores)


def test_weights_in_other_files_stay_there(repository, tmp_path):
    options = {"save_as_external_data": True, "location": "net.weights", "size_threshold": 0}
    config = add(repository, classifier(), **options)
    compiled = compiled_graph(whole(config), WIRES, repository)
    assert compiled.files["weights/1/net.weights"] == (repository.path / "net" / "1" / "net.weights").resolve()
    assert_answers_like_the_steps(compiled, repository, tmp_path)


def test_an_output_that_triton_reshapes_is_reshaped_in_the_graph(repository, tmp_path):
    model = classifier()
    model.graph.node.append(helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, ["N"]))
    config = add(
        repository,
        model,
        config_of(
            outputs=(
                ModelTensor(name="logits", datatype=DataType.FP32, dims=(3,)),
                ModelTensor(name="best", datatype=DataType.INT64, dims=(1,), reshape=()),
            )
        ),
    )
    wires = WIRES | {"best": Wire(DataType.INT64, (1,))}
    stages = (step_stage(NORMALISE), model_stage(config, best="best"))
    compiled = compiled_graph(part_of(*stages, writes=("best", "scores")), wires, repository)
    assert [(tensor.name, tensor.dims, tensor.reshape) for tensor in compiled.config.outputs] == [
        ("best", (1,), None),
        ("scores", (3,), None),
    ]
    pixels = RANDOM.integers(0, 255, (5, 4, 6, 3), dtype=np.uint8)
    best, scores = session(put(compiled, tmp_path / "merged")).run(["best", "scores"], {"pixels": pixels})
    np.testing.assert_array_equal(best, scores.argmax(axis=1, keepdims=True))


def test_a_model_whose_output_is_its_input_hands_it_on(repository, tmp_path):
    model = classifier()
    model.graph.output.append(model.graph.input[0])
    outputs = (*config_of().outputs, ModelTensor(name="image", datatype=DataType.FP32, dims=(3, 4, 6)))
    config = add(repository, model, config_of(outputs=outputs))
    stage = ModelStage(
        config=config, version=1, inputs={"image": "tensor"}, outputs={"logits": "scores", "image": "seen"}, name="net"
    )
    wires = WIRES | {"seen": WIRES["tensor"]}
    part = part_of(step_stage(NORMALISE), stage, writes=("seen", "scores"))
    pixels = RANDOM.integers(0, 255, (2, 4, 6, 3), dtype=np.uint8)
    (seen,) = session(put(compiled_graph(part, wires, repository), tmp_path / "merged")).run(
        ["seen"], {"pixels": pixels}
    )
    np.testing.assert_array_equal(seen, NORMALISE.run({"pixels": pixels})["tensor"])


def test_an_operator_that_has_changed_since_is_converted(repository, tmp_path):
    nodes = [helper.make_node("ReduceSum", ["label"], ["sum"], axes=[1], keepdims=1)]
    nodes.append(helper.make_node("Div", ["label", "sum"], ["logits"]))
    config = add(repository, classifier(opset=12, nodes=nodes))
    compiled = compiled_graph(whole(config), WIRES, repository)
    assert onnx.load_model_from_string(compiled.files["model.onnx"]).opset_import[0].version == 18
    assert_answers_like_the_steps(compiled, repository, tmp_path)


def test_steps_alone_become_a_graph_with_a_derived_configuration(repository, tmp_path):
    part = part_of(step_stage(SOFTMAX, logits="scores"), step_stage(TOP), reads=("scores",))
    compiled = compiled_graph(part, WIRES, repository)
    assert (compiled.config.backend, compiled.config.max_batch_size) == ("onnxruntime", 8)
    assert [(tensor.name, tensor.dims) for tensor in compiled.config.inputs] == [("scores", (3,))]
    assert compiled.config.instance_groups[0].count == 1
    scores = RANDOM.normal(size=(5, 3)).astype(np.float32)
    (label,) = session(put(compiled, tmp_path / "merged")).run(["label"], {"scores": scores})
    assert label.ravel().tolist() == [["a", "b", "ü"][best] for best in scores.argmax(axis=1)]


def test_a_pipeline_that_does_not_batch_keeps_its_first_dimension(repository):
    model = classifier()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    tensors = {
        "inputs": (ModelTensor(name="image", datatype=DataType.FP32, dims=(2, 3, 4, 6)),),
        "outputs": (ModelTensor(name="logits", datatype=DataType.FP32, dims=(2, 3)),),
    }
    config = add(repository, model, config_of(max_batch_size=0, **tensors))
    part = part_of(step_stage(NORMALISE), model_stage(config), writes=("scores",), max_batch_size=0, rows=2)
    merged = compiled_graph(part, WIRES, repository).config
    assert [(tensor.name, tensor.dims) for tensor in (*merged.inputs, *merged.outputs)] == [
        ("pixels", (2, 4, 6, 3)),
        ("scores", (2, 3)),
    ]


# --- settings --------------------------------------------------------------------------------------------------------


CACHE = "/tmp/tensorrt-cache"  # noqa: S108 - where derived variants have it, in the container
TENSORRT_ROWS = {"min": 1, "opt": 16, "max": 16}


def tensorrt(**shapes):
    accelerator = Accelerator(
        name="tensorrt",
        parameters={
            "precision_mode": "FP16",
            "trt_engine_cache_enable": "true",
            "trt_engine_cache_path": f"{CACHE}/net/0123456789ab",
            **shapes,
        },
    )
    return Optimization(execution_accelerators=ExecutionAccelerators(gpu=(accelerator,)))


def add_variant(repository, config, name):
    path = repository.model(config.name).variant_path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(pbtxt.render(config))


def test_variants_are_carried_and_tensorrt_gets_the_shapes_of_the_whole(repository):
    config = add(repository, classifier())
    shapes = {f"trt_profile_{which}_shapes": f"image:{rows}x3x4x6" for which, rows in TENSORRT_ROWS.items()}
    add_variant(repository, config_of(optimization=tensorrt(**shapes)), "gpu")
    part = part_of(
        model_stage(config), step_stage(SOFTMAX, logits="scores"), reads=("tensor",), writes=("probabilities",)
    )
    compiled = compiled_graph(part, WIRES, repository)
    (accelerator,) = compiled.variants["gpu"].optimization.execution_accelerators.gpu
    assert accelerator.parameters["precision_mode"] == "FP16"
    assert accelerator.parameters["trt_profile_max_shapes"] == "tensor:8x3x4x6"
    assert accelerator.parameters["trt_profile_min_shapes"] == "tensor:1x3x4x6"
    cache = accelerator.parameters["trt_engine_cache_path"]
    assert cache.startswith(f"{CACHE}/reader/")
    assert not cache.endswith("0123456789ab")
    assert compiled.variants["gpu"].outputs == compiled.config.outputs


def test_a_step_that_would_cost_the_model_tensorrt_is_not_merged(repository):
    config = add(repository, classifier())
    add_variant(repository, config_of(optimization=tensorrt()), "gpu")
    with pytest.raises(
        NotImplementedError, match=r"configs/gpu.pbtxt of 'net' asks for TensorRT: it takes no TYPE_UINT8"
    ):
        compiled_graph(whole(config), WIRES, repository)


def test_labels_go_along(repository):
    outputs = (ModelTensor(name="logits", datatype=DataType.FP32, dims=(3,), label_filename="words.txt"),)
    config = add(repository, classifier(), config_of(outputs=outputs))
    words = repository.path / "net" / "words.txt"
    words.write_text("a\nb\nc\n")
    compiled = compiled_graph(
        part_of(step_stage(NORMALISE), model_stage(config), writes=("scores",)), WIRES, repository
    )
    assert compiled.config.outputs[0].label_filename == "words.txt"
    assert compiled.directory_files == {"words.txt": words}


def test_models_that_are_served_differently_stay_apart(repository):
    first = add(repository, classifier())
    second = add(repository, classifier(), config_of("other", instance_groups=(InstanceGroup(count=4),)))
    wires = WIRES | {"others": WIRES["scores"]}
    part = part_of(
        model_stage(first), model_stage(second, logits="others"), reads=("tensor",), writes=("scores", "others")
    )
    with pytest.raises(NotImplementedError, match="'net' and 'other' are served with different settings: instance_gro"):
        compiled_graph(part, wires, repository)


# --- reasons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"backend": "python"}, "it is no ONNX model but one of the backend 'python'"),
        ({"decoupled": True}, "it answers a request several times"),
        ({"op_library_filenames": ("own.so",)}, "its operators come from a library of its own"),
    ],
)
def test_a_model_that_is_more_than_its_graph_stays_apart(repository, settings, reason):
    config = add(repository, classifier(), config_of(**settings))
    with pytest.raises(NotImplementedError, match=f"model 'net': {reason}"):
        compiled_graph(whole(config), WIRES, repository)


def test_an_old_graph_that_onnx_does_not_convert_stays_as_it_is(repository):
    nodes = [helper.make_node("ReduceSum", ["label"], ["sum"], axes=[1], keepdims=1)]
    nodes.append(helper.make_node("Div", ["label", "sum"], ["logits"]))
    options = {"save_as_external_data": True, "location": "net.weights", "size_threshold": 0}
    config = add(repository, classifier(opset=12, nodes=nodes), **options)
    with pytest.raises(NotImplementedError, match=r"model 'net' is of opset ai\.onnx 12, not 18, and onnx converts no"):
        compiled_graph(whole(config), WIRES, repository)


def test_a_model_newer_than_the_release_is_not_merged(repository):
    config = add(repository, classifier(opset=21))
    with pytest.raises(
        NotImplementedError, match=r"model 'net': its opset 21 or IR version 8 is newer than Triton 23\.10"
    ):
        compiled_graph(whole(config), WIRES, repository, release=release("23.10"))


def test_a_graph_that_onnx_runtime_refuses_is_told_in_its_words(repository):
    config = add(repository, classifier(nodes=[helper.make_node("Nope", ["label"], ["logits"], domain="mine")]))
    with pytest.raises(NotImplementedError, match="ONNX Runtime does not load them as one graph"):
        compiled_graph(whole(config), WIRES, repository)


def test_a_file_that_is_no_onnx_is_told(repository):
    config = add(repository, classifier())
    (repository.path / "net" / "1" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(NotImplementedError, match="model 'net': its file"):
        compiled_graph(whole(config), WIRES, repository)


def test_bytes_are_no_input_of_a_graph():
    step = step_kind("one_hot").with_parameters({"categories": ["a", "b"]})
    stage = StepStage(step=step, inputs={"value": "word"}, outputs={"columns": "hot"}, name="one_hot")
    reason = is_arithmetic(stage, {"word": Wire(DataType.BYTES, (1,)), "hot": Wire(DataType.FP32, (2,))})
    assert reason == "'value' is BYTES, which a graph cannot take as it is"


def test_what_was_changed_in_a_model_is_told(repository):
    config = add(repository, classifier(opset=13))
    assert compiled_graph(whole(config), WIRES, repository).notes == (
        "model 'net': opset of ai.onnx raised from 13 to 18",
    )
