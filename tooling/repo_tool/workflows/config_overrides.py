# SPDX-License-Identifier: Apache-2.0
"""Fields that a person sets over the derived ``config.pbtxt``, and what of a configuration other models rely on."""

__all__ = ["check_override", "interface_digest", "overridden", "restored"]

import json
from collections.abc import Mapping

from repo_tool.config import pbtxt
from repo_tool.config.edit import set_field
from repo_tool.config.field_paths import read_path
from repo_tool.config.model import ModelConfig
from repo_tool.config.typed_values import typed_value
from repo_tool.errors import ConfigError
from repo_tool.repository.provenance import digest_of_bytes


def overridden(text: str, overrides: Mapping[str, str]) -> str:
    """``text`` with each field of ``overrides`` set, one after the other, the rest as it is written.

    Raises:
        ConfigError: there is no such field, or it does not take the value.
    """
    for path, value in overrides.items():
        text = set_field(text, path, value)
    return text


def check_override(path: str, value: str) -> None:
    """Refuse what no configuration has.

    Raises:
        ConfigError: there is no such field, or it does not take the value.
    """
    typed_value(read_path(path)[-1], value, path=path)


def interface_digest(config: ModelConfig) -> str:
    """The digest of what an ensemble relies on: tensors, and how many rows go together."""
    tensors = [
        [tensor.name, tensor.datatype and tensor.datatype.wire_name, list(tensor.dims), tensor.optional]
        for tensor in (*config.inputs, *config.outputs)
    ]
    return digest_of_bytes(json.dumps([config.max_batch_size, len(config.inputs), tensors]).encode())


def restored(text: str | None, base: str, overrides: Mapping[str, str]) -> str:
    """What a ``config.pbtxt`` of ``text`` must become to say ``base`` with ``overrides``: itself where it does.

    Comments and layout stay where setting the fields suffices.

    Raises:
        ConfigError: there is no such field, or it does not take the value.
    """
    wanted = overridden(base, overrides)
    if text is None or text == wanted:
        return wanted
    meaning = _meaning(wanted)
    if meaning is not None and _meaning(text) == meaning:
        return text
    if text == base:
        return wanted
    try:
        amended = overridden(text, overrides)
    except ConfigError:  # it does not parse
        return wanted
    return amended if meaning is not None and _meaning(amended) == meaning else wanted


def _meaning(text: str) -> ModelConfig | None:
    try:
        return pbtxt.parse(text)
    except ConfigError:
        return None
