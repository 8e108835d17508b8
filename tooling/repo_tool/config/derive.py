# SPDX-License-Identifier: Apache-2.0
"""From a signature to the model configuration it deserves, and why. Pure: values in, values out."""

__all__ = ["DEFAULT_MAX_BATCH_SIZE", "DeriveOptions", "derive", "label_output", "reasons_for"]

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from repo_tool.config.batch_memory import DEFAULT_MAX_BATCH_SIZE, affordable_rows, in_bytes
from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.model import ModelConfig, ModelTensor, VersionPolicy, Warmup, WarmupInput
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.errors import BatchingError, ConfigError
from repo_tool.signature import ModelSignature, TensorSpec

LABEL_FILENAME = "labels.txt"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

# The parameter that bounds the CPU threads of one instance; absent, each backend takes every core.
_THREAD_PARAMETERS = {
    "onnxruntime": "intra_op_thread_count",
    "pytorch": "INTRA_OP_THREAD_COUNT",
    "sklearn": "thread_count",
    "tensorflow": "TF_NUM_INTRA_THREADS",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveOptions:
    """What a person decides; ``cores`` are those of the machine that will serve on a CPU."""

    name: str
    backend: str
    cores: int
    instances: int = 1
    max_batch_size: int | None = None  # None: as the model allows
    labels: tuple[str, ...] = ()
    labels_are_required: bool = False  # given by a person, not found in the model
    backend_parameters: Mapping[str, str] = field(default_factory=dict)  # what the importer has to tell the backend
    warmup_shapes: dict[str, tuple[int, ...]] | None = None  # of one sample row, without the batch dimension
    row_bytes: int = 0  # of one row's inputs and outputs; 0: not known
    weights_bytes: int = 0  # of one instance; 0: not known


def derive(signature: ModelSignature, options: DeriveOptions) -> ModelConfig:
    """The configuration of a model of that signature.

    Raises:
        BatchingError: asked to batch a model with a tensor whose first dimension is fixed.
        ConfigError: labels were given and no output has that many values.
    """
    max_batch_size = _max_batch_size(signature, options)
    config = ModelConfig(
        name=options.name,
        backend=options.backend,
        max_batch_size=max_batch_size,
        inputs=tuple(_tensor(tensor, max_batch_size) for tensor in signature.inputs),
        outputs=tuple(_tensor(tensor, max_batch_size) for tensor in signature.outputs),
        dynamic_batching=DynamicBatching() if max_batch_size > 0 else None,
        instance_groups=(InstanceGroup(kind=InstanceKind.KIND_AUTO, count=options.instances),),
        version_policy=VersionPolicy(latest=1),
        parameters=_parameters(options),
        model_warmup=_warmup(signature, options, max_batch_size),
    )
    return _labelled(config, options)


def reasons_for(config: ModelConfig, signature: ModelSignature, options: DeriveOptions) -> dict[str, str]:
    """Why what ``derive`` chose is so: a few words for each such field of ``config.pbtxt``, in its order."""
    reasons = {"max_batch_size": _batch_reason(signature, options)}
    if config.dynamic_batching is not None:
        reasons["dynamic_batching"] = "no delay: waiting for company costs more than it gains at low load"
    reasons["instance_group"] = "without a count Triton would take two instances on a CPU"
    if options.backend in _THREAD_PARAMETERS:
        reasons["parameters"] = _thread_reason(options)
    if config.model_warmup:
        sizes = " and ".join(str(warmup.batch_size) for warmup in config.model_warmup)
        reasons["model_warmup"] = f"a real row in batches of {sizes}: no client pays for lazy initialisation"
    return reasons


def _max_batch_size(signature: ModelSignature, options: DeriveOptions) -> int:
    if signature.can_batch:
        return _default_max_batch_size(options) if options.max_batch_size is None else options.max_batch_size
    if not options.max_batch_size:
        return 0
    cause = "a row's answer depends on the rows beside it" if not signature.batches else _frozen(signature)
    raise BatchingError(
        f"'{options.name}' cannot batch: max batch size {options.max_batch_size} was asked for",
        cause=cause,
        next_step="export the model with a dynamic first dimension, or pass --max-batch-size 0",
    )


def _default_max_batch_size(options: DeriveOptions) -> int:
    return min(_affordable(options), DEFAULT_MAX_BATCH_SIZE)


def _affordable(options: DeriveOptions) -> int:
    return affordable_rows(options.row_bytes, weights_bytes=options.weights_bytes * options.instances)


def _frozen(signature: ModelSignature) -> str:
    frozen = [
        f"'{tensor.name}' {list(tensor.shape)}"
        for tensor in (*signature.inputs, *signature.outputs)
        if not tensor.has_free_first_dimension
    ]
    return f"the first dimension is not free in {', '.join(frozen)}"


def _tensor(tensor: TensorSpec, max_batch_size: int) -> ModelTensor:
    dims = tensor.shape[1:] if max_batch_size > 0 else tensor.shape
    # Triton wants at least one dimension: a row that is a single value is [ 1 ] to clients and [ ] to the model.
    reshape = () if not dims and max_batch_size > 0 else None
    return ModelTensor(name=tensor.name, datatype=tensor.datatype, dims=dims or (1,), reshape=reshape)


def _parameters(options: DeriveOptions) -> dict[str, str]:
    parameter = _THREAD_PARAMETERS.get(options.backend)
    threads = {parameter: str(_threads(options))} if parameter else {}
    return {**threads, **options.backend_parameters}


def _threads(options: DeriveOptions) -> int:
    return max(1, options.cores // options.instances)


def _warmup(signature: ModelSignature, options: DeriveOptions, max_batch_size: int) -> tuple[Warmup, ...]:
    """One row, and as many as a batch may have, or as memory allows; Triton repeats the row of the file."""
    shapes = options.warmup_shapes
    if shapes is None:
        return ()
    inputs = tuple(
        WarmupInput(
            name=tensor.name,
            datatype=tensor.datatype,
            dims=shapes[tensor.name] or (1,),
            file=tensor.name if _FILE_NAME.fullmatch(tensor.name) else f"input.{index}",
        )
        for index, tensor in enumerate(sorted(signature.inputs, key=lambda tensor: tensor.name))
    )
    # Triton skips a warm-up of batch size 0, also for a model that does not batch.
    one = Warmup(name="sample_row", batch_size=1, inputs=inputs)
    largest = min(max_batch_size, _affordable(options))
    return (one, Warmup(name="largest_batch", batch_size=largest, inputs=inputs)) if largest > 1 else (one,)


def _batch_reason(signature: ModelSignature, options: DeriveOptions) -> str:
    if options.max_batch_size is not None:
        return "as asked for"
    if not signature.batches:
        return "0: a row's answer depends on the rows beside it"
    if not signature.can_batch:
        return f"0: {_frozen(signature)}"
    size = _default_max_batch_size(options)
    if size == DEFAULT_MAX_BATCH_SIZE:
        return f"{size}: the default, which suits most models"
    weights = options.weights_bytes * options.instances
    beside = f" beside {in_bytes(weights)} of weights" if weights else ""
    return f"{size}: a row's inputs and outputs are {in_bytes(options.row_bytes)}; more rows might not fit 2 GB{beside}"


def _thread_reason(options: DeriveOptions) -> str:
    instances = f"{options.instances} instance{'s' if options.instances > 1 else ''}"
    cores = f"{options.cores} core{'s' if options.cores > 1 else ''}"
    return f"{instances} x {_threads(options)} threads on {cores}: absent, each instance would take every core"


def label_output(outputs: Sequence[ModelTensor], labels: Sequence[str]) -> ModelTensor | None:
    """The output whose values the labels name: the first float one with as many values a row as there are labels."""
    return next(
        (
            tensor
            for tensor in outputs
            if tensor.datatype is not None and tensor.datatype.is_float and tensor.dims[-1] == len(labels)
        ),
        None,
    )


def _labelled(config: ModelConfig, options: DeriveOptions) -> ModelConfig:
    if not options.labels:
        return config
    labelled = label_output(config.outputs, options.labels)
    if labelled is not None:
        named = replace(labelled, label_filename=LABEL_FILENAME)
        return replace(config, outputs=tuple(named if tensor is labelled else tensor for tensor in config.outputs))
    if not options.labels_are_required:
        return config
    shapes = ", ".join(f"'{tensor.name}' {list(tensor.dims)}" for tensor in config.outputs)
    raise ConfigError(
        f"{len(options.labels)} labels fit no output of '{options.name}'",
        cause=f"labels name the values of a float output; the outputs are {shapes}",
        next_step="give one label a line, as many as the model has classes",
    )
