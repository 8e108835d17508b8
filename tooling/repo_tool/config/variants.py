# SPDX-License-Identifier: Apache-2.0
"""The same model for one kind of machine: ``configs/cpu.pbtxt`` and ``configs/gpu.pbtxt``. Pure.

A server that is started with ``--model-config-name=gpu`` reads ``configs/gpu.pbtxt`` in place of the whole
``config.pbtxt``; of a model without that file it reads ``config.pbtxt`` and says nothing.
"""

__all__ = [
    "CPU",
    "GPU",
    "TENSORRT_PARAMETERS",
    "VARIANTS",
    "GraphFacts",
    "Variant",
    "renewed_tensorrt_parameters",
    "tensorrt_trouble",
    "variants",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from repo_tool.config.execution import Accelerator, ExecutionAccelerators, InstanceKind, Optimization
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.releases import Release

CPU, GPU = "cpu", "gpu"
VARIANTS = (CPU, GPU)
TENSORRT_PARAMETERS = "optimization.execution_accelerators.gpu_execution_accelerator[0].parameters"

_ON_CPU_EVERYWHERE = ("python", "sklearn")  # Python code that gets its tensors on the CPU
# What TensorRT takes as inputs and outputs in every release with variants; the rest would split the graph.
_TENSORRT_TYPES = (DataType.FP32, DataType.FP16, DataType.INT32, DataType.INT64, DataType.BOOL)
_SEPARATORS = frozenset(":,")  # in shapes: name:1x30,other:1x4
_CACHE_ROOT = "/tmp/tensorrt-cache"  # noqa: S108 - in the container, where nothing else can be written


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """What of an artifact decides how a GPU runs it."""

    digest: str  # of the artifact, in hexadecimal
    is_standard: bool = False  # an ONNX graph of the standard operators only, which TensorRT may take whole
    branches: bool = False  # it holds If, Loop or Scan
    precision: str = "FP32"  # that TensorRT may compute in: FP32, FP16 or INT8


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One file of ``configs/``, and why what differs from ``config.pbtxt`` does, by field."""

    name: str
    config: ModelConfig
    reasons: Mapping[str, str]


def variants(
    config: ModelConfig, facts: GraphFacts, release: Release, reasons: Mapping[str, str]
) -> tuple[Variant, ...]:
    """The variants of a model's ``config.pbtxt``, ``reasons`` being those of its fields."""
    return _cpu(config, reasons), _gpu(config, facts, release, reasons)


def _cpu(config: ModelConfig, reasons: Mapping[str, str]) -> Variant:
    kind = "a GPU of the machine stays free: KIND_AUTO would take it"
    return Variant(
        name=CPU,
        config=_with_kind(config, InstanceKind.KIND_CPU),
        reasons={**reasons, "instance_group": kind},
    )


def _gpu(config: ModelConfig, facts: GraphFacts, release: Release, reasons: Mapping[str, str]) -> Variant:
    if config.backend in _ON_CPU_EVERYWHERE or config.backend not in release.backends:
        why = "its backend computes on the CPU, also where there is a GPU"
        return Variant(
            name=GPU,
            config=_with_kind(config, InstanceKind.KIND_CPU),
            reasons={**reasons, "instance_group": why},
        )
    on_gpu = _with_kind(config, InstanceKind.KIND_GPU)
    why = f"{_instances(config)} on every GPU; a server without one refuses the model"
    reasons = {**reasons, "instance_group": why}
    if config.backend != "onnxruntime":
        return Variant(name=GPU, config=on_gpu, reasons=reasons)
    if trouble := tensorrt_trouble(config, facts):
        reasons["instance_group"] += f". CUDA runs it, not TensorRT: {trouble}"
        return Variant(name=GPU, config=on_gpu, reasons=reasons)
    parameters = _tensorrt_parameters(config, facts)
    accelerators = ExecutionAccelerators(gpu=(Accelerator(name="tensorrt", parameters=parameters),))
    optimization = replace(config.optimization or Optimization(), execution_accelerators=accelerators)
    reasons["optimization"] = "TensorRT compiles the graph for the GPU that it finds; CUDA runs what it cannot take"
    return Variant(name=GPU, config=replace(on_gpu, optimization=optimization), reasons=reasons)


def _with_kind(config: ModelConfig, kind: InstanceKind) -> ModelConfig:
    """The configuration with instances of that kind where it left the choice to the server."""
    left_open = (InstanceKind.KIND_AUTO, InstanceKind.KIND_GPU, InstanceKind.KIND_CPU)
    groups = tuple(
        replace(group, kind=kind, gpus=group.gpus if kind is InstanceKind.KIND_GPU else ())
        if group.kind in left_open
        else group
        for group in config.instance_groups
    )
    return replace(config, instance_groups=groups)


def _instances(config: ModelConfig) -> str:
    count = sum(max(group.count, 1) for group in config.instance_groups)
    return "one instance" if count == 1 else f"{count} instances"


def tensorrt_trouble(config: ModelConfig, facts: GraphFacts) -> str:
    """Why TensorRT would take the graph in pieces, each of whose inputs would need shapes of its own; empty if not."""
    if not facts.is_standard:
        return "the graph has operators beyond ONNX's own, between which TensorRT would take pieces"
    strange = [tensor for tensor in _tensors(config) if tensor.datatype not in _TENSORRT_TYPES]
    if strange:
        kind = strange[0].datatype.config_name if strange[0].datatype else "TYPE_INVALID"
        return f"it takes no {kind}, which '{strange[0].name}' is"
    return ""


def _tensorrt_parameters(config: ModelConfig, facts: GraphFacts) -> dict[str, str]:
    parameters = {
        "precision_mode": facts.precision,
        "trt_engine_cache_enable": "true",
        "trt_engine_cache_path": f"{_CACHE_ROOT}/{config.name}/{facts.digest[:12]}",
    }
    if _is_fixed(config):
        return parameters if facts.branches else {**parameters, "trt_cuda_graph_enable": "true"}
    if not _has_range(config):
        return parameters
    most = config.max_batch_size
    return {
        **parameters,
        "trt_profile_min_shapes": _shapes(config, 1),
        "trt_profile_opt_shapes": _shapes(config, most),
        "trt_profile_max_shapes": _shapes(config, most),
    }


def renewed_tensorrt_parameters(old: ModelConfig, new: ModelConfig) -> dict[str, str | None]:
    """What of a GPU variant's TensorRT parameters follows from ``new`` otherwise than from ``old``; None: it goes.

    A parameter that ``old`` has otherwise than derived is a person's own, and not among them.
    """
    optimization = old.optimization or Optimization()
    accelerators = optimization.execution_accelerators or ExecutionAccelerators()
    if not accelerators.gpu or accelerators.gpu[0].name != "tensorrt":
        return {}
    own = accelerators.gpu[0].parameters
    facts = GraphFacts(
        digest=own.get("trt_engine_cache_path", "").rpartition("/")[2],
        branches="trt_cuda_graph_enable" not in own,  # where shapes vary nobody knows, and nothing is recorded
        precision=own.get("precision_mode", "FP32"),
    )
    before, after = _tensorrt_parameters(old, facts), _tensorrt_parameters(new, facts)
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {key: after.get(key) for key in changed if own.get(key) == before.get(key)}


def _is_fixed(config: ModelConfig) -> bool:
    """Whether every run has the same shapes, which is what a CUDA graph can record."""
    return config.max_batch_size == 0 and all(min(tensor.model_shape, default=1) > 0 for tensor in _tensors(config))


def _has_range(config: ModelConfig) -> bool:
    """Whether the batch is all that varies of the inputs, so that the shapes from smallest to largest are known."""
    return config.max_batch_size > 0 and all(
        min(tensor.model_shape, default=1) > 0 and not _SEPARATORS & set(tensor.name) for tensor in config.inputs
    )


def _shapes(config: ModelConfig, rows: int) -> str:
    """In ONNX Runtime's words: ``features:8x30,mask:8x1``."""
    return ",".join(f"{tensor.name}:{'x'.join(map(str, (rows, *tensor.model_shape)))}" for tensor in config.inputs)


def _tensors(config: ModelConfig) -> Sequence[ModelTensor]:
    return (*config.inputs, *config.outputs)
