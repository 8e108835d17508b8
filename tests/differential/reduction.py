# SPDX-License-Identifier: Apache-2.0
"""Make a disagreement small: take away fields, entries and files as long as rules and Triton still differ alike."""

from dataclasses import replace

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from differential.comparison import AGREE
from differential.server import CRASHES, HANGS

_MOST_TRIES = 200
_MOST_ENDS = 30  # each costs a start of the server


def reduced(judge, comparison):
    """The same disagreement over a smaller repository, as a new comparison."""
    most = _MOST_ENDS if comparison.verdict.outcome in (CRASHES, HANGS) else _MOST_TRIES
    best, tries = comparison, 0
    progress = True
    while progress and tries < most:
        progress = False
        for smaller in _smaller(best.case):
            tries += 1
            if tries >= most:
                break
            found = judge.compare(comparison.number, smaller)
            if found.kind != AGREE and _is_alike(found, best):
                best, progress = found, True
                break
    return best


def _is_alike(one, other):
    return (one.kind, one.verdict.outcome, one.words, one.codes) == (
        other.kind, other.verdict.outcome, other.words, other.codes,
    )  # fmt: skip


def _smaller(case):
    path = f"{case.target}/config.pbtxt"
    config = _parsed(case.files.get(path))
    for message in _with_less(config) if config is not None else ():
        text = text_format.MessageToString(message, as_utf8=True).encode()
        yield replace(case, files=case.files | {path: text})
    for other in case.files:
        if other != path:
            yield replace(case, files={name: what for name, what in case.files.items() if name != other})


def _parsed(text):
    if not isinstance(text, bytes):
        return None
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError):
        return None


def _with_less(config):
    for path in _paths(config):
        copy = type(config).FromString(config.SerializeToString())
        _remove(copy, path)
        yield copy


def _paths(message, path=()):
    """What may be taken away, large things first."""
    deeper = []
    for descriptor, value in message.ListFields():
        name = descriptor.name
        is_map = descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry
        yield (*path, name)
        if is_map:
            keys = sorted(value)
            yield from ((*path, name, key) for key in keys if len(keys) > 1)
            if keys and hasattr(value[keys[0]], "ListFields"):
                deeper += [(value[key], (*path, name, key)) for key in keys]
        elif descriptor.is_repeated:
            yield from ((*path, name, index) for index in range(len(value)) if len(value) > 1)
            if descriptor.message_type is not None:
                deeper += [(item, (*path, name, index)) for index, item in enumerate(value)]
        elif descriptor.message_type is not None:
            deeper.append((value, (*path, name)))
    for value, place in deeper:
        yield from _paths(value, place)


def _remove(message, path):
    *way, last = path
    for step in way:
        message = getattr(message, step) if hasattr(message, "ListFields") else message[step]
    if hasattr(message, "ListFields"):
        message.ClearField(last)
    else:
        del message[last]
