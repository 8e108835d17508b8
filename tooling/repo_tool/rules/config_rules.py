# SPDX-License-Identifier: Apache-2.0
"""CFG: what ``config.pbtxt`` says by itself."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from repo_tool.config.execution import InstanceKind
from repo_tool.config.model import ModelTensor, Warmup, WarmupInput
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.rules.artifacts import PLATFORMS, backend_of_platform
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.registry import Scope, rule
from repo_tool.rules.subjects import ModelSubject


@rule("CFG101", scope=Scope.DIRECTORY)
def unparsable_config(model: ModelSubject) -> Iterator[Finding]:
    """config.pbtxt is protobuf text of Triton's ModelConfig message.

    One misspelt field, or one that the release does not know, fails the whole file. Only one of dynamic_batching,
    sequence_batching and ensemble_scheduling may be there.

    Wrong::

        max_batchsize: 8

    Right::

        max_batch_size: 8
    """
    if model.config_error is not None and model.directory.config_path.is_file():
        error = model.config_error
        yield Finding(error.fact, cause=error.cause, fix=error.next_step or "write it as protobuf text")


@rule("CFG102")
def unknown_backend_and_platform(model: ModelSubject) -> Iterator[Finding]:
    """Backend and platform name one way to run the model.

    ``backend`` alone is enough and is what new configurations write; a ``platform`` beside it must be that backend's.

    Wrong::

        backend: "onnxruntime"
        platform: "tensorrt_plan"

    Right::

        backend: "onnxruntime"
    """
    config = model.config
    if config.is_ensemble:
        return
    if config.backend:
        allowed = PLATFORMS.get(config.backend, ())
        if config.platform and allowed and config.platform not in allowed:
            yield Finding(
                f"platform '{config.platform}' does not belong to backend '{config.backend}'",
                cause=f"Triton: unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend}",
                fix="remove the platform",
                field="platform",
            )
    elif config.platform and backend_of_platform(config.platform) is None:
        yield Finding(
            f"there is no platform '{config.platform}'",
            cause="a platform without a backend must be one of Triton's old names, such as onnxruntime_onnx",
            fix='write backend: "..." in its place',
            field="platform",
        )
    elif not config.platform and model.guessed_backend is None and "." not in model.name:
        yield Finding(
            "neither backend nor platform is named",
            cause="and no file in a version directory gives the backend away",
            fix='write e.g. backend: "onnxruntime"',
            field="backend",
        )


@rule("CFG103")
def negative_max_batch_size(model: ModelSubject) -> Iterator[Finding]:
    """max_batch_size is 0 or more; 0 means that dims are whole shapes and requests are never batched.

    Wrong::

        max_batch_size: -1

    Right::

        max_batch_size: 0
    """
    if model.config.max_batch_size < 0:
        yield Finding(
            f"max_batch_size is {model.config.max_batch_size}",
            cause="Triton: 'max_batch_size' must be non-negative value",
            fix="write 0 for a model that does not batch, else the largest batch",
            field="max_batch_size",
        )


@rule("CFG104")
def incomplete_tensor(model: ModelSubject) -> Iterator[Finding]:
    """Every input and output has a name, a data type and dims.

    A 0-d tensor is declared with ``dims: [ 1 ]`` and, when batching, ``reshape { shape: [ ] }``.

    Wrong::

        output [ { name: "label" data_type: TYPE_INT64 } ]

    Right::

        output [ { name: "label" data_type: TYPE_INT64 dims: [ 1 ] } ]
    """
    for place, tensor in _tensors(model):
        present = {"name": tensor.name, "data_type": tensor.datatype, "dims": tensor.dims}
        for field in (field for field, value in present.items() if not value):
            yield Finding(
                f"{place} '{tensor.name}' has no {field}" if tensor.name else f"{place} has no {field}",
                cause=f"Triton: model {place.split('[')[0]} must specify '{field}'",
                fix=f"add {field}",
                field=f"{place}.{field}",
            )


@rule("CFG105")
def impossible_dimension(model: ModelSubject) -> Iterator[Finding]:
    """Each dimension is 1 or more, or -1 where a request chooses.

    Wrong::

        dims: [ 0, 224 ]

    Right::

        dims: [ -1, 224 ]
    """
    for place, tensor in _tensors(model):
        for field, dims in (("dims", tensor.dims), ("reshape.shape", tensor.reshape or ())):
            if any(dim < -1 or dim == 0 for dim in dims):
                yield Finding(
                    f"{place} '{tensor.name}' has {field} {list(dims)}",
                    cause="Triton: dimension must be integer >= 1, or -1 to indicate a variable-size dimension",
                    fix="write the size, or -1 where a request chooses it",
                    field=f"{place}.{field}",
                )


@rule("CFG106", severity=Severity.WARNING)
def duplicate_tensor(model: ModelSubject) -> Iterator[Finding]:
    """No two inputs and no two outputs share a name.

    Triton keeps one of them and says nothing.

    Wrong::

        input [ { name: "x" ... }, { name: "x" ... } ]

    Right::

        input [ { name: "x" ... }, { name: "y" ... } ]
    """
    for kind, tensors in (("input", model.config.inputs), ("output", model.config.outputs)):
        for name, count in Counter(tensor.name for tensor in tensors).items():
            if count > 1:
                yield Finding(
                    f"{count} {kind}s are called '{name}'",
                    cause="Triton keeps one of them and says nothing",
                    fix="give each its own name, or remove the copies",
                    field=kind,
                )


@rule("CFG107")
def impossible_reshape(model: ModelSubject) -> Iterator[Finding]:
    """A reshape keeps the number of elements, and the products between free dimensions.

    An empty one makes a scalar per row: it needs one element in dims and max_batch_size > 0.

    Wrong::

        dims: [ 4 ]  reshape { shape: [ 2, 3 ] }

    Right::

        dims: [ 4 ]  reshape { shape: [ 2, 2 ] }
    """
    for place, tensor in _tensors(model):
        if tensor.reshape is None or not tensor.dims:
            continue
        field = f"{place}.reshape.shape"
        if not tensor.reshape and model.config.max_batch_size <= 0:
            yield Finding(
                f"{place} '{tensor.name}' is reshaped to a scalar, and the model does not batch",
                cause="Triton: cannot have empty reshape for non-batching model as scalar tensors are not supported",
                fix="remove the reshape and write dims: [ 1 ]",
                field=field,
            )
        elif _segments(tensor.dims) != _segments(tensor.reshape):
            yield Finding(
                f"{place} '{tensor.name}' cannot be reshaped from {list(tensor.dims)} to {list(tensor.reshape)}",
                cause="the elements before, between and after the free dimensions differ in number",
                fix="write a shape with as many elements, and a -1 for each -1",
                field=field,
            )


def _segments(shape: Sequence[int]) -> list[int]:
    """The products of the runs between free dimensions: [2, -1, 3, 4] gives [2, 12]."""
    products = [1]
    for dim in shape:
        if dim == -1:
            products.append(1)
        else:
            products[-1] *= dim
    return products


@rule("CFG108")
def image_format_without_three_dims(model: ModelSubject) -> Iterator[Finding]:
    """An input in FORMAT_NHWC or FORMAT_NCHW has three dims; the batch is not one of them.

    Wrong::

        format: FORMAT_NCHW  dims: [ 1, 3, 224, 224 ]

    Right::

        format: FORMAT_NCHW  dims: [ 3, 224, 224 ]
    """
    for index, tensor in enumerate(model.config.inputs):
        if tensor.format != "FORMAT_NONE" and len(tensor.dims) != 3:
            yield Finding(
                f"input '{tensor.name}' is {tensor.format} with {len(tensor.dims)} dims",
                cause="Triton: model input NHWC/NCHW require 3 dims",
                fix="write channels, height and width without the batch, or remove the format",
                field=f"input[{index}].format",
            )


@rule("CFG109", severity=Severity.WARNING)
def no_output(model: ModelSubject) -> Iterator[Finding]:
    """The model has at least one output.

    Triton loads a model without one, and then every request fails.

    Wrong::

        input [ { name: "x" ... } ]

    Right::

        input [ { name: "x" ... } ]
        output [ { name: "y" ... } ]
    """
    if not model.config.outputs and not model.config.is_ensemble:
        yield Finding(
            "the model has no output",
            cause="it loads, and then every request fails: at least one output should be requested",
            fix="list the outputs that clients may ask for",
            field="output",
        )


@rule("CFG201", severity=Severity.WARNING)
def batcher_without_batching(model: ModelSubject) -> Iterator[Finding]:
    """dynamic_batching goes with max_batch_size > 0.

    With 0 the requests still wait in the batcher's queue and still run one by one.

    Wrong::

        max_batch_size: 0
        dynamic_batching { }

    Right::

        max_batch_size: 8
        dynamic_batching { }
    """
    if model.config.dynamic_batching is not None and model.config.max_batch_size == 0:
        yield Finding(
            "dynamic_batching with max_batch_size 0 batches nothing",
            cause="requests wait in its queue and still run one by one",
            fix="set max_batch_size, or remove dynamic_batching",
            field="dynamic_batching",
        )


@rule("CFG202")
def impossible_preferred_batch_size(model: ModelSubject) -> Iterator[Finding]:
    """Preferred batch sizes lie between 1 and max_batch_size.

    Wrong::

        max_batch_size: 8
        dynamic_batching { preferred_batch_size: [ 16 ] }

    Right::

        max_batch_size: 16
        dynamic_batching { preferred_batch_size: [ 16 ] }
    """
    largest = model.config.max_batch_size
    for size in _batching(model).preferred_batch_sizes:
        if not 0 < size <= largest:
            yield Finding(
                f"the preferred batch size {size} is not between 1 and max_batch_size {largest}",
                cause="Triton: dynamic batching preferred size must be positive and <= max batch size",
                fix="remove it, or raise max_batch_size",
                field="dynamic_batching.preferred_batch_size",
            )


@rule("CFG203")
def impossible_priority(model: ModelSubject) -> Iterator[Finding]:
    """With priority levels the default one is named, and it and every policy lie between 1 and priority_levels.

    Wrong::

        dynamic_batching { priority_levels: 2 }

    Right::

        dynamic_batching { priority_levels: 2  default_priority_level: 2 }
    """
    batching = _batching(model)
    levels = batching.priority_levels
    if not levels:
        return
    if not 1 <= batching.default_priority_level <= levels:
        yield Finding(
            f"default_priority_level {batching.default_priority_level} is not between 1 and {levels}",
            cause="requests without a priority need one of the levels",
            fix=f"write default_priority_level: {levels}, the lowest",
            field="dynamic_batching.default_priority_level",
        )
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            yield Finding(
                f"priority_queue_policy names level {level} of {levels}",
                cause="levels count from 1, the highest",
                fix="remove the entry, or raise priority_levels",
                field=f"dynamic_batching.priority_queue_policy[{level}]",
            )


@rule("CFG204")
def ordering_against_priorities(model: ModelSubject) -> Iterator[Finding]:
    """preserve_ordering goes with at most one priority level, since priorities change the order.

    Wrong::

        dynamic_batching { preserve_ordering: true  priority_levels: 2  default_priority_level: 1 }

    Right::

        dynamic_batching { priority_levels: 2  default_priority_level: 1 }
    """
    batching = _batching(model)
    if batching.preserve_ordering and batching.priority_levels > 1:
        yield Finding(
            f"preserve_ordering with {batching.priority_levels} priority levels",
            cause="responses cannot keep the requests' order when priorities change it",
            fix="remove one of the two",
            field="dynamic_batching.preserve_ordering",
        )


@rule("CFG205", severity=Severity.WARNING)
def policy_without_priorities(model: ModelSubject) -> Iterator[Finding]:
    """priority_queue_policy goes with priority_levels; without them Triton never looks at it.

    Wrong::

        dynamic_batching { priority_queue_policy { key: 1 value { max_queue_size: 8 } } }

    Right::

        dynamic_batching { default_queue_policy { max_queue_size: 8 } }
    """
    batching = _batching(model)
    if batching.priority_queue_policy and not batching.priority_levels:
        yield Finding(
            "priority_queue_policy without priority_levels has no effect",
            cause="Triton neither checks nor uses it",
            fix="set priority_levels, or use default_queue_policy",
            field="dynamic_batching.priority_queue_policy",
        )


@rule("CFG206", severity=Severity.WARNING)
def delay_for_the_full_batch(model: ModelSubject) -> Iterator[Finding]:
    """A queue delay is not spent waiting for the largest batch alone.

    With the maximum as the only preferred size, which is also Triton's default, every request waits the whole delay
    unless that many others come; at low load that only adds latency.

    Wrong::

        max_batch_size: 64
        dynamic_batching { max_queue_delay_microseconds: 2000 }

    Right::

        max_batch_size: 64
        dynamic_batching { preferred_batch_size: [ 4, 8 ]  max_queue_delay_microseconds: 100 }
    """
    batching = _batching(model)
    sizes = batching.preferred_batch_sizes or (model.config.max_batch_size,)
    if batching.max_queue_delay_us and set(sizes) == {model.config.max_batch_size}:
        yield Finding(
            f"every request may wait {batching.max_queue_delay_us} microseconds for a batch of {sizes[0]}",
            cause="the maximum is the only preferred batch size",
            fix="remove the delay, or prefer smaller batches too, and measure both",
            field="dynamic_batching.max_queue_delay_microseconds",
        )


@rule("CFG207", severity=Severity.NOTE)
def variable_dims_batch_alone(model: ModelSubject) -> Iterator[Finding]:
    """Requests whose free dimensions differ are not batched together, unless the input allows ragged batches.

    Wrong::

        dynamic_batching { }
        input [ { name: "tokens" data_type: TYPE_INT64 dims: [ -1 ] } ]     (clients send every length)

    Right::

        dynamic_batching { }
        input [ { name: "tokens" data_type: TYPE_INT64 dims: [ 128 ] } ]    (clients pad)
    """
    if model.config.dynamic_batching is None or model.config.max_batch_size == 0:
        return
    for index, tensor in enumerate(model.config.inputs):
        if -1 in tensor.dims and not tensor.allow_ragged_batch:
            yield Finding(
                f"requests that differ in the shape of input '{tensor.name}' are not batched together",
                cause="the dynamic batcher only joins equal shapes",
                fix="pad to a fixed shape where throughput matters",
                field=f"input[{index}].dims",
            )


@rule("CFG301")
def gpus_for_a_cpu_instance(model: ModelSubject) -> Iterator[Finding]:
    """Only instances on GPUs list gpus.

    Wrong::

        instance_group [ { kind: KIND_CPU  gpus: [ 0 ] } ]

    Right::

        instance_group [ { kind: KIND_GPU  gpus: [ 0 ] } ]
    """
    for index, group in enumerate(model.config.instance_groups):
        if group.gpus and group.kind in (InstanceKind.KIND_CPU, InstanceKind.KIND_MODEL):
            yield Finding(
                f"instance group {index} is {group.kind.value} and lists gpus",
                cause=f"Triton: has kind {group.kind.value} but specifies one or more GPUs",
                fix="remove gpus, or write KIND_GPU",
                field=f"instance_group[{index}].gpus",
            )


@rule("CFG302", severity=Severity.WARNING, embedded_refuses=True)
def gpu_only(model: ModelSubject) -> Iterator[Finding]:
    """Instances are KIND_AUTO, so that the same repository loads with and without a GPU.

    KIND_GPU, or a list of gpus, is refused on a machine without them.

    Wrong::

        instance_group [ { kind: KIND_GPU  count: 1 } ]

    Right::

        instance_group [ { kind: KIND_AUTO  count: 1 } ]
    """
    for index, group in enumerate(model.config.instance_groups):
        on_auto = group.kind is InstanceKind.KIND_AUTO and bool(group.gpus)
        if group.kind is InstanceKind.KIND_GPU or on_auto:
            yield Finding(
                f"instance group {index} needs a GPU",
                cause="a server without one refuses the model",
                fix="write KIND_AUTO without gpus: the GPU where there is one, else the CPU",
                field=f"instance_group[{index}].kind",
            )


@rule("CFG303", severity=Severity.WARNING)
def uncounted_instances(model: ModelSubject) -> Iterator[Finding]:
    """The number of instances is written.

    Without it Triton runs two instances of an ONNX or TensorFlow model on a CPU, each with as many threads as there
    are cores.

    Wrong::

        backend: "onnxruntime"

    Right::

        backend: "onnxruntime"
        instance_group [ { kind: KIND_AUTO  count: 1 } ]
    """
    if model.backend not in ("onnxruntime", "tensorflow"):
        return
    groups = model.config.instance_groups
    if groups and all(group.count > 0 or group.kind is InstanceKind.KIND_GPU for group in groups):
        return
    yield Finding(
        "the number of instances is left to Triton",
        cause="on a CPU it takes two, which then compete for the cores",
        fix="write instance_group [ { kind: KIND_AUTO count: 1 } ]",
        field="instance_group",
    )


@rule("CFG401")
def uncacheable(model: ModelSubject) -> Iterator[Finding]:
    """The response cache is for models whose answer depends on the request alone and comes once.

    Wrong::

        response_cache { enable: true }
        model_transaction_policy { decoupled: true }

    Right::

        response_cache { enable: true }
    """
    config = model.config
    reasons = {
        "sequence_batching": config.sequence_batching is not None,
        "a decoupled transaction policy": config.decoupled,
    }
    for reason in (reason for reason, holds in reasons.items() if holds and config.response_cache):
        yield Finding(
            f"response_cache cannot be combined with {reason}",
            cause="its answers depend on more than the request, or come more than once",
            fix="remove response_cache",
            field="response_cache",
        )


@rule("CFG501")
def impossible_warmup(model: ModelSubject) -> Iterator[Finding]:
    """A warm-up request is one that the model would accept: every input, its type and a fixed shape without the batch.

    Triton sends it before the model counts as ready; when it fails, the model is not loaded.

    Wrong::

        model_warmup { ... inputs { key: "x" value { data_type: TYPE_FP32 dims: [ -1 ] zero_data: true } } }

    Right::

        model_warmup { ... inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } }
    """
    if model.config.is_ensemble:
        return
    for index, warmup in enumerate(model.config.model_warmup):
        if warmup.batch_size > 0:
            for message, cause in _warmup_faults(model, warmup):
                yield Finding(
                    f"warm-up '{warmup.name}' {message}",
                    cause=cause,
                    fix="write it as a request that the model accepts; dims leave the batch out",
                    field=f"model_warmup[{index}]",
                )


def _warmup_faults(model: ModelSubject, warmup: Warmup) -> Iterator[tuple[str, str]]:
    if warmup.batch_size > max(1, model.config.max_batch_size):
        largest = model.config.max_batch_size
        yield f"has batch size {warmup.batch_size}", f"max_batch_size is {largest}; Triton 2.51 crashes on such a one"
    given = {tensor.name: tensor for tensor in warmup.inputs}
    for declared in model.config.inputs:
        if declared.name in given:
            yield from _warmup_input_faults(declared, given[declared.name])
        elif not declared.optional:
            yield f"lacks input '{declared.name}'", "every input that is not optional must be there"


def _warmup_input_faults(declared: ModelTensor, given: WarmupInput) -> Iterator[tuple[str, str]]:
    if given.datatype is not declared.datatype and declared.datatype is not None:
        found = given.datatype.config_name if given.datatype else "no data_type"
        yield f"has {found} for '{given.name}'", f"the input is {declared.datatype.config_name}"
    if any(dim < 0 for dim in given.dims):
        yield f"leaves a dimension of '{given.name}' free", "a request has a shape; every dimension must be a number"
    elif not _accepts(declared.dims, given.dims):
        yield f"has dims {list(given.dims)} for '{given.name}'", f"the input has dims {list(declared.dims)}"


def _accepts(declared: Sequence[int], given: Sequence[int]) -> bool:
    same_rank = len(declared) == len(given)
    return same_rank and all(want in (-1, have) for want, have in zip(declared, given, strict=True))


@rule("CFG502", severity=Severity.WARNING)
def skipped_warmup(model: ModelSubject) -> Iterator[Finding]:
    """A warm-up has a batch size of 1 or more; Triton skips one with 0, the default, and ignores unknown inputs.

    Wrong::

        model_warmup { name: "w" inputs { ... } }

    Right::

        model_warmup { name: "w" batch_size: 1 inputs { ... } }
    """
    names = {tensor.name for tensor in model.config.inputs}
    for index, warmup in enumerate(model.config.model_warmup):
        unknown = sorted({tensor.name for tensor in warmup.inputs} - names)
        if warmup.batch_size == 0:
            yield Finding(
                f"warm-up '{warmup.name}' never runs",
                cause="its batch_size is 0, which Triton skips",
                fix="write batch_size: 1",
                field=f"model_warmup[{index}].batch_size",
            )
        elif unknown:
            yield Finding(
                f"warm-up '{warmup.name}' names inputs that the model lacks: {', '.join(unknown)}",
                cause="Triton drops them and says nothing",
                fix="compare the names with the model's inputs",
                field=f"model_warmup[{index}].inputs",
            )


_INTEGER_PARAMETERS = ("intra_op_thread_count", "inter_op_thread_count", "execution_mode")
_BOOLEAN_PARAMETERS = ("enable_mem_arena", "enable_mem_pattern")
_BOOLEAN_WORDS = ("true", "false", "on", "off", "1", "0")
# Read on a GPU only, checked there.
_GPU_PARAMETERS = (
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "do_copy_in_default_stream",
)
_ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
_OTHER_PARAMETERS = (
    _ARENA_SHRINKAGE,
    "session.use_device_allocator_for_initializers",
    "share_session_between_instances",
)
_ONNXRUNTIME_PARAMETERS = (*_INTEGER_PARAMETERS, *_BOOLEAN_PARAMETERS, *_GPU_PARAMETERS, *_OTHER_PARAMETERS)
_INT32 = 2**31


@rule("CFG601")
def unreadable_parameter(model: ModelSubject) -> Iterator[Finding]:
    """Parameters of the onnxruntime backend are numbers and words that it can read.

    Thread counts are integers that fit 32 bits (a larger one ends the whole server), ``execution_mode`` is 0 or 1, and
    ``enable_mem_arena`` and ``enable_mem_pattern`` are true, false, on, off, 1 or 0.

    Wrong::

        parameters { key: "intra_op_thread_count" value { string_value: "four" } }

    Right::

        parameters { key: "intra_op_thread_count" value { string_value: "4" } }
    """
    if model.backend != "onnxruntime":
        return
    for key, value in model.config.parameters.items():
        if wanted := _wanted_value(key, value):
            yield Finding(
                f"the parameter {key} is '{value}'",
                cause=f"it must be {wanted}",
                fix="write such a value, or remove the parameter",
                field=f"parameters[{key}]",
            )


def _wanted_value(key: str, value: str) -> str:
    """What the parameter must be; "" when the backend reads its value."""
    if key in _BOOLEAN_PARAMETERS and value.lower() not in _BOOLEAN_WORDS:
        return "true or false"
    if key not in _INTEGER_PARAMETERS:
        return ""
    number = re.match(r"\s*[+-]?[0-9]+", value)  # what stoi reads: the digits in front
    if number is None or len(value) > 64 or not -_INT32 <= int(number.group()) < _INT32:
        return "a whole number of 32 bits"
    return "0 or 1" if key == "execution_mode" and int(number.group()) not in (0, 1) else ""


@rule("CFG602", severity=Severity.WARNING)
def ignored_parameter(model: ModelSubject) -> Iterator[Finding]:
    """Parameters of the onnxruntime backend are ones it knows, written so that all of the value counts.

    Others are ignored without a word. Of "2abc" it reads the 2.

    Wrong::

        parameters { key: "intra_op_num_threads" value { string_value: "4" } }

    Right::

        parameters { key: "intra_op_thread_count" value { string_value: "4" } }
    """
    if model.backend != "onnxruntime":
        return
    for key, value in model.config.parameters.items():
        for message, cause, fix in _parameter_traps(key, value):
            yield Finding(message, cause=cause, fix=fix, field=f"parameters[{key}]")


def _parameter_traps(key: str, value: str) -> Iterator[tuple[str, str, str]]:
    if key not in _ONNXRUNTIME_PARAMETERS:
        yield f"the onnxruntime backend does not know the parameter '{key}'", "it ignores it", "check the spelling"
    elif key in _INTEGER_PARAMETERS and re.match(r"\s*[+-]?[0-9]+(?![0-9])\s*\S", value):
        yield f"the parameter {key} is '{value}'", "only the digits in front count", "write the number alone"
    elif key == _ARENA_SHRINKAGE and not re.fullmatch(r"(cpu|gpu):[0-9]+(;(cpu|gpu):[0-9]+)*", value):
        yield f"the parameter {key} is '{value}'", "the model loads, and then every request fails", "write cpu:0"


def _tensors(model: ModelSubject) -> Iterator[tuple[str, ModelTensor]]:
    for index, tensor in enumerate(model.config.inputs):
        yield f"input[{index}]", tensor
    for index, tensor in enumerate(model.config.outputs):
        yield f"output[{index}]", tensor


def _batching(model: ModelSubject) -> DynamicBatching:
    return model.config.dynamic_batching or DynamicBatching()
