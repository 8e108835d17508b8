# SPDX-License-Identifier: Apache-2.0
"""The Python-backend models of a pipeline: of neighbouring steps, and of blocks, which call other models."""

__all__ = ["control_model", "python_model"]

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repo_tool.config.execution import InstanceGroup, InstanceKind
from repo_tool.config.model import ModelConfig, ModelTensor, VersionPolicy
from repo_tool.config.scheduling import DynamicBatching
from repo_tool.datatypes import DataType
from repo_tool.errors import PipelineError
from repo_tool.pipelines.compiled import CompiledModel, Content
from repo_tool.pipelines.foreign import refuse_missing_packages
from repo_tool.pipelines.placement import Part
from repo_tool.pipelines.spec import ForEach, OtherWire, PipelineFile, Repeat, When
from repo_tool.pipelines.stages import BlockStage, ModelStage, Stage, StepStage, flat
from repo_tool.pipelines.wire import Wire

_FOLDER = Path(__file__).parent
# They run in Triton's stub and import its module: never imported here.
_STEP_MODEL, _CONTROL_MODEL = _FOLDER / "step_model.py", _FOLDER / "control_model.py"
_WAITING_INSTANCES = 2  # of a model that waits for others: one computes while one waits
_ENVIRONMENT = "EXECUTION_ENV_PATH"  # a parameter of Triton's Python backend
_MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY"  # which that backend replaces


def python_model(part: Part, pipeline: PipelineFile, wires: Mapping[str, Wire]) -> CompiledModel:
    """Neighbouring steps as one model that runs them one after another.

    Raises:
        PipelineError: a wire has a datatype that NumPy does not know.
    """
    return _compiled(part, pipeline, wires, {"model.py": _STEP_MODEL}, waiting=1)


def control_model(part: Part, pipeline: PipelineFile, wires: Mapping[str, Wire]) -> CompiledModel:
    """Blocks, and the steps beside them, as one model that calls others.

    Raises:
        PipelineError: it would call a model that answers more or less than once, or a wire has a datatype that NumPy
            does not know.
    """
    for stage in flat(part.stages):
        if isinstance(stage, ModelStage):
            _refuse_uncallable(stage)
    files = {"model.py": _CONTROL_MODEL, _STEP_MODEL.name: _STEP_MODEL}
    return _compiled(part, pipeline, wires, files, waiting=_WAITING_INSTANCES)


def _refuse_uncallable(stage: ModelStage) -> None:
    kind = "is decoupled" if stage.config.decoupled else "keeps sequences" if stage.config.sequence_batching else None
    if kind:
        raise PipelineError(
            f"model '{stage.config.name}' {kind} and cannot be called in a block",
            cause="a block needs exactly one answer to each request, whoever asked before",
            next_step="use a model that answers each request once",
        )


def _compiled(
    part: Part, pipeline: PipelineFile, wires: Mapping[str, Wire], models: Mapping[str, Content], *, waiting: int
) -> CompiledModel:
    _refuse_bfloat(part.stages, wires)
    steps = [stage for stage in flat(part.stages) if isinstance(stage, StepStage)]
    _check_files(steps, pipeline)
    assets = _asset_names(steps)
    files: dict[str, Content] = {
        **models,
        **{_step_file(stage): stage.step.kind.source for stage in steps},
        **{name: path for path, name in assets.items()},
    }
    environment = pipeline.file(pipeline.execution_env) if pipeline.execution_env else None
    heavy = any(stage.step.kind.heavy for stage in steps)
    parameters = {
        "steps": json.dumps([_entry(stage, assets) for stage in part.stages]),
        "wires": json.dumps(_wires_of(part, wires)),
    }
    if part.passes:
        parameters["passed"] = json.dumps({told: wire for wire, told in part.passes.items()})
    if environment is not None:
        parameters[_ENVIRONMENT] = f"{_MODEL_DIRECTORY}/{environment.name}"
    config = ModelConfig(
        name=part.name,
        backend="python",
        max_batch_size=part.max_batch_size,
        inputs=tuple(_ragged(tensor) if part.max_batch_size > 0 else tensor for tensor in part.inputs(wires)),
        outputs=part.outputs(wires),
        dynamic_batching=DynamicBatching() if part.max_batch_size > 0 else None,
        instance_groups=(InstanceGroup(kind=InstanceKind.KIND_CPU, count=_instances(waiting, heavy=heavy)),),
        version_policy=VersionPolicy(latest=1),
        parameters=parameters,
    )
    beside = {environment.name: environment} if environment is not None else {}
    return CompiledModel(config=config, files=files, directory_files=beside)


def _ragged(tensor: ModelTensor) -> ModelTensor:
    """Requests of different sizes may be one batch: the model takes each as it comes."""
    return replace(tensor, allow_ragged_batch=True) if -1 in tensor.dims else tensor


def _instances(least: int, *, heavy: bool) -> int:
    """Python runs one thread of a process at a time, so that only an instance for each core keeps all of them busy."""
    return max(least, os.cpu_count() or 1) if heavy else least


def _refuse_bfloat(stages: Iterable[Stage], wires: Mapping[str, Wire]) -> None:
    named = {wire for stage in stages for wire in (*stage.inputs.values(), *stage.outputs.values())}
    odd = sorted(name for name in named if wires[name].datatype is DataType.BF16)
    if odd:
        raise PipelineError(
            f"wire '{odd[0]}' is BF16 and meets a step that runs in Python",
            cause="NumPy has no such type",
            next_step="add the model again with FP32 there",
        )
    for stage in stages:
        if isinstance(stage, BlockStage):
            _refuse_bfloat(stage.stages, stage.wires)


def _check_files(steps: Sequence[StepStage], pipeline: PipelineFile) -> None:
    """Whether all steps can lie beside one another, and find what they import."""
    sources: dict[str, Path] = {}
    for stage in steps:
        source = stage.step.kind.source
        if sources.setdefault(source.name, source) != source:
            raise PipelineError(
                f"'{source}' and '{sources[source.name]}' have one name",
                cause="both would be copied beside one generated model",
                next_step="call one of them otherwise",
            )
        if pipeline.execution_env is None and ":" in stage.step.name:
            refuse_missing_packages(stage.step.kind)


# --- assets ----------------------------------------------------------------------------------------------------------


def _asset_names(steps: Sequence[StepStage]) -> dict[Path, str]:
    """Where each file of the steps' parameters lies in the version folder, by its own name where that is free."""
    names: dict[Path, str] = {}
    for path in (path for stage in steps for path in stage.step.files):
        if path not in names:
            taken = set(names.values())
            candidates = (f"assets/{prefix}{path.name}" for prefix in _prefixes())
            names[path] = next(name for name in candidates if name not in taken)
    return names


def _prefixes() -> Iterator[str]:
    yield ""
    number = 2
    while True:
        yield f"{number}_"
        number += 1


# --- what the generated model reads ----------------------------------------------------------------------------------


def _wires_of(part: Part, wires: Mapping[str, Wire]) -> dict[str, tuple[str, tuple[int, ...]]]:
    names = dict.fromkeys(wire for stage in part.stages for wire in (*stage.inputs.values(), *stage.outputs.values()))
    seen = {name: wires[name] for name in (*names, *part.reads)} | {
        told: wires[wire] for wire, told in part.passes.items()
    }
    return {name: (wire.datatype.wire_name, wire.dims) for name, wire in seen.items()}


def _entry(stage: Stage, assets: Mapping[Path, str]) -> dict[str, Any]:
    maps = {"inputs": dict(stage.inputs), "outputs": dict(stage.outputs)}
    if isinstance(stage, StepStage):
        given = {name: _plain(value, assets) for name, value in stage.step.parameters.items()}
        code = {"file": _step_file(stage), "class": stage.step.kind.code.__name__}
        return {"step": stage.name or stage.step.name, **code, "parameters": given, **maps}
    if isinstance(stage, ModelStage):
        config = stage.config
        return {"model": config.name, "version": stage.version, "max_batch_size": config.max_batch_size, **maps}
    inside = {
        "wires": {name: (wire.datatype.wire_name, wire.dims) for name, wire in stage.wires.items()},
        "steps": [_entry(inner, assets) for inner in stage.stages],
    }
    return {"block": stage.kind, "name": stage.name, **_control(stage), **maps, **inside}


def _step_file(stage: StepStage) -> str:
    return f"steps/{stage.step.kind.source.name}"


def _control(stage: BlockStage) -> dict[str, Any]:
    control = stage.control
    if isinstance(control, When):
        otherwise = {
            name: {"wire": value.wire} if isinstance(value, OtherWire) else value
            for name, value in control.otherwise.items()
        }
        condition = {"wire": control.wire, "comparison": list(control.comparison), "if_nan": control.if_nan}
        return {**condition, "otherwise": otherwise}
    if isinstance(control, ForEach):
        return {"items": dict(control.items), "count": control.count, "pad": dict(control.pad)}
    assert isinstance(control, Repeat)  # noqa: S101 - there are three kinds
    return {"carry": dict(control.carry), "until": control.until, "at_most": control.at_most}


def _plain(value: Any, assets: Mapping[Path, str]) -> Any:
    if isinstance(value, Path):
        return {"file": assets[value]}
    if isinstance(value, Mapping):
        return {key: _plain(inner, assets) for key, inner in value.items()}
    return [_plain(inner, assets) for inner in value] if isinstance(value, list | tuple) else value
