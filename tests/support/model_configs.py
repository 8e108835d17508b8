# SPDX-License-Identifier: Apache-2.0
"""Any ModelConfig message that the proto allows, made by walking the message's own description."""

import functools

from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

_ROOT = model_config_pb2.ModelConfig.DESCRIPTOR
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\x00"), max_size=8)
_NUMBERS = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": _TEXT,
}
_TYPE_NAMES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(type(_ROOT.fields[0])).items()
    if name.startswith("TYPE_")
}


def every_message_type(root=_ROOT):
    """The message and all that it holds, maps' entries apart."""
    found, waiting = {}, [root]
    while waiting:
        message_type = waiting.pop()
        if message_type.full_name not in found:
            if not message_type.GetOptions().map_entry:
                found[message_type.full_name] = message_type
            waiting += [field.message_type for field in message_type.fields if field.message_type]
    return list(found.values())


@functools.cache
def messages(message_type):
    """Messages of one type, each field there or not."""
    return st.builds(_built, st.just(message_type), st.fixed_dictionaries({}, optional=_choices(message_type)))


def _choices(message_type):
    """A strategy for each field; of several that exclude each other the last one set stays."""
    return {field.name: _values(field) for field in message_type.fields}


def _values(field):
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(_one(key), _one(value), max_size=2)
    return st.lists(_one(field), max_size=2) if field.is_repeated else _one(field)


def _one(field):
    if field.message_type:
        return st.deferred(lambda: messages(field.message_type))
    if field.enum_type:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return _NUMBERS[_TYPE_NAMES[field.type]]


def _built(message_type, values):
    message = model_config_pb2.ModelConfig() if message_type is _ROOT else message_type._concrete_class()
    for name, value in values.items():
        field = message_type.fields_by_name[name]
        held = getattr(message, name)
        if isinstance(value, dict):
            for key, item in value.items():
                if hasattr(item, "CopyFrom"):
                    held[key].CopyFrom(item)
                else:
                    held[key] = item
        elif field.is_repeated:
            held.extend(value)
        elif field.message_type:
            held.CopyFrom(value)
            held.SetInParent()
        else:
            setattr(message, name, value)
    return message


model_configs = messages(_ROOT)
