# SPDX-License-Identifier: Apache-2.0
"""Parts of pipelines and small models beside them, written into a repository as they are compiled."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np

from repo_tool.config import pbtxt
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.datatypes import DataType
from repo_tool.pipelines.catalogue import StepKind
from repo_tool.pipelines.compiled import CompiledModel
from repo_tool.pipelines.placement import Part, PartKind
from repo_tool.pipelines.stages import ModelStage, StepStage
from repo_tool.pipelines.wire import Wire


def wire(datatype, *dims):
    return Wire(DataType.from_wire(datatype), dims)


def write_compiled(repository: Path, compiled: CompiledModel) -> None:
    """The model directory of a compiled part, as version 1."""
    folder = repository / compiled.config.name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(pbtxt.render(compiled.config, verified=True))
    found = {folder / "1" / name: content for name, content in compiled.files.items()}
    found |= {folder / name: content for name, content in compiled.directory_files.items()}
    for path, content in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            shutil.copyfile(content, path)


def write_python_model(repository: Path, name: str, execute: str, *, tensors, max_batch_size: int) -> ModelConfig:
    """A Python-backend model with one input and one output, ``execute`` being an expression of the array ``x``."""
    config = ModelConfig(
        name=name,
        backend="python",
        max_batch_size=max_batch_size,
        inputs=(ModelTensor(name="x", datatype=tensors[0].datatype, dims=tensors[0].dims),),
        outputs=(ModelTensor(name="y", datatype=tensors[1].datatype, dims=tensors[1].dims),),
    )
    write_compiled(repository, CompiledModel(config=config, files={"model.py": _MODEL.format(execute).encode()}))
    return config


_MODEL = """
import pathlib
import time

import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request.inputs()[0].as_numpy()) for request in requests]

    def answer(self, x):
        try:
            y = {}
        except ValueError as error:
            return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", np.ascontiguousarray(y))])

def refuse(why):
    raise ValueError(why)

def meet(own, other, x):
    pathlib.Path(own).touch()
    deadline = time.monotonic() + 10
    while not pathlib.Path(other).exists():
        if time.monotonic() > deadline:
            refuse("nobody came")
        time.sleep(0.01)  # between two looks of a poll with a deadline
    return x
"""


def step(folder: Path, name: str, source: str, parameters=(), **wired) -> StepStage:
    """A step of a test's own, its file written into ``folder``; ``wired`` are its maps."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(f"test_step_{name}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code = getattr(module, "".join(word.capitalize() for word in name.split("_")))
    return StepStage(step=StepKind(name, code, path).with_parameters(dict(parameters)), name=name, **wired)


def called(config: ModelConfig, *, x: str, y: str) -> ModelStage:
    """A call of such a model."""
    return ModelStage(config=config, version=1, inputs={"x": x}, outputs={"y": y}, name=config.name)


def part(name: str, stages, *, reads, writes, kind: PartKind = PartKind.CONTROL, max_batch_size: int = 8) -> Part:
    return Part(
        kind=kind,
        stages=tuple(stages),
        name=name,
        reason="as the test wants it",
        reads=tuple(reads),
        writes=tuple(writes),
        max_batch_size=max_batch_size,
    )


def floats(*rows):
    return np.array([[row] for row in rows], dtype=np.float32)
