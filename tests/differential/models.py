# SPDX-License-Identifier: Apache-2.0
"""Random configurations of single models, over every field of ModelConfig, that Triton takes (nearly always)."""

import math

from tritonclient.grpc import model_config_pb2

from differential.drafts import Draft
from differential.scheduling import add_scheduler
from differential.tensors import add_tensors
from differential.words import BYTES, MODEL_FILES, PARAMETERS

_OTHERS = ("pytorch", "pytorch", "tensorflow", "tensorflow", "openvino", "fil", "dali")
_BACKENDS = ("native",) * 11 + ("tensorrt",) * 4 + _OTHERS
_PLATFORMS = {"pytorch": "pytorch_libtorch", "tensorrt": "tensorrt_plan", "tensorflow": "tensorflow_savedmodel"}
_ENUM = model_config_pb2.ModelInput.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number


def a_model(random, name, *, backend=None):
    """A model directory with its configuration and files."""
    draft = Draft(name, model_config_pb2.ModelConfig())
    config = draft.config
    if random.random() < 0.8:
        config.name = name
    backend = backend or random.choice(_BACKENDS)
    _name_backend(random, config, backend)
    config.max_batch_size = random.choice((0, 0, 1, 4, 4, 8, 64))
    add_tensors(random, config, backend=backend)
    _add_versions(random, draft, backend)
    for chance, add in _PARTS:
        if random.random() < chance:
            add(random, draft)
    add_scheduler(random, draft)
    return draft


def _name_backend(random, config, backend):
    platform = _PLATFORMS.get(backend)
    chosen = random.random()
    if platform and chosen < 0.2:
        config.platform = platform
    else:
        config.backend = backend
        if chosen > 0.8:
            config.platform = platform or random.choice(("", "anything"))


def _add_versions(random, draft, backend):
    versions = sorted(random.sample(range(1, 8), random.choice((1, 1, 1, 1, 2, 3))))
    file = random.choice(MODEL_FILES.get(backend, ("model.bin",)))
    if random.random() < 0.1:
        file = draft.config.default_model_filename = random.choice(("my.model", "sub/my.model"))
    for version in versions:
        draft.files[f"{version}/{file}"] = b"x"
    policy = draft.config.version_policy
    chosen = random.random()
    if chosen < 0.12:
        policy.latest.num_versions = random.choice((1, 2, 9))
    elif chosen < 0.2:
        policy.all.SetInParent()
    elif chosen < 0.3:
        policy.specific.versions.extend(random.sample(versions, random.randint(1, len(versions))))


def _add_instances(random, draft):
    for index in range(random.choice((1, 1, 1, 2, 3))):
        group = draft.config.instance_group.add(count=random.choice((0, 1, 1, 2)), kind=random.choice((0, 0, 2, 2, 3)))
        if random.random() < 0.3:
            group.name = random.choice((f"group_{index}", "group"))
        if random.random() < 0.2:
            _limit(random, group.rate_limiter)
        if random.random() < 0.1:
            group.passive = True
        if random.random() < 0.1:
            group.host_policy = random.choice(("cpu", "policy_0", "gpu_0"))
        if random.random() < 0.05:
            group.secondary_devices.add(device_id=random.choice((0, 1)))
        if draft.config.backend == "tensorrt" and random.random() < 0.3:
            group.profile.extend(random.sample(("0", "1", "7"), random.randint(1, 2)))


def _limit(random, limiter):
    limiter.SetInParent()
    limiter.priority = random.choice((0, 1, 5))
    for name in random.sample(("R1", "R2", "memory"), random.randint(0, 3)):
        limiter.resources.add(name=name, count=random.choice((0, 1, 10)), **{"global": random.random() < 0.3})


def _add_warmup(random, draft):
    for index in range(random.choice((1, 1, 2))):
        warmup = draft.config.model_warmup.add(name=f"warmup_{index}", count=random.choice((0, 0, 1, 3)))
        warmup.batch_size = random.choice((0, 1, 1, max(1, draft.config.max_batch_size)))
        for tensor in draft.config.input:
            if not tensor.optional or random.random() < 0.5:
                _describe_warmup_input(random, warmup.inputs[tensor.name], tensor, draft)


def _describe_warmup_input(random, given, tensor, draft):
    given.data_type = tensor.data_type
    given.dims.extend(random.choice((1, 2, 5)) if dim == -1 else dim for dim in tensor.dims)
    chosen = random.random()
    if chosen < 0.4:
        given.zero_data = True
    elif chosen < 0.8:
        given.random_data = True
    else:
        file = given.input_data_file = f"{tensor.name.replace(' ', '_')}.bin"
        size = BYTES[_ENUM[tensor.data_type].name] * math.prod(given.dims)
        draft.files[f"warmup/{file}"] = bytes(size)


def _add_label(random, draft):
    draft.config.output[0].label_filename = "labels.txt"
    draft.files["labels.txt"] = b"cat\ndog\n"


def _add_optimization(random, draft):
    optimization = draft.config.optimization
    optimization.SetInParent()
    optimization.graph.level = random.choice((0, -1, 1, 2))
    optimization.priority = random.choice((0, 0, 1, 2))
    if random.random() < 0.3:
        optimization.cuda.graphs = random.random() < 0.5
        if random.random() < 0.4:
            spec = optimization.cuda.graph_spec.add(batch_size=random.choice((0, 1, 4)))
            spec.input[draft.config.input[0].name].dim.extend((1, 4))
    if random.random() < 0.3:
        accelerator = optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
        accelerator.parameters["precision_mode"] = "FP16"
    optimization.input_pinned_memory.enable = random.random() < 0.5
    optimization.gather_kernel_buffer_threshold = random.choice((0, 0, 10))
    optimization.eager_batching = random.random() < 0.2


def _add_parameters(random, draft):
    for key in random.sample(PARAMETERS[2:4] + PARAMETERS[5:], random.randint(1, 3)):
        draft.config.parameters[key].string_value = random.choice(("1", "true", "anything"))


def _add_batch_io(random, draft):
    config = draft.config
    added = config.batch_input.add(kind=random.randrange(6), data_type=random.choice((8, 11)))
    added.target_name.append("batch_x")
    added.source_input.append(random.choice(config.input).name)
    if random.random() < 0.4:
        output = config.batch_output.add(target_name=[random.choice(config.output).name])
        output.source_input.append(random.choice(config.input).name)


def _add_rest(random, draft):
    config = draft.config
    if random.random() < 0.3:
        config.metric_tags["team"] = "vision"
    if random.random() < 0.2:
        config.cc_model_filenames["7.5"] = "model.bin"
    if random.random() < 0.2:
        config.model_operations.op_library_filename.append("ops.so")
    if random.random() < 0.2:
        config.model_transaction_policy.decoupled = random.random() < 0.5
    if random.random() < 0.3:
        config.response_cache.enable = False


def _add_cache(random, draft):
    if not draft.config.model_transaction_policy.decoupled:
        draft.config.response_cache.enable = True


_PARTS = (
    (0.5, _add_instances), (0.25, _add_warmup), (0.15, _add_label), (0.2, _add_optimization), (0.3, _add_parameters),
    (0.1, _add_batch_io), (0.3, _add_rest), (0.04, _add_cache),
)  # fmt: skip
