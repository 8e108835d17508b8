# SPDX-License-Identifier: Apache-2.0
"""Fields that a person sets over the derived ``config.pbtxt``, and what of a configuration other models rely on."""

__all__ = ["interface_digest", "overridden"]

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from repo_tool.config.model import ModelConfig


def overridden(text: str, overrides: Mapping[str, Any]) -> str:
    """``text`` with each field of ``overrides`` set, the rest as it is written.

    Raises:
        ConfigError: there is no such field, or it does not take the value.
    """
    if not overrides:
        return text
    raise NotImplementedError


def interface_digest(config: ModelConfig) -> str:
    """The digest of what an ensemble relies on: tensors, and how many rows go together."""
    tensors = [
        [tensor.name, tensor.datatype and tensor.datatype.wire_name, list(tensor.dims), tensor.optional]
        for tensor in (*config.inputs, *config.outputs)
    ]
    said = json.dumps([config.max_batch_size, len(config.inputs), tensors])
    return f"sha256:{hashlib.sha256(said.encode()).hexdigest()}"
