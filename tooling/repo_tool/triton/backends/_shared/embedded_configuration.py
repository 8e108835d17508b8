# SPDX-License-Identifier: Apache-2.0
"""The model configuration as Triton hands it to a Python backend, read once at load."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import triton_python_backend_utils as pb_utils

NUMPY_TYPES = {
    "TYPE_BOOL": np.dtype(bool),
    "TYPE_UINT8": np.dtype(np.uint8),
    "TYPE_UINT16": np.dtype(np.uint16),
    "TYPE_UINT32": np.dtype(np.uint32),
    "TYPE_UINT64": np.dtype(np.uint64),
    "TYPE_INT8": np.dtype(np.int8),
    "TYPE_INT16": np.dtype(np.int16),
    "TYPE_INT32": np.dtype(np.int32),
    "TYPE_INT64": np.dtype(np.int64),
    "TYPE_FP16": np.dtype(np.float16),
    "TYPE_FP32": np.dtype(np.float32),
    "TYPE_FP64": np.dtype(np.float64),
    "TYPE_STRING": np.dtype(object),
}
_OURS = ("provenance.", "repo-tool.")  # for those who ask the server what it serves
_INTEGER = re.compile(r"\s*([+-]?\d+)")
_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


def refuse(reason: str) -> NoReturn:
    """End the load with a reason that Triton passes on."""
    raise pb_utils.TritonModelException(reason)


@dataclass(frozen=True)
class TensorConfiguration:
    """One entry of ``input`` or ``output``."""

    name: str
    data_type: str  # e.g. TYPE_FP32
    dims: tuple[int, ...]  # the client's view, without the batch dimension
    reshape: tuple[int, ...] | None  # the model's view, where it differs
    optional: bool
    ragged: bool

    @property
    def model_dims(self) -> tuple[int, ...]:
        """The shape that the model sees, without the batch dimension."""
        return self.dims if self.reshape is None else self.reshape

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "TensorConfiguration":
        """The tensor of one entry of the configuration."""
        reshape = entry.get("reshape")
        return cls(
            name=entry["name"],
            data_type=entry["data_type"],
            dims=_shape(entry["dims"]),
            reshape=None if reshape is None else _shape(reshape.get("shape", [])),
            optional=entry.get("optional", False),
            ragged=entry.get("allow_ragged_batch", False),
        )


@dataclass(frozen=True)
class ModelConfiguration:
    """What a backend needs of ``config.pbtxt`` and of the place it lies in."""

    name: str
    version: str
    directory: Path  # the model directory
    max_batch_size: int
    inputs: tuple[TensorConfiguration, ...]
    outputs: tuple[TensorConfiguration, ...]
    parameters: dict[str, str]
    default_model_filename: str
    raw: dict[str, Any]  # everything, as Triton's JSON

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, str]) -> "ModelConfiguration":
        """The configuration in the arguments of ``initialize``."""
        raw = json.loads(arguments["model_config"])
        return cls(
            name=raw["name"],
            version=arguments["model_version"],
            directory=Path(arguments["model_repository"]),
            max_batch_size=int(raw.get("max_batch_size", 0)),
            inputs=tuple(TensorConfiguration.from_entry(entry) for entry in raw.get("input", [])),
            outputs=tuple(TensorConfiguration.from_entry(entry) for entry in raw.get("output", [])),
            parameters={key: value.get("string_value", "") for key, value in raw.get("parameters", {}).items()},
            default_model_filename=raw.get("default_model_filename", ""),
            raw=raw,
        )

    @property
    def batches(self) -> bool:
        """Whether tensors have a batch dimension in front of their dims."""
        return self.max_batch_size > 0

    @property
    def control_inputs(self) -> list[str]:
        """The inputs that Triton's sequence batcher adds to requests, once for each control that they carry."""
        batching = self.raw.get("sequence_batching") or {}
        tensors = batching.get("control_input", [])
        return [tensor["name"] for tensor in tensors for _ in tensor.get("control", [])]

    @property
    def batch_inputs(self) -> list[str]:
        """The inputs that a backend computes from the shapes of a ragged batch."""
        return [name for entry in self.raw.get("batch_input", []) for name in entry["target_name"]]

    def refuse_what_no_python_backend_has(self) -> None:
        """Features of NVIDIA's backends that cannot be had through Triton's Python backend."""
        if (self.raw.get("sequence_batching") or {}).get("state"):
            refuse("implicit sequence state is not supported by the embedded backend (NVIDIA's own supports it)")
        if self.raw.get("batch_output"):
            refuse("batch_output is not supported by the embedded backend (NVIDIA's own supports it)")

    def artifact(self, *default_filenames: str) -> Path:
        """The model's file or folder in the version directory: the configured one, or the first default there is."""
        folder = self.directory / self.version
        configured = self.default_model_filename
        # Triton itself fills in the first default of the backends it knows, so that one may stand for "not configured".
        names = (
            [configured]
            if configured not in ("", *default_filenames)
            else sorted(default_filenames, key=lambda name: name != configured)
        )
        found = [folder / name for name in names if (folder / name).exists()]
        if not found:
            refuse(f"failed to stat file {folder / names[0]}")
        return found[0]

    def integer_parameter(self, key: str, *, default: int = 0) -> int:
        """A parameter read as C++ reads an int: leading digits count, what follows them does not."""
        if key not in self.parameters:
            return default
        text = self.parameters[key]
        match = _INTEGER.match(text)
        if match is None:
            refuse(f"failed to convert '{text}' to integral number")
        value = int(match[1])
        if not -(2**31) <= value < 2**31:
            refuse(f"failed to convert '{text}' to integral number: it does not fit 32 bits")
        return value

    def boolean_parameter(self, key: str, *, default: bool) -> bool:
        """A parameter of the words true, false, on, off, 1 and 0."""
        if key not in self.parameters:
            return default
        value = _BOOLEANS.get(self.parameters[key].lower())
        if value is None:
            refuse(f"failed to convert '{self.parameters[key]}' to boolean")
        return value

    def warn_of_unknown_parameters(self, known: Iterable[str]) -> None:
        """Say in the log which parameters nobody will read, but for those that ``repo-tool`` itself has put there."""
        for key in sorted(set(self.parameters) - set(known)):
            if key.startswith(_OURS):
                continue
            pb_utils.Logger.log_warn(
                f"model '{self.name}': the parameter '{key}' is unknown to its backend and ignored"
            )


def shape_text(shape: Iterable[int]) -> str:
    """A shape as Triton writes it: ``[-1,4]``."""
    return "[" + ",".join(str(dim) for dim in shape) + "]"


def _shape(dims: Iterable[int | str]) -> tuple[int, ...]:
    return tuple(int(dim) for dim in dims)
