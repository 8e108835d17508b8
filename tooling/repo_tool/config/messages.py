# SPDX-License-Identifier: Apache-2.0
"""Between our frozen values and Triton's protobuf messages, field by field, by what the message itself says."""

__all__ = ["ENUMS", "VALUES", "from_message", "to_message"]

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

from repo_tool.config import execution, model, scheduling
from repo_tool.config.fields import ProtoField, proto_fields
from repo_tool.datatypes import DataType

# The values that stand for each message; those that are missing here are flattened into the message around them.
VALUES: Mapping[str, type[Any]] = {
    "inference.ModelConfig": model.ModelConfig,
    "inference.ModelInput": model.ModelTensor,
    "inference.ModelOutput": model.ModelTensor,
    "inference.BatchInput": model.BatchInput,
    "inference.BatchOutput": model.BatchOutput,
    "inference.ModelVersionPolicy": model.VersionPolicy,
    "inference.ModelEnsembling": model.EnsembleScheduling,
    "inference.ModelEnsembling.Step": model.EnsembleStep,
    "inference.ModelWarmup": model.Warmup,
    "inference.ModelWarmup.Input": model.WarmupInput,
    "inference.ModelRepositoryAgents.Agent": model.RepositoryAgent,
    "inference.ModelMetrics.MetricControl": model.MetricControl,
    "inference.ModelInstanceGroup": execution.InstanceGroup,
    "inference.ModelInstanceGroup.SecondaryDevice": execution.SecondaryDevice,
    "inference.ModelRateLimiter": execution.RateLimiter,
    "inference.ModelRateLimiter.Resource": execution.RateLimiterResource,
    "inference.ModelOptimizationPolicy": execution.Optimization,
    "inference.ModelOptimizationPolicy.Cuda": execution.Cuda,
    "inference.ModelOptimizationPolicy.Cuda.GraphSpec": execution.GraphSpec,
    "inference.ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound": execution.GraphLowerBound,
    "inference.ModelOptimizationPolicy.ExecutionAccelerators": execution.ExecutionAccelerators,
    "inference.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator": execution.Accelerator,
    "inference.ModelDynamicBatching": scheduling.DynamicBatching,
    "inference.ModelQueuePolicy": scheduling.QueuePolicy,
    "inference.ModelSequenceBatching": scheduling.SequenceBatching,
    "inference.ModelSequenceBatching.StrategyDirect": scheduling.DirectStrategy,
    "inference.ModelSequenceBatching.StrategyOldest": scheduling.OldestStrategy,
    "inference.ModelSequenceBatching.ControlInput": scheduling.ControlInput,
    "inference.ModelSequenceBatching.Control": scheduling.Control,
    "inference.ModelSequenceBatching.State": scheduling.SequenceState,
    "inference.ModelSequenceBatching.InitialState": scheduling.InitialState,
}

# Enumerations with values of their own; those of the others stay the names of the proto.
ENUMS: Mapping[str, type[Enum]] = {
    "inference.ModelInstanceGroup.Kind": execution.InstanceKind,
    "inference.ModelOptimizationPolicy.ModelPriority": execution.ModelPriority,
    "inference.ModelQueuePolicy.TimeoutAction": scheduling.TimeoutAction,
    "inference.ModelSequenceBatching.Control.Kind": scheduling.ControlKind,
}
_DATATYPE = "inference.DataType"


def from_message(message: Any) -> Any:
    """The frozen values of a message.

    Raises:
        ValueError: an enumeration holds a number that it does not name.
    """
    values = VALUES[message.DESCRIPTOR.full_name]
    known = message.DESCRIPTOR.fields_by_name
    return values(
        **{
            entry.attribute: _value(message, known[entry.name], entry)
            for entry in proto_fields(values)
            if entry.name in known
        }
    )


def _value(message: Any, descriptor: Any, entry: ProtoField) -> Any:
    held = getattr(message, entry.name)
    if _is_map(descriptor):
        of_key = descriptor.message_type.fields_by_name["value"]
        return _collected({key: _one(held[key], of_key, entry) for key in sorted(held)}, entry)
    if descriptor.is_repeated:
        return tuple(_one(item, descriptor, entry) for item in held)
    if descriptor.has_presence and not message.HasField(entry.name):
        return False if _is_empty(descriptor.message_type) else None
    return _one(held, descriptor, entry)


def _collected(items: Mapping[Any, Any], entry: ProtoField) -> Any:
    if not entry.key:
        return items
    return tuple(replace(value, **{entry.key: key}) for key, value in items.items())


def _one(held: Any, descriptor: Any, entry: ProtoField) -> Any:
    """One value of a field: of a message, an enumeration or a plain type."""
    if descriptor.enum_type is not None:
        return _enumerated(descriptor.enum_type, held)
    if descriptor.message_type is None:
        return held
    if _is_empty(descriptor.message_type):
        return True
    if entry.inner:
        return _value(
            held, descriptor.message_type.fields_by_name[entry.inner], ProtoField(attribute="", name=entry.inner)
        )
    return from_message(held)


def _enumerated(enum: Any, number: int) -> Any:
    if number not in enum.values_by_number:
        raise ValueError(f"{number} is no value of {enum.full_name}")
    name = enum.values_by_number[number].name
    if enum.full_name == _DATATYPE:
        return None if name == "TYPE_INVALID" else DataType.from_config(name)
    return ENUMS[enum.full_name](name) if enum.full_name in ENUMS else name


def to_message(values: Any, message: Any) -> Any:
    """Fill ``message``, an empty one, with frozen values."""
    known = message.DESCRIPTOR.fields_by_name
    for entry in proto_fields(type(values)):
        if entry.name in known:
            _fill(message, known[entry.name], entry, getattr(values, entry.attribute))
    return message


def _fill(message: Any, descriptor: Any, entry: ProtoField, value: Any) -> None:
    if _is_map(descriptor):
        _fill_map(getattr(message, entry.name), descriptor.message_type.fields_by_name["value"], entry, value)
    elif descriptor.is_repeated:
        _fill_repeated(getattr(message, entry.name), descriptor, entry, value)
    elif value is None or (value is False and _is_empty(descriptor.message_type)):
        return
    elif descriptor.message_type is not None:
        part = getattr(message, entry.name)
        part.SetInParent()
        _fill_part(part, descriptor, entry, value)
    else:
        setattr(message, entry.name, _plain(value, descriptor))


def _fill_map(target: Any, of_key: Any, entry: ProtoField, value: Any) -> None:
    items = {getattr(item, entry.key): item for item in value} if entry.key else value
    for key, item in items.items():
        if of_key.message_type is None:
            target[key] = item
        else:
            target[key].SetInParent()
            _fill_part(target[key], of_key, entry, item)


def _fill_repeated(target: Any, descriptor: Any, entry: ProtoField, value: Any) -> None:
    for item in value:
        if descriptor.message_type is None:
            target.append(_plain(item, descriptor))
        else:
            _fill_part(target.add(), descriptor, entry, item)


def _fill_part(part: Any, descriptor: Any, entry: ProtoField, value: Any) -> None:
    if entry.inner:
        inner = descriptor.message_type.fields_by_name[entry.inner]
        _fill(part, inner, ProtoField(attribute="", name=entry.inner), value)
    elif not _is_empty(descriptor.message_type):
        to_message(value, part)


def _plain(value: Any, descriptor: Any) -> Any:
    """What protobuf takes for a value of ours: enumerations go by their numbers."""
    if descriptor.enum_type is None:
        return value
    name = value.config_name if isinstance(value, DataType) else value.value if isinstance(value, Enum) else value
    return descriptor.enum_type.values_by_name[name].number


def _is_map(descriptor: Any) -> bool:
    return descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry


def _is_empty(message_type: Any) -> bool:
    """Whether it is a message that says by being there all that it can say."""
    return message_type is not None and not message_type.fields
