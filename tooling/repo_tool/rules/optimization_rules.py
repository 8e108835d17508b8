# SPDX-License-Identifier: Apache-2.0
"""CFG7: optimisation, and the accelerators that a backend may run a model on."""

from collections.abc import Iterator, Mapping

from repo_tool.config.execution import Accelerator, InstanceKind
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.fixes import RemoveField
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

# By backend, those for instances on a GPU and those for instances on a CPU; other backends read neither.
_ON_GPU: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("tensorrt", "cuda"),
    "tensorflow": ("tensorrt", "gpu_io", "auto_mixed_precision"),
}
_ON_CPU: Mapping[str, tuple[str, ...]] = {"onnxruntime": ("openvino",), "tensorflow": ()}
_PLACE = "optimization.execution_accelerators"

# What the parameters of the onnxruntime backend's TensorRT accelerator hold (onnxruntime_backend, src/onnxruntime.cc).
_BOOLEANS = (
    "int8_use_native_calibration_table",
    "trt_dla_enable",
    "trt_engine_cache_enable",
    "trt_dump_subgraphs",
    "trt_force_sequential_engine_build",
    "trt_context_memory_sharing_enable",
    "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable",
    "trt_force_timing_cache",
    "trt_detailed_build_log",
    "trt_build_heuristics_enable",
    "trt_sparsity_enable",
    "trt_cuda_graph_enable",
    "trt_dump_ep_context_model",
)
_INTEGERS = (
    "max_workspace_size_bytes",
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
    "trt_dla_core",
    "trt_builder_optimization_level",
    "trt_auxiliary_streams",
    "trt_ep_context_embed_mode",
)
_TEXTS = (
    "precision_mode",
    "int8_calibration_table_name",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_timing_cache_path",
    "trt_tactic_sources",
    "trt_extra_plugin_lib_paths",
    "trt_profile_min_shapes",
    "trt_profile_max_shapes",
    "trt_profile_opt_shapes",
    "trt_ep_context_file_path",
)
_PRECISIONS = ("FP32", "FP16", "INT8")
_BOOLEAN_WORDS = ("true", "false", "on", "off", "1", "0")


@rule("CFG701")
def unknown_cpu_accelerator(model: ModelSubject) -> Iterator[Finding]:
    """The accelerator for a CPU is one that the backend knows: ``openvino`` for onnxruntime.

    Wrong::

        backend: "onnxruntime"
        optimization { execution_accelerators { cpu_execution_accelerator [ { name: "dnnl" } ] } }

    Right::

        backend: "onnxruntime"
    """
    if model.backend == "onnxruntime":
        yield from _unknown(model, "cpu_execution_accelerator", _ON_CPU)


@rule("CFG702", embedded_refuses=False)
def unknown_gpu_accelerator(model: ModelSubject) -> Iterator[Finding]:
    """The accelerator for a GPU is one that the backend knows: ``tensorrt`` or ``cuda`` for onnxruntime.

    A server without a GPU does not look at it; one with a GPU refuses the model.

    Wrong::

        backend: "onnxruntime"
        optimization { execution_accelerators { gpu_execution_accelerator [ { name: "TensorRT" } ] } }

    Right::

        backend: "onnxruntime"
        optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }
    """
    if _may_run_on_gpu(model):
        yield from _unknown(model, "gpu_execution_accelerator", _ON_GPU)


def _unknown(model: ModelSubject, field: str, known: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    names = known.get(model.backend)
    for place, accelerator in _accelerators(model):
        if names is not None and field in place and accelerator.name not in names:
            yield Finding(
                f"the {model.backend} backend has no accelerator '{accelerator.name}'",
                cause=f"Triton: unknown Execution Accelerator '{accelerator.name}' is requested",
                fix=f'write name: "{names[0]}", or remove the accelerator' if names else "remove the accelerator",
                field=f"{place}.name",
            )


def _may_run_on_gpu(model: ModelSubject) -> bool:
    groups = model.config.instance_groups
    return not groups or any(group.kind in (InstanceKind.KIND_AUTO, InstanceKind.KIND_GPU) for group in groups)


@rule("CFG703", embedded_refuses=False)
def unknown_tensorrt_parameter(model: ModelSubject) -> Iterator[Finding]:
    """Parameters of the onnxruntime backend's TensorRT accelerator are those that it knows, with values that it reads.

    ``precision_mode`` is FP32, FP16 or INT8. A server without a GPU does not look at them; one with a GPU refuses the
    model.

    Wrong::

        gpu_execution_accelerator [ { name: "tensorrt" parameters { key: "precision" value: "fp16" } } ]

    Right::

        gpu_execution_accelerator [ { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } } ]
    """
    if model.backend != "onnxruntime" or not _may_run_on_gpu(model):
        return
    for place, accelerator in _accelerators(model):
        if "gpu_execution_accelerator" not in place or accelerator.name != "tensorrt":
            continue
        for key, value in accelerator.parameters.items():
            for message, cause, fix in _parameter_faults(key, value):
                yield Finding(message, cause=cause, fix=fix, field=f"{place}.parameters[{key}]")


def _parameter_faults(key: str, value: str) -> Iterator[tuple[str, str, str]]:
    if key not in (*_BOOLEANS, *_INTEGERS, *_TEXTS):
        yield (
            f"TensorRT has no parameter '{key}'",
            f"Triton: unknown parameter '{key}' is provided for TensorRT Execution Accelerator",
            "check the spelling, or remove the parameter",
        )
    elif key == "precision_mode" and value not in _PRECISIONS:
        yield (
            f"precision_mode is '{value}'",
            f"Triton: unsupported precision mode '{value}' is requested",
            f"write one of {', '.join(_PRECISIONS)}",
        )
    elif key in _INTEGERS and not value.strip().lstrip("+-")[:1].isdigit():
        yield f"{key} is '{value}'", f"Triton: failed to convert '{value}' to integral number", "write a whole number"
    elif key in _BOOLEANS and value.lower() not in _BOOLEAN_WORDS:
        yield f"{key} is '{value}'", f"Triton: failed to convert '{value}' to boolean", "write true or false"


@rule("CFG704", severity=Severity.WARNING, embedded_refuses=True)
def accelerator_of_the_image(model: ModelSubject) -> Iterator[Finding]:
    """A repository that also serves on a laptop names no accelerator for a CPU.

    NVIDIA's image has OpenVINO for the onnxruntime backend. A build without it, such as the embedded server, refuses
    the model.

    Wrong::

        backend: "onnxruntime"
        optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }

    Right::

        backend: "onnxruntime"
    """
    for place, accelerator in _accelerators(model):
        if "cpu_execution_accelerator" in place and accelerator.name in _ON_CPU.get(model.backend, ()):
            yield Finding(
                f"the model needs the accelerator '{accelerator.name}'",
                cause=f"a build without it says: unknown Execution Accelerator '{accelerator.name}' is requested",
                fix="remove the accelerator, or keep it in a configs/ variant for the image",
                field=place,
            )


@rule("CFG705", severity=Severity.WARNING, fixable=True)
def ignored_accelerator(model: ModelSubject) -> Iterator[Finding]:
    """Execution accelerators are for the onnxruntime and tensorflow backends; others ignore them.

    Wrong::

        backend: "pytorch"
        optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }

    Right::

        backend: "onnxruntime"
        optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] } }
    """
    if model.backend not in ("python", "pytorch", "openvino", "tensorrt", "fil", "sklearn"):
        return
    for place, accelerator in _accelerators(model):
        yield Finding(
            f"the {model.backend} backend does not read the accelerator '{accelerator.name}'",
            cause="Triton says nothing, and the model runs as if it were not there",
            fix="remove execution_accelerators",
            field=place,
            edits=(RemoveField(place),),
        )


@rule("CFG706", severity=Severity.WARNING, fixable=True)
def meaningless_graph_level(model: ModelSubject) -> Iterator[Finding]:
    """For onnxruntime, optimization.graph.level is -1 (basic), 1 (extended) or 2 (off); absent or 0 is everything.

    Any other number is everything too.

    Wrong::

        optimization { graph { level: 99 } }

    Right::

        optimization { graph { level: 1 } }
    """
    optimization = model.config.optimization
    if optimization is None or model.backend != "onnxruntime":
        return
    if optimization.graph_level not in (None, -1, 0, 1, 2):
        yield Finding(
            f"the graph level {optimization.graph_level} has no meaning",
            cause="the onnxruntime backend takes it for 0, every optimisation",
            fix="write -1 (basic), 1 (extended), 2 (off), or remove it for every optimisation",
            field="optimization.graph.level",
            edits=(RemoveField("optimization.graph.level"),),
        )


@rule("CFG707", severity=Severity.WARNING, fixable=True)
def ignored_cuda_options(model: ModelSubject) -> Iterator[Finding]:
    """optimization.cuda is read by the TensorRT backend; others ignore it.

    Wrong::

        backend: "onnxruntime"
        optimization { cuda { graphs: true } }

    Right::

        backend: "tensorrt"
        optimization { cuda { graphs: true } }
    """
    optimization = model.config.optimization
    is_known = model.backend in ("python", "pytorch", "onnxruntime", "openvino", "tensorflow", "fil", "sklearn")
    if optimization is not None and optimization.cuda is not None and is_known:
        yield Finding(
            f"the {model.backend} backend does not read optimization.cuda",
            cause="it is for TensorRT; Triton says nothing",
            fix="for onnxruntime on a GPU write the accelerator tensorrt with trt_cuda_graph_enable"
            if model.backend == "onnxruntime"
            else "remove optimization.cuda",
            field="optimization.cuda",
            edits=(RemoveField("optimization.cuda"),),
        )


def _accelerators(model: ModelSubject) -> Iterator[tuple[str, Accelerator]]:
    optimization = model.config.optimization
    accelerators = optimization.execution_accelerators if optimization is not None else None
    if accelerators is None:
        return
    for index, accelerator in enumerate(accelerators.gpu):
        yield f"{_PLACE}.gpu_execution_accelerator[{index}]", accelerator
    for index, accelerator in enumerate(accelerators.cpu):
        yield f"{_PLACE}.cpu_execution_accelerator[{index}]", accelerator
