# SPDX-License-Identifier: Apache-2.0
"""Ensembles with random graphs over the pool, and what is done to their edges."""

from tritonclient.grpc import model_config_pb2

from differential.drafts import Draft
from differential.pool import the_pool


def an_ensemble(random, name):
    """A graph of one to six steps whose edges fit, as far as luck allows."""
    draft = Draft(name, model_config_pb2.ModelConfig(platform="ensemble"), {"1": None})
    config, pool = draft.config, the_pool()
    if random.random() < 0.7:
        config.name = name
    batching = random.random() < 0.6
    chosen = [pool[each] for each in sorted(pool) if not batching or pool[each].config.max_batch_size > 0]
    steps = [random.choice(chosen) for _ in range(random.choice((1, 1, 2, 2, 3, 4, 5, 6)))]
    sizes = [step.config.max_batch_size for step in steps if step.config.max_batch_size]
    config.max_batch_size = random.choice((min(sizes), min(sizes), 1)) if batching else random.choice((0, 0, 0, 1))
    available = {}  # ensemble tensor -> (type, dims)
    for number, step in enumerate(steps):
        _add_step(random, config, step, number, available)
    _add_outputs(random, config, available)
    if random.random() < 0.3:
        _shuffle_steps(random, config)
    return draft


def _add_step(random, config, model, number, available):
    step = config.ensemble_scheduling.step.add(model_name=model.name, model_version=_version(random, model))
    for tensor in model.config.input:
        if tensor.optional and random.random() < 0.5:
            continue
        fitting = [each for each, of in available.items() if _fits(of, _kind(tensor)) or random.random() < 0.02]
        if fitting and random.random() < 0.8:
            step.input_map[tensor.name] = random.choice(fitting)
        else:
            added = config.input.add(name=f"input_{len(config.input)}", data_type=tensor.data_type, dims=tensor.dims)
            available[added.name] = _kind(tensor)
            step.input_map[tensor.name] = added.name
    for tensor in model.config.output:
        if random.random() < 0.8 or not step.output_map:
            name = step.output_map[tensor.name] = f"t{number}_{tensor.name}"
            available[name] = _kind(tensor)


def _version(random, model):
    versions = sorted(int(path.split("/")[0]) for path in model.files)
    return random.choice((-1, -1, -1, -1, -1, -1, versions[-1], versions[-1], versions[0]))


def _kind(tensor):
    return tensor.data_type, list(tensor.dims)


def _fits(one, other):
    return (
        one[0] == other[0]
        and len(one[1]) == len(other[1])
        and all(-1 in pair or pair[0] == pair[1] for pair in zip(one[1], other[1], strict=True))
    )


def _add_outputs(random, config, available):
    """What nobody reads becomes an output, and now and then what somebody reads too."""
    read = {name for step in config.ensemble_scheduling.step for name in step.input_map.values()}
    inputs = {tensor.name for tensor in config.input}
    for name, (datatype, dims) in available.items():
        if name not in inputs and (name not in read or random.random() < 0.1):
            config.output.add(name=name, data_type=datatype, dims=dims)


def _shuffle_steps(random, config):
    steps = [
        model_config_pb2.ModelEnsembling.Step.FromString(step.SerializeToString())
        for step in config.ensemble_scheduling.step
    ]
    random.shuffle(steps)
    del config.ensemble_scheduling.step[:]
    config.ensemble_scheduling.step.extend(steps)


def mutate_edges(random, draft):
    """One change of the graph, or of how the ensemble declares its tensors."""
    if not draft.config.ensemble_scheduling.step:
        return
    change = random.choice(_CHANGES)
    change(random, draft.config)
    draft.did(change.__name__.strip("_").replace("_", " "))


def _a_step(random, config):
    return random.choice(config.ensemble_scheduling.step)


def _every_tensor(config):
    names = {
        name
        for step in config.ensemble_scheduling.step
        for name in [*step.input_map.values(), *step.output_map.values()]
    }
    return sorted(names | {tensor.name for tensor in [*config.input, *config.output]}) or ["t"]


def _an_edge_moved(random, config):
    step = _a_step(random, config)
    held = random.choice((step.input_map, step.output_map))
    if held:
        held[random.choice(sorted(held))] = random.choice((*_every_tensor(config), "nowhere"))


def _an_edge_removed(random, config):
    step = _a_step(random, config)
    held = random.choice((step.input_map, step.output_map))
    if held:
        del held[random.choice(sorted(held))]


def _an_edge_added(random, config):
    step = _a_step(random, config)
    held = random.choice((step.input_map, step.output_map))
    held[random.choice(("in_0", "in_1", "in_2", "out_0", "out_1", "out_2", "nothing"))] = random.choice(
        (*_every_tensor(config), "new")
    )


def _an_edge_turned(random, config):
    step = _a_step(random, config)
    held = random.choice((step.input_map, step.output_map))
    if held:
        key = random.choice(sorted(held))
        value = held.pop(key)
        held[value] = key


def _another_model(random, config):
    _a_step(random, config).model_name = random.choice((*sorted(the_pool()), "", "nobody", config.name))


def _another_version(random, config):
    _a_step(random, config).model_version = random.choice((0, 0, 1, 2, 3, -1, -2, 99, 2**62))


def _another_batch_size(random, config):
    config.max_batch_size = random.choice((0, 1, 2, 4, 5, 8, 9, -1))


def _a_step_removed(random, config):
    del config.ensemble_scheduling.step[random.randrange(len(config.ensemble_scheduling.step))]


def _a_step_doubled(random, config):
    config.ensemble_scheduling.step.add().CopyFrom(_a_step(random, config))


def _other_dims(random, config):
    tensors = [*config.input, *config.output]
    if not tensors:
        return
    tensor = random.choice(tensors)
    change = random.randrange(5)
    if change == 0 or not tensor.dims:
        tensor.dims.append(random.choice((1, 4, -1)))
    elif change == 1:
        tensor.dims.insert(0, random.choice((-1, 1, 4)))
    elif change == 2:
        tensor.dims.pop()
    elif change == 3:
        tensor.dims[0] = random.choice((-1, 1, 2, 4, 16))
    else:
        tensor.reshape.shape.extend(random.choice(([4], [2, 2], [1], [-1], [16], [])))
        tensor.reshape.SetInParent()


def _another_type(random, config):
    tensors = [*config.input, *config.output]
    if tensors:
        random.choice(tensors).data_type = random.choice((11, 9, 13, 0))


def _a_tensor_renamed(random, config):
    tensors = [*config.input, *config.output]
    if tensors:
        random.choice(tensors).name = random.choice((*_every_tensor(config), "renamed", ""))


def _a_tensor_removed(random, config):
    held = random.choice((config.input, config.output))
    if held:
        del held[random.randrange(len(held))]


def _a_tensor_doubled(random, config):
    held = random.choice((config.input, config.output))
    if held:
        held.add().CopyFrom(random.choice(held))


def _an_input_made_optional(random, config):
    if config.input:
        random.choice(config.input).optional = True


def _something_of_a_backend(random, config):
    chosen = random.randrange(9)
    if chosen == 0:
        config.instance_group.add(kind=2, count=1)
    elif chosen == 1:
        config.optimization.priority = 1
    elif chosen == 2:
        config.optimization.SetInParent()
    elif chosen == 3:
        config.model_warmup.add(name="w", batch_size=1)
    elif chosen == 4:
        config.backend = "native"
    elif chosen == 5:
        config.platform = random.choice(("", "native", "tensorrt_plan"))
    elif chosen == 6:
        config.response_cache.enable = True
    elif chosen == 7:
        config.model_transaction_policy.decoupled = random.random() < 0.7
    else:
        config.dynamic_batching.SetInParent()


def _a_namespace(random, config):
    _a_step(random, config).model_namespace = random.choice(("", "other", "/nowhere"))


def _two_tensors_made_one(random, config):
    one, other = random.choice(_every_tensor(config)), random.choice(_every_tensor(config))
    for step in config.ensemble_scheduling.step:
        for held in (step.input_map, step.output_map):
            for key in sorted(held):
                if held[key] == one:
                    held[key] = other


_CHANGES = (
    _an_edge_moved, _an_edge_moved, _an_edge_moved, _an_edge_removed, _an_edge_removed, _an_edge_added, _an_edge_added,
    _an_edge_turned, _another_model, _another_model, _another_version, _another_version, _another_batch_size,
    _a_step_removed, _a_step_doubled, _other_dims, _other_dims, _other_dims, _another_type, _a_tensor_renamed,
    _a_tensor_removed, _a_tensor_doubled, _an_input_made_optional, _something_of_a_backend, _a_namespace,
    _two_tensors_made_one,
)  # fmt: skip
