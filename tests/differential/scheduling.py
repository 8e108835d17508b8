# SPDX-License-Identifier: Apache-2.0
"""Random schedulers that Triton takes: dynamic batcher, sequence batcher with controls and states, queue policies."""

from differential.tensors import some_dims
from differential.words import BYTES, DATATYPES


def add_scheduler(random, draft):
    chosen = random.random()
    if chosen < 0.35:
        _add_dynamic(random, draft.config)
    elif chosen < 0.7 and not draft.config.model_warmup:
        _add_sequence(random, draft)


def _add_dynamic(random, config):
    batching = config.dynamic_batching
    batching.SetInParent()
    if config.max_batch_size and random.random() < 0.5:
        batching.preferred_batch_size.extend(_sizes(random, config))
    if random.random() < 0.4:
        batching.max_queue_delay_microseconds = random.choice((0, 1, 100, 5000))
    if random.random() < 0.3:
        levels = random.choice((1, 2, 5, 10))
        batching.priority_levels = levels
        batching.default_priority_level = random.randint(1, levels)
        for level in random.sample(range(1, levels + 1), random.randint(0, min(levels, 3))):
            _describe_queue(random, batching.priority_queue_policy[level])
    if random.random() < 0.3:
        _describe_queue(random, batching.default_queue_policy)
    if random.random() < 0.2 and batching.priority_levels <= 1 and not _has_delay(batching):
        batching.preserve_ordering = True


def _has_delay(batching):
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    return any(policy.timeout_action == 1 and policy.default_timeout_microseconds for policy in policies)


def _describe_queue(random, policy):
    policy.SetInParent()
    policy.timeout_action = random.choice((0, 0, 1))
    policy.default_timeout_microseconds = random.choice((0, 0, 100, 10**6))
    policy.allow_timeout_override = random.random() < 0.3
    policy.max_queue_size = random.choice((0, 1, 16, 1000))


def _sizes(random, config):
    return [random.randint(1, config.max_batch_size) for _ in range(random.choice((1, 1, 2, 3)))]


def _add_sequence(random, draft):
    batching = draft.config.sequence_batching
    batching.SetInParent()
    if random.random() < 0.4:
        batching.max_sequence_idle_microseconds = random.choice((1, 1000, 5_000_000))
    _add_strategy(random, batching, draft.config)
    kinds = random.sample(range(4), random.choice((0, 0, 1, 1, 2, 3, 4)))
    for kind in kinds:
        _add_control(random, batching.control_input.add(name=f"control_{kind}"), kind)
    for number in range(random.choice((0, 0, 0, 1, 1, 2))):
        _add_state(random, batching.state.add(), number, draft)
    if random.random() < 0.05:
        batching.iterative_sequence = True


def _add_strategy(random, batching, config):
    chosen = random.random()
    if chosen < 0.35:
        batching.direct.SetInParent()
        batching.direct.max_queue_delay_microseconds = random.choice((0, 0, 100))
        batching.direct.minimum_slot_utilization = random.choice((0.0, 0.0, 0.5, 1.0))
    elif chosen < 0.7:
        batching.oldest.max_candidate_sequences = random.choice((0, 1, 4, 100))
        batching.oldest.preserve_ordering = random.random() < 0.3
        if config.max_batch_size and random.random() < 0.5:
            batching.oldest.preferred_batch_size.extend(_sizes(random, config))


def _add_control(random, control_input, kind):
    control = control_input.control.add(kind=kind)
    if kind == 3:
        control.data_type = random.choice((5, 9, 4, 8, 13))
        return
    chosen = random.choice(("int32_false_true", "fp32_false_true", "bool_false_true"))
    getattr(control, chosen).extend((0, 1))


def _add_state(random, state, number, draft):
    config = draft.config
    datatype = random.choice(DATATYPES)
    enum = config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name
    state.input_name, state.output_name = f"state_in_{number}", f"state_out_{number}"
    if config.input and random.random() < 0.1:
        state.input_name = config.input[0].name
    if config.output and random.random() < 0.2:
        state.output_name = config.output[0].name
    state.data_type = enum[datatype].number
    state.dims.extend(some_dims(random, most=2))
    if random.random() < 0.15:
        state.use_same_buffer_for_input_output = True
    if random.random() < 0.6:
        initial = state.initial_state.add(name=f"initial_{number}", data_type=state.data_type)
        initial.dims.extend(abs(dim) if dim != -1 else 2 for dim in state.dims)
        if random.random() < 0.7:
            initial.zero_data = True
        else:
            initial.data_file = f"state_{number}"
            draft.files[f"initial_state/state_{number}"] = bytes(BYTES[datatype] * _product(initial.dims))


def _product(dims):
    size = 1
    for dim in dims:
        size *= max(1, dim)
    return min(size, 100_000)
