# SPDX-License-Identifier: Apache-2.0
"""What is done to a configuration message: one field at a time, wherever in it and whatever its type."""

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from differential.words import BACKENDS, FLOATS, INTEGERS, LONG_INTEGERS, PLATFORMS, STRINGS

_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_DEEPEST = 4
# Each instance is a thread: how many of them a machine bears is no verdict on the configuration.
MOST_INSTANCES = 1000
MOST_STUBS = 4
STARTING_STUBS = ("", "python", "onnxruntime")


def mutate(random, draft):
    """Change one field somewhere in the configuration."""
    places = list(_places(draft.config, ""))
    # What is written is as likely to be touched as the whole message is to get something new.
    message, path = random.choice(places) if random.random() < 0.7 else places[0]
    descriptor = _some_field(random, message)
    name = f"{path}.{descriptor.name}".lstrip(".")
    draft.did(f"{_change(random, draft, message, descriptor)} {name}")


def _places(message, path):
    """Every message that is there, with its path."""
    if message.DESCRIPTOR.fields:
        yield message, path
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        name = f"{path}.{descriptor.name}".lstrip(".")
        if _is_map(descriptor):
            if descriptor.message_type.fields_by_name["value"].message_type is not None:
                for key in sorted(value):
                    yield from _places(value[key], f"{name}[{key}]")
        elif descriptor.is_repeated:
            for index, item in enumerate(value):
                yield from _places(item, f"{name}[{index}]")
        else:
            yield from _places(value, name)


def _some_field(random, message):
    written = [descriptor for descriptor, _ in message.ListFields()]
    if written and random.random() < 0.6:
        return random.choice(written)
    return random.choice(message.DESCRIPTOR.fields)


def _change(random, draft, message, descriptor):
    if _is_map(descriptor):
        return _change_map(random, draft, message, descriptor)
    if descriptor.is_repeated:
        return _change_repeated(random, draft, message, descriptor)
    if message_is_there(message, descriptor) and random.random() < 0.35:
        message.ClearField(descriptor.name)
        return "removed"
    if descriptor.message_type is not None:
        part = getattr(message, descriptor.name)
        part.SetInParent()
        if random.random() < 0.7:
            fill(random, draft, part)
        return "filled"
    setattr(message, descriptor.name, value_of(random, draft, descriptor))
    return f"set to {getattr(message, descriptor.name)!r:.40}"


def message_is_there(message, descriptor):
    return any(descriptor is found for found, _ in message.ListFields())


def _change_map(random, draft, message, descriptor):
    held = getattr(message, descriptor.name)
    of_key = descriptor.message_type.fields_by_name["key"]
    of_value = descriptor.message_type.fields_by_name["value"]
    keys = sorted(held)
    what = random.choice(("added to", "added to", "removed from", "renamed in", "emptied"))
    if not keys or what == "added to":
        _put(random, draft, held, value_of(random, draft, of_key), of_value)
        return "added to"
    if what == "emptied":
        message.ClearField(descriptor.name)
    elif what == "removed from":
        del held[random.choice(keys)]
    else:
        _rename(random, draft, held, random.choice(keys), of_key)
    return what


def _rename(random, draft, held, key, of_key):
    value, new = held[key], value_of(random, draft, of_key)
    if isinstance(value, Message):
        held[new].CopyFrom(value)
    else:
        held[new] = value
    if new != key:
        del held[key]


def _put(random, draft, held, key, of_value):
    if of_value.message_type is not None:
        held[key].SetInParent()
        fill(random, draft, held[key])
    else:
        held[key] = value_of(random, draft, of_value)


def _change_repeated(random, draft, message, descriptor):
    held = getattr(message, descriptor.name)
    what = random.choice(("added to", "added to", "removed from", "doubled in", "swapped in", "changed in", "emptied"))
    if not held or what == "added to":
        _append(random, draft, held, descriptor)
        return "added to"
    if what == "emptied":
        message.ClearField(descriptor.name)
        return what
    items = list(held)
    place = random.randrange(len(items))
    if what == "removed from":
        del held[place]
    elif what == "doubled in":
        _extend(held, [items[place]])
    elif what == "swapped in":
        _replace(held, [*items[place:], *items[:place]])
    else:
        _change_item(random, draft, held, place, descriptor)
    return what


def _change_item(random, draft, held, place, descriptor):
    if descriptor.message_type is None:
        held[place] = value_of(random, draft, descriptor)
    else:  # of the messages in lists none is without fields
        _change(random, draft, held[place], _some_field(random, held[place]))


def _append(random, draft, held, descriptor):
    if descriptor.message_type is None:
        held.append(value_of(random, draft, descriptor))
    else:
        fill(random, draft, held.add())


def _extend(held, items):
    for item in items:
        if isinstance(item, Message):
            held.add().CopyFrom(item)
        else:
            held.append(item)


def _replace(held, items):
    copies = [type(item).FromString(item.SerializeToString()) if isinstance(item, Message) else item for item in items]
    del held[:]
    _extend(held, copies)


def fill(random, draft, message, depth=0):
    """Give a message of any type some of its fields."""
    for descriptor in message.DESCRIPTOR.fields:
        likely = 0.7 if len(message.DESCRIPTOR.fields) < 4 else 0.4
        if random.random() > likely or (depth == _DEEPEST and descriptor.message_type is not None):
            continue
        if _is_map(descriptor):
            of_key = descriptor.message_type.fields_by_name["key"]
            of_value = descriptor.message_type.fields_by_name["value"]
            _put(random, draft, getattr(message, descriptor.name), value_of(random, draft, of_key), of_value)
        elif descriptor.is_repeated:
            for _ in range(random.choice((1, 1, 2))):
                _append(random, draft, getattr(message, descriptor.name), descriptor)
        elif descriptor.message_type is not None:
            part = getattr(message, descriptor.name)
            part.SetInParent()
            fill(random, draft, part, depth + 1)
        else:
            setattr(message, descriptor.name, value_of(random, draft, descriptor))


def value_of(random, draft, descriptor):
    """A value of a plain field: a plausible one for its name, or an odd one."""
    kind = descriptor.cpp_type
    if kind in _RANGES:
        low, high = _RANGES[kind]
        if descriptor.full_name == "inference.ModelInstanceGroup.count":
            high = MOST_STUBS if draft.config.backend in STARTING_STUBS else MOST_INSTANCES
        pool = LONG_INTEGERS if random.random() < 0.3 else INTEGERS
        return random.choice([number for number in pool if low <= number <= high])
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return random.choice(descriptor.enum_type.values).number
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return random.random() < 0.6
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return _a_string(random, draft, descriptor)
    return random.choice(FLOATS)


def _a_string(random, draft, descriptor):
    if random.random() < 0.7:
        if descriptor.name == "backend":
            return random.choice(BACKENDS)
        if descriptor.name == "platform":
            return random.choice(PLATFORMS)
        known = sorted(_strings(draft.config))
        if known and random.random() < 0.8:
            return random.choice(known)
    return random.choice(STRINGS)


def _strings(message):
    """Every string that is written anywhere in the message."""
    found = set()
    for place, _ in _places(message, ""):
        for descriptor, value in place.ListFields():
            if descriptor.message_type is None and descriptor.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                found.update(value if descriptor.is_repeated else [value])
            elif _is_map(descriptor):
                found.update(key for key in value if isinstance(key, str))
    return found


def _is_map(descriptor):
    return descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry
