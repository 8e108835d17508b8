# SPDX-License-Identifier: Apache-2.0
"""A message written as oddly as protobuf text allows, and the path of every field that is set in one."""

from google.protobuf import text_encoding
from google.protobuf.descriptor import FieldDescriptor

_GAPS = (" ", "\n", "  \t", ' # a comment { [ "\n', "\r\n", "\n# repo-tool: nothing\n\n")


def oddly_written(message, random):
    """Protobuf text of ``message`` with brackets, separators, lists and comments chosen by ``random``."""
    return _gap(random) + "".join(_field(field, value, random) for field, value in message.ListFields())


def _field(field, value, random):
    if _is_map(field):
        values = [_entry(field, key, value[key], random) for key in value]
    elif field.is_repeated:
        values = [_value(field, one, random) for one in value]
    else:
        return _written(field, _value(field, value, random), random)
    whole = ""
    while values:
        taken = random.randint(1, len(values))
        part, values = values[:taken], values[taken:]
        if taken > 1 or random.random() < 0.5:
            whole += _written(field, f"[{_gap(random)}{f',{_gap(random)}'.join(part)}]", random)
        else:
            whole += _written(field, part[0], random)
    return whole


def _written(field, words, random):
    colon = ":" if field.message_type is None or random.random() < 0.5 else ""
    return f"{field.name}{_gap(random)}{colon}{_gap(random)}{words}{random.choice(('', ',', ';'))}{_gap(random)}"


def _entry(field, key, value, random):
    of_key, of_value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    parts = [_written(of_key, _value(of_key, key, random), random)]
    parts.append(_written(of_value, _value(of_value, value, random), random))
    random.shuffle(parts)
    return _bracketed("".join(parts), random)


def _bracketed(words, random):
    opening, closing = random.choice(("{}", "<>"))
    return f"{opening}{_gap(random)}{words}{closing}"


def _value(field, value, random):
    if field.message_type is not None:
        return _bracketed("".join(_field(*item, random) for item in value.ListFields()), random)
    if field.enum_type is not None:
        return random.choice((field.enum_type.values_by_number[value].name, str(value)))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _string(value, random)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return random.choice(("true", "t", "True", "1") if value else ("false", "f", "False", "0"))
    if isinstance(value, int):
        return random.choice((str(value), hex(value)))
    return repr(value)


def _string(value, random):
    cut = random.randint(0, len(value))
    parts = [part.encode() for part in (value[:cut], value[cut:])]
    quoted = ["".join(f"\\{byte:03o}" for byte in part) if random.random() < 0.5 else None for part in parts]
    return _gap(random).join(
        f'"{escaped}"' if escaped is not None else _plainly(part.decode())
        for escaped, part in zip(quoted, parts, strict=True)
    )


def _plainly(text):
    return f"'{text_encoding.CEscape(text.encode(), as_utf8=True)}'"


def _gap(random):
    return "".join(random.choice(_GAPS) for _ in range(random.choice((1, 1, 1, 2))))


def _is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def set_fields(message, prefix=""):
    """``(path, descriptor, value)`` of all that is set, of repeated fields and maps value by value."""
    for field, value in message.ListFields():
        path = f"{prefix}.{field.name}" if prefix else field.name
        if _is_map(field):
            of_value = field.message_type.fields_by_name["value"]
            items = [(f"{path}[{key}]", of_value, value[key]) for key in value]
        elif field.is_repeated:
            items = [(f"{path}[{index}]", field, one) for index, one in enumerate(value)]
        else:
            items = [(path, field, value)]
        for place, of_item, item in items:
            yield place, of_item, item
            if of_item.message_type is not None:
                yield from set_fields(item, place)
