# SPDX-License-Identifier: Apache-2.0
"""ONNX and ONNX Runtime on graphs that hold a stranger's model, in a process of their own: either may crash on one."""

__all__ = ["Loaded", "LoadedTensor", "WorkerError", "convert", "load"]

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.pipelines.graphs.pieces import OnnxModel

_TIMEOUT_S = 300


class WorkerError(Exception):
    """What onnx or ONNX Runtime said, or how their process ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTensor:
    """An input or output of a loaded session; ``shape`` includes the batch dimension, -1 where free."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a session of ONNX Runtime takes and gives."""

    inputs: tuple[LoadedTensor, ...]
    outputs: tuple[LoadedTensor, ...]


def load(folder: Path) -> Loaded:
    """Hold ``model.onnx`` in the folder to onnx's checker and load it into ONNX Runtime.

    Raises:
        WorkerError: one of them refuses it.
    """
    answer = _run("load", folder)
    return Loaded(inputs=_tensors(answer["inputs"]), outputs=_tensors(answer["outputs"]))


def convert(model: OnnxModel, opset: int) -> OnnxModel:
    """The model in another opset of ONNX, by onnx's own converter.

    Raises:
        WorkerError: it cannot.
    """
    import onnx

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx.save_model(model, path)
        _run("convert", Path(scratch), str(opset))
        return onnx.load_model(path)


def _tensors(found: Sequence[Mapping[str, Any]]) -> tuple[LoadedTensor, ...]:
    return tuple(
        LoadedTensor(name=tensor["name"], datatype=DataType.from_wire(tensor["datatype"]), shape=tuple(tensor["shape"]))
        for tensor in found
    )


def _run(*arguments: str | Path) -> dict[str, Any]:
    # -P: a file in the caller's folder called like a package must not shadow it.
    command = [sys.executable, "-P", "-m", "repo_tool.pipelines.graphs._worker", *map(str, arguments)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"it took longer than {_TIMEOUT_S} s") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise WorkerError(f"its process ended with status {done.returncode}") from None
    if "refused" in answer:
        raise WorkerError(answer["refused"])
    return answer
