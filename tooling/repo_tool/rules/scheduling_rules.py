# SPDX-License-Identifier: Apache-2.0
"""CFG2: the dynamic batcher and its queues."""

import os
from collections.abc import Iterator
from dataclasses import replace

from repo_tool.config.scheduling import DynamicBatching, QueuePolicy, TimeoutAction
from repo_tool.rules.diagnostics import Finding, Severity
from repo_tool.rules.fixes import RemoveField
from repo_tool.rules.registry import rule
from repo_tool.rules.subjects import ModelSubject

_SECOND_US = 1_000_000


@rule("CFG201", severity=Severity.WARNING, fixable=True)
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
    batching = model.config.dynamic_batching
    if batching is not None and model.config.max_batch_size == 0:
        # Its queue may have limits or priorities, which hold without batches too.
        is_idle = replace(batching, preferred_batch_sizes=(), max_queue_delay_us=0) == DynamicBatching()
        yield Finding(
            "dynamic_batching with max_batch_size 0 batches nothing",
            cause="requests wait in its queue and still run one by one",
            fix="set max_batch_size, or remove dynamic_batching",
            field="dynamic_batching",
            edits=(RemoveField("dynamic_batching"),) if is_idle else (),
        )


@rule("CFG202", fixable=True)
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
    for index, size in enumerate(_batching(model).preferred_batch_sizes):
        if not 0 < size <= largest:
            yield Finding(
                f"the preferred batch size {size} is not between 1 and max_batch_size {largest}",
                cause="Triton: dynamic batching preferred size must be positive and <= max batch size",
                fix="remove it, or raise max_batch_size",
                field="dynamic_batching.preferred_batch_size",
                edits=(RemoveField(f"dynamic_batching.preferred_batch_size[{index}]"),),
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


@rule("CFG205", severity=Severity.WARNING, fixable=True)
def policy_without_priorities(model: ModelSubject) -> Iterator[Finding]:
    """priority_queue_policy and default_priority_level go with priority_levels; without them Triton ignores them.

    Wrong::

        dynamic_batching { priority_queue_policy { key: 1 value { max_queue_size: 8 } } }

    Right::

        dynamic_batching { default_queue_policy { max_queue_size: 8 } }
    """
    batching = _batching(model)
    written = {
        "priority_queue_policy": bool(batching.priority_queue_policy),
        "default_priority_level": batching.default_priority_level > 0,
    }
    for field in (field for field, is_set in written.items() if is_set and not batching.priority_levels):
        yield Finding(
            f"{field} without priority_levels has no effect",
            cause="Triton neither checks nor uses it",
            fix="set priority_levels, or use default_queue_policy",
            field=f"dynamic_batching.{field}",
            edits=(RemoveField(f"dynamic_batching.{field}"),),
        )


@rule("CFG206", severity=Severity.NOTE)
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


@rule("CFG208")
def ordering_against_delays(model: ModelSubject) -> Iterator[Finding]:
    """preserve_ordering goes with no queue policy that lets late requests wait on: they would lose their place.

    Wrong::

        preserve_ordering: true
        default_queue_policy { timeout_action: DELAY  default_timeout_microseconds: 1000 }

    Right::

        preserve_ordering: true
        default_queue_policy { timeout_action: REJECT  default_timeout_microseconds: 1000 }
    """
    if not _batching(model).preserve_ordering:
        return
    for field, policy in _policies(model):
        if policy.timeout_action is TimeoutAction.DELAY and policy.default_timeout_us:
            yield Finding(
                f"preserve_ordering with timeout_action DELAY after {policy.default_timeout_us} microseconds",
                cause="Triton: Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true",
                fix="write timeout_action: REJECT, or remove preserve_ordering",
                field=f"{field}.timeout_action",
            )


@rule("CFG209", severity=Severity.WARNING)
def delay_without_timeout(model: ModelSubject) -> Iterator[Finding]:
    """A queue policy with timeout_action DELAY has a time after which it acts.

    Wrong::

        default_queue_policy { timeout_action: DELAY }

    Right::

        default_queue_policy { timeout_action: DELAY  default_timeout_microseconds: 1000 }
    """
    for field, policy in _policies(model):
        acts = policy.default_timeout_us or policy.allow_timeout_override
        if policy.timeout_action is TimeoutAction.DELAY and not acts:
            yield Finding(
                "timeout_action DELAY without a timeout never acts",
                cause="default_timeout_microseconds 0 is no timeout, and requests may not bring their own",
                fix="add default_timeout_microseconds: 1000, or allow_timeout_override: true",
                field=f"{field}.timeout_action",
            )


@rule("CFG210", severity=Severity.WARNING)
def endless_queue_delay(model: ModelSubject) -> Iterator[Finding]:
    """max_queue_delay_microseconds is a wait that a client bears: well below a second.

    Wrong::

        dynamic_batching { preferred_batch_size: [ 4 ]  max_queue_delay_microseconds: 5000000 }

    Right::

        dynamic_batching { preferred_batch_size: [ 4 ]  max_queue_delay_microseconds: 500 }
    """
    for field, delay_us in _delays(model):
        if delay_us > _SECOND_US:
            yield Finding(
                f"requests may wait {delay_us / _SECOND_US:,.0f} s for others",
                cause="a request that no other joins waits all of that time; the field counts microseconds",
                fix="write e.g. 500, or remove it",
                field=f"{field}.max_queue_delay_microseconds",
            )


_STRATEGY = "TRITON_BATCH_STRATEGY_PATH"


@rule("CFG211")
def impossible_batch_strategy(model: ModelSubject) -> Iterator[Finding]:
    """TRITON_BATCH_STRATEGY_PATH names a library, and does not meet sequence_batching.

    Wrong::

        sequence_batching { }
        parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/opt/strategies/volume.so" } }

    Right::

        dynamic_batching { }
        parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/opt/strategies/volume.so" } }
    """
    path = model.config.parameters.get(_STRATEGY)
    if path is None or model.config.is_ensemble:
        return
    if model.config.sequence_batching is not None:
        yield Finding(
            f"{_STRATEGY} with sequence_batching",
            cause=f"Triton: {_STRATEGY} cannot be specified with sequence batcher",
            fix=f"remove the parameter {_STRATEGY}",
            field=f"parameters[{_STRATEGY}]",
        )
    elif not path:
        yield Finding(
            f"{_STRATEGY} is empty",
            cause="Triton: Batching library path not found",
            fix="write the path of the library, or remove the parameter",
            field=f"parameters[{_STRATEGY}]",
        )


@rule("CFG212", severity=Severity.WARNING, embedded_refuses=True)
def missing_batch_strategy(model: ModelSubject) -> Iterator[Finding]:
    """TRITON_BATCH_STRATEGY_PATH is a file where the server runs.

    A path that does not start with ``/`` counts from the folder in which the server was started, not from the model.

    Wrong::

        parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "volume.so" } }

    Right::

        parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "/opt/strategies/volume.so" } }
    """
    path = model.config.parameters.get(_STRATEGY, "")
    is_read = not model.config.is_ensemble and model.config.sequence_batching is None
    if path and is_read and not os.path.lexists(path):
        yield Finding(
            f"there is no '{path}' on this machine",
            cause="a server that does not find it says: Batching library path not found",
            fix="make sure that the server has the file there; batchstrategy.so beside config.pbtxt needs no path",
            field=f"parameters[{_STRATEGY}]",
        )


def _policies(model: ModelSubject) -> Iterator[tuple[str, QueuePolicy]]:
    batching = _batching(model)
    if batching.default_queue_policy is not None:
        yield "dynamic_batching.default_queue_policy", batching.default_queue_policy
    for level, policy in sorted(batching.priority_queue_policy.items()):
        yield f"dynamic_batching.priority_queue_policy[{level}]", policy


def _delays(model: ModelSubject) -> Iterator[tuple[str, int]]:
    yield "dynamic_batching", _batching(model).max_queue_delay_us
    sequences = model.config.sequence_batching
    if sequences is not None and sequences.direct is not None:
        yield "sequence_batching.direct", sequences.direct.max_queue_delay_us
    if sequences is not None and sequences.oldest is not None:
        yield "sequence_batching.oldest", sequences.oldest.max_queue_delay_us


def _batching(model: ModelSubject) -> DynamicBatching:
    return model.config.dynamic_batching or DynamicBatching()
