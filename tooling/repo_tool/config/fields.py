# SPDX-License-Identifier: Apache-2.0
"""How a field of our frozen values is called in ``model_config.proto``, where the two differ."""

__all__ = ["ProtoField", "proto", "proto_fields"]

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_KEY = "proto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtoField:
    """One attribute and the field of the message that it stands for."""

    attribute: str
    name: str
    inner: str = ""  # the only field of the message, or of the map's values, that is kept in its place
    key: str = ""  # the attribute of the values that holds the key of the map, which becomes a tuple


_KNOWN: dict[type[Any], tuple[ProtoField, ...]] = {}  # asking a dataclass costs more than parsing a configuration


def proto(name: str, *, inner: str = "", key: str = "") -> Mapping[str, Any]:
    """``metadata`` of a dataclass field that is called ``name`` in the message."""
    return {_KEY: {"name": name, "inner": inner, "key": key}}


def proto_fields(values: type[Any]) -> tuple[ProtoField, ...]:
    """The fields of a dataclass that stand for fields of its message, in order."""
    if values not in _KNOWN:
        _KNOWN[values] = tuple(
            ProtoField(attribute=found.name, **found.metadata.get(_KEY, {"name": found.name}))
            for found in fields(values)
        )
    return _KNOWN[values]
