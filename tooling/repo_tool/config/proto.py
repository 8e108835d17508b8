# SPDX-License-Identifier: Apache-2.0
"""Triton's ``model_config.proto``, as the client library carries it."""

__all__ = ["model_config_file", "new_model_config"]

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULE = "tritonclient.grpc.model_config_pb2"


def new_model_config() -> Any:
    """An empty ModelConfig message."""
    return _generated().ModelConfig()


def model_config_file() -> Any:
    """The descriptor of the whole file."""
    return _generated().DESCRIPTOR


@cache
def _generated() -> ModuleType:
    """The generated module alone: the package around it imports all of gRPC, most of a short command's time."""
    if loaded := sys.modules.get(_MODULE):
        return loaded
    client = importlib.util.find_spec("tritonclient")
    folders = client.submodule_search_locations if client else None
    spec = importlib.util.spec_from_file_location(_MODULE, Path((folders or [""])[0], "grpc", "model_config_pb2.py"))
    if spec is None or spec.loader is None:
        raise ImportError("tritonclient holds no grpc/model_config_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[_MODULE] = module  # so that the package, when it is imported, takes this one
    return module
