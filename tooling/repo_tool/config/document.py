# SPDX-License-Identifier: Apache-2.0
"""A configuration as the JSON document in which Triton's load request takes one in place of the file."""

__all__ = ["as_document", "with_versions"]

from collections.abc import Iterable, Mapping
from typing import Any

from repo_tool.config.messages import to_message
from repo_tool.config.model import ModelConfig
from repo_tool.config.proto import new_model_config


def as_document(config: ModelConfig) -> dict[str, Any]:
    """The protocol message's JSON form, with the names of ``model_config.proto``."""
    from google.protobuf import json_format

    message = to_message(config, new_model_config())
    document: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return document


def with_versions(document: Mapping[str, Any], versions: Iterable[int]) -> dict[str, Any]:
    """The same, loading these versions and no others."""
    return {**document, "version_policy": {"specific": {"versions": sorted(set(versions))}}}
