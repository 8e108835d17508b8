# SPDX-License-Identifier: Apache-2.0
"""What differs between two configurations: for the clients (``contract``), and for the server alone. Pure."""

__all__ = ["compare"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from repo_tool.config.changes import Change, Effect
from repo_tool.config.contract import Labels, client_changes, tensor_pairs
from repo_tool.config.fields import ProtoField, proto_fields
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType

# What ``contract`` judges, so that it is not told twice.
_CLIENTS_FIELDS = frozenset({"name", "max_batch_size", "decoupled", "version_policy"})
_CLIENTS_TENSOR_FIELDS = frozenset({"name", "datatype", "dims", "optional", "is_shape_tensor"})


def compare(
    old: ModelConfig, new: ModelConfig, *, old_labels: Labels | None = None, new_labels: Labels | None = None
) -> tuple[Change, ...]:
    """Every difference: what breaks clients first, then what they may notice, then what only the server does."""
    seen = client_changes(old, new, old_labels=old_labels, new_labels=new_labels)
    by_effect = list(Effect).index
    return tuple(sorted((*seen, *_server_changes(old, new, seen)), key=lambda change: by_effect(change.effect)))


def _server_changes(old: ModelConfig, new: ModelConfig, seen: Sequence[Change]) -> Iterator[Change]:
    told = {change.path for change in seen}
    for entry in proto_fields(ModelConfig):
        before, after = getattr(old, entry.attribute), getattr(new, entry.attribute)
        if entry.attribute in ("inputs", "outputs"):
            found = _of_tensors(entry.name, before, after)
        elif entry.attribute in _CLIENTS_FIELDS:
            continue
        else:
            found = _differences(_place("", entry), before, after)
        yield from (change for change in found if change.path not in told)


def _of_tensors(kind: str, old: Sequence[ModelTensor], new: Sequence[ModelTensor]) -> Iterator[Change]:
    """What of tensors that are on both sides clients do not see: how the model itself takes them."""
    places = {id(tensor): index for index, tensor in enumerate(new)}
    for tensor, now in tensor_pairs(old, new):
        yield from _of_values(f"{kind}[{places[id(now)]}]", tensor, now, skip=_CLIENTS_TENSOR_FIELDS)


def _differences(path: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if is_dataclass(old) and is_dataclass(new):
        yield from _of_values(path, old, new)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}, key=str):
            yield from _differences(f"{path}[{key}]", old.get(key), new.get(key))
    elif _are_messages(old) and _are_messages(new):
        for index in range(max(len(old), len(new))):
            yield from _differences(f"{path}[{index}]", _at(old, index), _at(new, index))
    else:
        yield Change(effect=Effect.SERVER, path=path, words="", before=_shown(old), after=_shown(new))


def _of_values(path: str, old: Any, new: Any, *, skip: frozenset[str] = frozenset()) -> Iterator[Change]:
    for entry in proto_fields(type(new)):
        if entry.attribute not in skip:
            yield from _differences(_place(path, entry), _held(old, entry), _held(new, entry))


def _held(values: Any, entry: ProtoField) -> Any:
    """The field's value; what is a map in the message is one here too."""
    held = getattr(values, entry.attribute)
    if not entry.key:
        return held
    return {getattr(item, entry.key): replace(item, **{entry.key: ""}) for item in held}


def _place(path: str, entry: ProtoField) -> str:
    """The field's path, in the names of the proto; a map's only inner field goes without saying."""
    names = [path, entry.name, "" if entry.name == "parameters" or entry.key else entry.inner]
    return ".".join(filter(None, names))


def _are_messages(value: Any) -> bool:
    return isinstance(value, tuple) and all(is_dataclass(item) for item in value)


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _shown(value: Any) -> str:
    """A value as short text; empty where there is none."""
    if is_dataclass(value) or isinstance(value, Mapping):
        return _shown_fields(value if isinstance(value, Mapping) else _said(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return "" if value is None else _shown_plain(value)


def _shown_plain(value: Any) -> str:
    if isinstance(value, DataType):
        return value.config_name
    return str(value).lower() if isinstance(value, bool) else str(value.value if isinstance(value, Enum) else value)


def _shown_fields(values: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name}: {_shown(value)}" for name, value in values.items())
    return f"{{ {said} }}" if said else "{ }"


def _said(values: Any) -> dict[str, Any]:
    """The fields that are not as they are by default."""
    usual = {found.name: found.default for found in fields(values)}
    held = {entry: _held(values, entry) for entry in proto_fields(type(values))}
    return {
        _place("", entry): value for entry, value in held.items() if value != usual[entry.attribute] and value != {}
    }
