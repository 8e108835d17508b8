# SPDX-License-Identifier: Apache-2.0
"""The pipelines that ``pipelines.py`` measures, each in every way that the same processing can be served."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_tool.config import pbtxt
from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.model import ModelConfig, ModelTensor, VersionPolicy
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.datatypes import DataType
from repo_tool.pipelines.compiled import CompiledPipeline
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.spec import PipelineFile
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.pipeline_staging import write_pipeline

Array = NDArray[Any]
Rows = Mapping[str, Array]
LABELS = [f"class {number}" for number in range(10)]
MAX_BATCH_SIZE = 64
JPEG_SIZE = 224
ROWS = 64  # different ones, sent in turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A pipeline: raw rows in, a label and its probability out."""

    name: str
    title: str
    raw: Rows  # of the pipeline's one input
    steps: list[dict[str, Any]]  # before the model
    model: Callable[[], bytes]
    before: Callable[[Array], Array]  # the same as the steps, as a client has them
    source: str  # and as a model written by hand does

    @property
    def input(self) -> str:
        """The name of what a client sends."""
        return next(iter(self.raw))

    @property
    def prepared(self) -> Array:
        """The rows as the model takes them."""
        return self.before(self.raw[self.input])


# --- workloads -------------------------------------------------------------------------------------------------------

_RANDOM = np.random.default_rng(5)
_MEAN, _STD = _RANDOM.normal(10, 5, 30).astype(np.float32), _RANDOM.uniform(1, 9, 30).astype(np.float32)
_FILL = _RANDOM.normal(10, 5, 30).astype(np.float32)


def _table() -> Array:
    rows = _RANDOM.normal(10, 5, (ROWS, 30)).astype(np.float32)
    rows[_RANDOM.random(rows.shape) < 0.05] = np.nan
    return rows


def _prepared_table(table: Array) -> Array:
    return (np.where(np.isnan(table), _FILL, table) - _MEAN) / _STD


_PIXEL_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_PIXEL_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def _prepared_pixels(pixels: Array) -> Array:
    scaled = (pixels.astype(np.float32) / np.float32(255) - _PIXEL_MEAN) / _PIXEL_STD
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def perceptron() -> bytes:
    """30 numbers to 10 logits over 64 hidden ones."""
    layers = [("Gemm", (30, 64)), ("Relu", None), ("Gemm", (64, 10))]
    return _graph("rows", (30,), layers)


def small_network() -> bytes:
    """Pictures of 3 x 32 x 32 to 10 logits: two convolutions, a mean over each picture, a dense layer."""
    layers = [("Conv", (16, 3, 3, 3)), ("Relu", None), ("Conv", (32, 16, 3, 3)), ("Relu", None)]
    return _graph("rows", (3, 32, 32), [*layers, ("GlobalAveragePool", None), ("Flatten", None), ("Gemm", (32, 10))])


def larger_network() -> bytes:
    """The same for 224 x 224, with fewer channels, so that decoding is what costs."""
    layers = [("Conv", (4, 3, 8, 8)), ("Relu", None), ("GlobalAveragePool", None), ("Flatten", None), ("Gemm", (4, 10))]
    return _graph("rows", (3, JPEG_SIZE, JPEG_SIZE), layers)


def _graph(name: str, dims: tuple[int, ...], layers: list[tuple[str, tuple[int, ...] | None]]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    random, nodes, weights, read = np.random.default_rng(9), [], [], name
    for number, (operator, shape) in enumerate(layers):
        inputs, written = [read], f"layer_{number}" if number + 1 < len(layers) else "logits"
        if shape is not None:
            made = random.normal(0, 1 / np.sqrt(np.prod(shape) / shape[0]), shape).astype(np.float32)
            weights.append(numpy_helper.from_array(made, f"weights_{number}"))
            inputs.append(f"weights_{number}")
        strides = {"strides": [shape[-1] // 2 + 1] * 2} if operator == "Conv" and shape else {}
        nodes.append(helper.make_node(operator, inputs, [written], **strides))
        read = written
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10]),
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def workloads() -> tuple[Workload, ...]:
    """Those that are measured in every way."""
    table = [
        {"use": "impute", "with": {"values": _FILL.tolist()}},
        {
            "use": "scale_columns",
            "with": {"method": "standard", "mean": _MEAN.tolist(), "std": _STD.tolist()},
            "inputs": {"table": "imputed"},
            "outputs": {"scaled": "rows"},
        },
    ]
    pixels = [
        {
            "use": "normalise",
            "with": {"mean": _PIXEL_MEAN.tolist(), "std": _PIXEL_STD.tolist()},
            "outputs": {"tensor": "rows"},
        }
    ]
    return (
        Workload(
            name="table",
            title="table: 30 numbers, imputed and scaled, a perceptron",
            raw={"table": _table()},
            steps=table,
            model=perceptron,
            before=_prepared_table,
            source=_BY_HAND_TABLE.format(fill=_FILL.tolist(), mean=_MEAN.tolist(), std=_STD.tolist()),
        ),
        Workload(
            name="image",
            title="image: 32 x 32 x 3 pixels, normalised, two convolutions",
            raw={"pixels": _RANDOM.integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8)},
            steps=pixels,
            model=small_network,
            before=_prepared_pixels,
            source=_BY_HAND_PIXELS.format(mean=_PIXEL_MEAN.tolist(), std=_PIXEL_STD.tolist()),
        ),
    )


def jpeg_rows() -> Rows:
    """Photographs that come with scikit-learn, cut to pieces of 500 x 375 pixels, as JPEG."""
    import sklearn
    from PIL import Image

    folder = Path(sklearn.__file__).parent / "datasets" / "images"
    found = []
    for name in ("china.jpg", "flower.jpg"):
        with Image.open(folder / name) as photograph:
            for left, top in ((0, 0), (70, 26), (140, 52), (35, 40)):
                stream = io.BytesIO()
                photograph.crop((left, top, left + 500, top + 375)).save(stream, format="JPEG", quality=90)
                found.append([stream.getvalue()])
    return {"image": np.array(found, dtype=object)}


_AFTER = [{"use": "softmax"}, {"use": "top_k_labels", "with": {"labels": LABELS, "k": 1}}]

# --- repositories ----------------------------------------------------------------------------------------------------


def write_ways(repository: Path, workload: Workload, *, instances: int) -> dict[str, CompiledPipeline]:
    """The model, three pipelines around it, which are given back, and ``NAME_by_hand``."""
    _write_model(repository, workload.name, workload.model(), workload.prepared.shape[1:], instances)
    compiled = {}
    for way, merge, after in (("merged", True, _AFTER), ("numbers", True, _AFTER[:1]), ("parts", False, _AFTER)):
        file = _pipeline(f"{workload.name}_{way}", workload, merge=merge, after=after)
        compiled[way] = compile_pipeline(file, ModelRepository(repository))
        write_pipeline(ModelRepository(repository), compiled[way], 1, ModelRepository(repository))
    merged = compiled["merged"].own.config
    by_hand = replace(
        merged,
        name=f"{workload.name}_by_hand",
        backend="python",
        parameters={},
        instance_groups=(InstanceGroup(kind=InstanceKind.KIND_CPU, count=instances),),
    )
    source = _BY_HAND.format(before=workload.source, labels=json.dumps(LABELS), input=workload.input)
    _write(repository, by_hand, {"model.py": source.encode(), "network.onnx": workload.model()})
    return compiled


def _write_model(repository: Path, name: str, graph: bytes, dims: tuple[int, ...], instances: int) -> None:
    config = ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=MAX_BATCH_SIZE,
        inputs=(ModelTensor(name="rows", datatype=DataType.FP32, dims=dims),),
        outputs=(ModelTensor(name="logits", datatype=DataType.FP32, dims=(10,)),),
        dynamic_batching=DynamicBatching(),
        instance_groups=(InstanceGroup(kind=InstanceKind.KIND_CPU, count=instances),),
        version_policy=VersionPolicy(latest=1),
        parameters={"intra_op_thread_count": "1"},
    )
    _write(repository, config, {"model.onnx": graph})


def _write(repository: Path, config: ModelConfig, files: Mapping[str, bytes]) -> None:
    version = repository / config.name / "1"
    version.mkdir(parents=True)
    for name, content in files.items():
        (version / name).write_bytes(content)
    (version.parent / "config.pbtxt").write_text(pbtxt.render(config), encoding="utf-8")


def _pipeline(name: str, workload: Workload, *, merge: bool, after: list[dict[str, Any]]) -> PipelineFile:
    raw = workload.raw[workload.input]
    return PipelineFile.model_validate(
        {
            "name": name,
            "merge": merge,
            "inputs": {
                workload.input: {
                    "datatype": DataType.from_numpy(raw.dtype).wire_name,
                    "dims": list(raw.shape[1:]),
                }
            },
            "steps": [*workload.steps, {"model": workload.name}, *after],
            "outputs": ["label", "probability"] if after == _AFTER else ["probabilities"],
        }
    )


def write_jpeg_ways(repository: Path, instances: int) -> list[str]:
    """JPEG in and a label out, ``jpeg_1`` to ``jpeg_N`` with so many instances of the model that decodes."""
    _write_model(repository, "jpeg_network", larger_network(), (3, JPEG_SIZE, JPEG_SIZE), 1)
    names = []
    for count in range(1, instances + 1):
        names.append(f"jpeg_{count}")
        file = PipelineFile.model_validate(
            {
                "name": names[-1],
                "inputs": {"image": {"datatype": "BYTES", "dims": [1]}},
                "steps": [
                    {"use": "decode_image", "with": {"height": JPEG_SIZE, "width": JPEG_SIZE}},
                    {
                        "use": "normalise",
                        "with": {"mean": _PIXEL_MEAN.tolist(), "std": _PIXEL_STD.tolist()},
                        "outputs": {"tensor": "rows"},
                    },
                    {"model": "jpeg_network"},
                    *_AFTER,
                ],
                "outputs": ["label", "probability"],
            }
        )
        compiled = compile_pipeline(file, ModelRepository(repository))
        write_pipeline(ModelRepository(repository), _with_instances(compiled, count), 1, ModelRepository(repository))
    return names


def _with_instances(compiled: CompiledPipeline, count: int) -> CompiledPipeline:
    """So many of each generated Python model, in the place of one for each core."""
    models = tuple(
        replace(
            model,
            config=replace(model.config, instance_groups=(InstanceGroup(kind=InstanceKind.KIND_CPU, count=count),)),
        )
        if model.config.backend == "python"
        else model
        for model in compiled.models
    )
    return replace(compiled, models=models)


# --- written by hand -------------------------------------------------------------------------------------------------

_BY_HAND_TABLE = """
FILL = np.array({fill}, dtype=np.float32)
MEAN = np.array({mean}, dtype=np.float32)
STD = np.array({std}, dtype=np.float32)


def before(table):
    return (np.where(np.isnan(table), FILL, table) - MEAN) / STD
"""

_BY_HAND_PIXELS = """
MEAN = np.array({mean}, dtype=np.float32)
STD = np.array({std}, dtype=np.float32)


def before(pixels):
    scaled = (pixels.astype(np.float32) / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
"""

# As somebody writes it who knows Triton: the requests of a batch together, one thread for each instance.
_BY_HAND = """
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

LABELS = np.array([label.encode() for label in {labels}], dtype=object)
{before}

class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(__file__).parent / "network.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "{input}").as_numpy() for request in requests]
        ends = np.cumsum([len(array) for array in arrays])
        (logits,) = self.session.run(["logits"], {{"rows": before(np.concatenate(arrays))}})
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        best = probabilities.argmax(axis=1)
        words = LABELS[best][:, np.newaxis]
        highest = np.take_along_axis(probabilities, best[:, np.newaxis], axis=1)
        return [
            pb_utils.InferenceResponse([
                pb_utils.Tensor("label", words[end - len(array) : end]),
                pb_utils.Tensor("probability", np.ascontiguousarray(highest[end - len(array) : end])),
            ])
            for array, end in zip(arrays, ends)
        ]
"""
