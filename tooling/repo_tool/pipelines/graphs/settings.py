# SPDX-License-Identifier: Apache-2.0
"""How a merged graph is served: as the model in it was, with the tensors of the whole."""

__all__ = ["directory_files", "merged_config", "merged_variants"]

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from repo_tool.columns import COLUMNS_PARAMETER, columns_parameters, read_columns
from repo_tool.config.derive import DeriveOptions, derive
from repo_tool.config.execution import Accelerator, ExecutionAccelerators, Optimization
from repo_tool.config.model import ModelConfig, ModelTensor, VersionPolicy, Warmup, WarmupInput
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.config.variants import GraphFacts, renewed_tensorrt_parameters, tensorrt_trouble
from repo_tool.datatypes import DataType
from repo_tool.pipelines.graphs.merging import GraphModel
from repo_tool.pipelines.graphs.worker_process import LoadedTensor
from repo_tool.pipelines.placement import Part
from repo_tool.pipelines.stages import ModelStage, model_tensor
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.layout import ModelRepository
from repo_tool.signature import ModelSignature, TensorSpec

_BACKEND = "onnxruntime"
_STANDARD_DOMAINS = ("", "ai.onnx")
_CACHE_PATH = "trt_engine_cache_path"

# What two models of one graph have to say alike; there is one of each for the whole.
_OF_ALL = ("instance_groups", "optimization", "dynamic_batching", "response_cache", "model_metrics")


def _models(part: Part) -> tuple[ModelStage, ...]:
    return tuple(stage for stage in part.stages if isinstance(stage, ModelStage))


def _refuse_other_settings(configs: Sequence[ModelConfig]) -> None:
    for config in configs[1:]:
        first = configs[0]
        differing = [field for field in _OF_ALL if getattr(config, field) != getattr(first, field)]
        differing += [
            f"parameters {key}"
            for key, value in config.parameters.items()
            if key != COLUMNS_PARAMETER and first.parameters.get(key, value) != value
        ]
        if differing:
            raise NotImplementedError(
                f"models '{first.name}' and '{config.name}' are served with different settings: {', '.join(differing)}"
            )


# --- config.pbtxt ----------------------------------------------------------------------------------------------------


def merged_config(part: Part, wires: Mapping[str, Wire], graph: GraphModel) -> ModelConfig:
    """As the models in the graph are served, or derived where there is none."""
    configs = [stage.config for stage in _models(part)]
    return _with_settings(configs, part, wires, graph) if configs else _derived(part, graph)


def _derived(part: Part, graph: GraphModel) -> ModelConfig:
    signature = ModelSignature(
        inputs=_specs(part.reads, graph.loaded.inputs), outputs=_specs(part.writes, graph.loaded.outputs)
    )
    options = DeriveOptions(
        name=part.name, backend=_BACKEND, cores=os.cpu_count() or 1, max_batch_size=part.max_batch_size
    )
    return derive(signature, options)


def _specs(names: Sequence[str], found: Sequence[LoadedTensor]) -> tuple[TensorSpec, ...]:
    by_name = {tensor.name: tensor for tensor in found}
    return tuple(TensorSpec(name=name, datatype=by_name[name].datatype, shape=by_name[name].shape) for name in names)


def _with_settings(
    configs: Sequence[ModelConfig], part: Part, wires: Mapping[str, Wire], graph: GraphModel
) -> ModelConfig:
    _refuse_other_settings(configs)
    return replace(
        configs[0],
        name=part.name,
        backend=_BACKEND,
        platform="",
        default_model_filename="",
        max_batch_size=part.max_batch_size,
        inputs=tuple(model_tensor(name, wires, rows=part.rows) for name in part.reads),
        outputs=_outputs(part, graph),
        version_policy=VersionPolicy(latest=1),
        dynamic_batching=_batching(configs[0].dynamic_batching, part.max_batch_size),
        model_warmup=_warmup(configs[0], part, wires),
        metric_tags={key: value for config in configs for key, value in config.metric_tags.items()},
        parameters=_parameters(configs, part),
    )


def _outputs(part: Part, graph: GraphModel) -> tuple[ModelTensor, ...]:
    """With the shapes of the loaded session, free or not, which Triton's backend compares exactly."""
    labels = {wire: name for wire, (name, _) in _label_files(part).items()}
    shapes = {tensor.name: tensor for tensor in graph.loaded.outputs}
    return tuple(
        ModelTensor(
            name=name,
            datatype=shapes[name].datatype,
            dims=shapes[name].shape[1:] if part.max_batch_size > 0 else shapes[name].shape,
            label_filename=labels.get(name, ""),
        )
        for name in part.writes
    )


def _batching(batching: DynamicBatching | None, most: int) -> DynamicBatching | None:
    if batching is None or most == 0:
        return None
    return replace(batching, preferred_batch_sizes=tuple(n for n in batching.preferred_batch_sizes if n <= most))


def _parameters(configs: Sequence[ModelConfig], part: Part) -> dict[str, str]:
    carried = {key: value for config in configs for key, value in config.parameters.items() if key != COLUMNS_PARAMETER}
    return {**carried, **columns_parameters(_columns(part))}


def _columns(part: Part) -> dict[str, tuple[str, ...]]:
    """The names of the columns of inputs that reach a model as they are."""
    return {
        stage.inputs[tensor]: names
        for stage in _models(part)
        for tensor, names in read_columns(stage.config.parameters).items()
        if stage.inputs.get(tensor) in part.reads
    }


# --- warm-up ---------------------------------------------------------------------------------------------------------


def _warmup(config: ModelConfig, part: Part, wires: Mapping[str, Wire]) -> tuple[Warmup, ...]:
    """The model's own rows where its inputs are the graph's; else zeros, where these have a size."""
    stages = _models(part)
    if _takes_its_rows(config, part):
        return tuple(replace(each, inputs=_renamed(each, stages[0])) for each in _of_size(config, part))
    if any(wires[name].datatype is DataType.BYTES or -1 in wires[name].dims for name in part.reads):
        return ()
    inputs = tuple(_zeros(model_tensor(name, wires, rows=part.rows)) for name in sorted(part.reads))
    return tuple(replace(each, inputs=inputs) for each in _of_size(config, part))


def _takes_its_rows(config: ModelConfig, part: Part) -> bool:
    stages = _models(part)
    wires = list(stages[0].inputs.values())
    if len(set(wires)) < len(wires):  # one tensor of the graph cannot be two of the model's
        return False
    return set(part.reads) == set(wires) and all(
        {each.name for each in warmup.inputs} == set(stages[0].inputs) for warmup in config.model_warmup
    )


def _of_size(config: ModelConfig, part: Part) -> Iterator[Warmup]:
    """Each batch size once, none larger than the graph takes."""
    sizes = set()
    for warmup in config.model_warmup:
        size = min(warmup.batch_size, max(part.max_batch_size, 1))
        if size not in sizes:
            sizes.add(size)
            yield replace(warmup, batch_size=size)


def _renamed(warmup: Warmup, stage: ModelStage) -> tuple[WarmupInput, ...]:
    inputs = [replace(each, name=stage.inputs[each.name]) for each in warmup.inputs]
    return tuple(sorted(inputs, key=lambda each: each.name))  # as a map of Triton's is read


def _zeros(tensor: ModelTensor) -> WarmupInput:
    dims = tuple(abs(size) for size in tensor.dims)  # a free first dimension is one row
    return WarmupInput(name=tensor.name, datatype=tensor.datatype, dims=dims, zero_data=True)


# --- files beside config.pbtxt ---------------------------------------------------------------------------------------


def directory_files(part: Part, config: ModelConfig, repository: ModelRepository) -> dict[str, Path]:
    """The labels and warm-up rows that the configuration names, from the models that had them."""
    files = {name: repository.existing_model(model).path / own for name, (model, own) in _label_files(part).values()}
    rows = [each.file for warmup in config.model_warmup for each in warmup.inputs if each.file]
    if rows:
        folder = repository.existing_model(_models(part)[0].config.name).warmup_path
        files |= {f"{folder.name}/{name}": folder / name for name in rows}
    return {name: path for name, path in files.items() if path.is_file()}


def _label_files(part: Part) -> dict[str, tuple[str, tuple[str, str]]]:
    """By wire: the name of the file, and the model that has it under which name."""
    found: dict[str, tuple[str, tuple[str, str]]] = {}
    models = _models(part)
    for stage in models:
        for tensor in stage.config.outputs:
            wire = stage.outputs.get(tensor.name)
            if tensor.label_filename and wire in part.writes:
                prefix = f"{stage.config.name}." if len(models) > 1 else ""
                found[wire] = f"{prefix}{tensor.label_filename}", (stage.config.name, tensor.label_filename)
    return found


# --- configs/ --------------------------------------------------------------------------------------------------------


def merged_variants(
    part: Part, wires: Mapping[str, Wire], graph: GraphModel, repository: ModelRepository
) -> dict[str, ModelConfig]:
    """The variants that the models have, for the whole.

    Raises:
        NotImplementedError: one would lose what the other models, or TensorRT, ask for; with the reason.
    """
    directories = [repository.existing_model(stage.config.name) for stage in _models(part)]
    names = sorted({name for directory in directories for name in directory.variants()})
    return {
        name: _variant([directory.read_config(name) for directory in directories], name, part, wires, graph)
        for name in names
    }


def _variant(
    configs: Sequence[ModelConfig], name: str, part: Part, wires: Mapping[str, Wire], graph: GraphModel
) -> ModelConfig:
    merged = _with_settings(configs, part, wires, graph)
    accelerators = (merged.optimization or Optimization()).execution_accelerators or ExecutionAccelerators()
    if "tensorrt" not in {each.name for each in accelerators.gpu}:
        return merged
    facts = GraphFacts(digest="", is_standard=all(domain in _STANDARD_DOMAINS for domain, _ in graph.operators))
    trouble = tensorrt_trouble(merged, facts)
    if trouble:
        raise NotImplementedError(f"configs/{name}.pbtxt of '{configs[0].name}' asks for TensorRT: {trouble}")
    return _with_tensorrt(merged, configs[0], graph)


def _with_tensorrt(merged: ModelConfig, member: ModelConfig, graph: GraphModel) -> ModelConfig:
    """With the shapes and the cache of the merged graph in the place of the model's."""
    optimization = merged.optimization or Optimization()
    accelerators = optimization.execution_accelerators or ExecutionAccelerators()
    renewed = renewed_tensorrt_parameters(member, merged)
    if renewed.get(_CACHE_PATH):
        renewed[_CACHE_PATH] = f"{str(renewed[_CACHE_PATH]).rpartition('/')[0]}/{_digest(graph)[:12]}"
    gpu = tuple(_renewed(each, renewed) if each.name == "tensorrt" else each for each in accelerators.gpu)
    return replace(merged, optimization=replace(optimization, execution_accelerators=replace(accelerators, gpu=gpu)))


def _renewed(accelerator: Accelerator, changed: Mapping[str, str | None]) -> Accelerator:
    parameters = {**accelerator.parameters, **changed}
    return replace(accelerator, parameters={key: value for key, value in parameters.items() if value is not None})


def _digest(graph: GraphModel) -> str:
    return hashlib.sha256(
        b"".join(content for content in graph.files.values() if isinstance(content, bytes))
    ).hexdigest()
