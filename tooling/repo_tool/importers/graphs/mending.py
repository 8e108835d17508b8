# SPDX-License-Identifier: Apache-2.0
"""What keeps a valid ONNX file from being served, and can be mended in its graph without changing an answer."""

__all__ = ["Carried", "Mended", "carry", "mend", "outputs_without_rank", "reference", "with_vectors", "write_ranks"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.errors import SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.importers.onnx_graph import OnnxModel
from repo_tool.importers.trials import Trial, try_rows
from repo_tool.samples import RawSample, Tensors
from repo_tool.signature import FREE

# Element types that Triton's onnxruntime backend has not (TensorProto's numbers), and which of its own holds every
# value: bfloat16, the float8 and float4 types as float32; 4- and 2-bit integers as 8-bit ones.
_CARRIED_AS = {16: 1, 17: 1, 18: 1, 19: 1, 20: 1, 21: 2, 22: 3, 23: 1, 24: 1, 25: 2, 26: 3}

# ONNX Runtime promises ai.onnx from opset 7 on; what is older becomes 13, the first with axes as inputs throughout.
_OLDEST_OPSET, _RAISED_OPSET = 7, 13

_READ_BY_ALL_IR = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What was changed at the graph's ends so that Triton can carry what goes in and comes out."""

    notes: tuple[str, ...]
    scalars: tuple[str, ...]  # inputs that take a vector of one value now
    same_tensors: bool  # whether, but for these, all tensors are as they were


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """The graph as it is published, and what was changed so that Triton can serve it."""

    model: OnnxModel
    notes: tuple[str, ...]
    scalars: tuple[str, ...]
    comparable: bool  # whether ONNX Runtime can be asked what the file answered before


def mend(model: OnnxModel, request: ImportRequest, source: Path, sample: RawSample | None) -> Mended:
    """Change what ONNX Runtime could not load, and Triton not carry.

    Raises:
        ReleaseError: the release is too old for the file.
        SourceError: it is too old for ONNX Runtime, and cannot be written anew.
    """
    fitted = onnx_graph.fit_release(model, request)
    ranks = _declare_ranks(model, source, sample)
    model, raised = _raise_opset(model, source)
    carried = carry(model)
    return Mended(
        model=model,
        notes=(*fitted, *ranks, *raised, *carried.notes),
        scalars=carried.scalars,
        comparable=not raised and carried.same_tensors,
    )


def carry(model: OnnxModel) -> Carried:
    """Change inputs and outputs that Triton has no way to send."""
    casts = _cast_to_carried_types(model)
    scalars = _take_scalars_as_vectors(model)
    vectors = tuple(f"input '{name}' takes its one value as [1]" for name in scalars)
    freed = _free_empty_dimensions(model)
    if (casts or scalars) and not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.add(domain="", version=_RAISED_OPSET)  # a graph of another domain's operators alone
    return Carried(notes=(*casts, *vectors, *freed), scalars=scalars, same_tensors=not (casts or freed))


def with_vectors(sample: RawSample | None, scalars: tuple[str, ...]) -> RawSample | None:
    """The sample with its scalars as the vectors that the graph takes now."""
    if sample is None or not scalars:
        return sample
    tensors = {name: a.reshape(1) if name in scalars and a.ndim == 0 else a for name, a in sample.tensors.items()}
    array = sample.array.reshape(1) if sample.array is not None and sample.array.ndim == 0 else sample.array
    return replace(sample, tensors=tensors, array=array)


def reference(mended: Mended, source: Path, trial: Trial) -> Tensors:
    """What the file answered before any change of ours, asked of ONNX Runtime.

    A file whose IR version alone is too new for ONNX Runtime has no other answers than the one with an older number.
    """
    if not mended.notes or not mended.comparable:
        return trial.answers
    inputs = {name: a.reshape(()) if name in mended.scalars else a for name, a in trial.rows.inputs.items()}
    session = _session_if_any(source)
    return trial.answers if session is None else onnx_graph.run(session, inputs)


# --- dimensions ------------------------------------------------------------------------------------------------------


def _declare_ranks(model: Any, source: Path, sample: RawSample | None) -> tuple[str, ...]:
    """Say how many dimensions an output has, where the file does not: ONNX and Triton's backend ask for it."""
    silent = outputs_without_rank(model)
    if not silent:
        return ()
    session = onnx_graph.open_session(source)
    inferred = {value.name: tuple(value.shape) for value in session.get_outputs() if value.shape}
    if not set(silent) <= set(inferred):
        inputs = onnx_graph.read_inputs(session, model)
        answers = try_rows(sample, inputs, partial(onnx_graph.run, session)).answers
        inferred |= {name: (FREE,) * answers[name].ndim for name in silent if name not in inferred}
    write_ranks(model, {name: inferred[name] for name in silent})
    return (f"the number of dimensions of {', '.join(silent)} was not declared; it is now",)


def outputs_without_rank(model: OnnxModel) -> tuple[str, ...]:
    """The tensors among the outputs that do not even say how many dimensions they have."""
    return tuple(
        output.name
        for output in model.graph.output
        if output.type.HasField("tensor_type") and not output.type.tensor_type.HasField("shape")
    )


def write_ranks(model: OnnxModel, shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Give outputs their shapes; a size that is no number, or -1, is free."""
    for output in model.graph.output:
        sizes = shapes.get(output.name)
        if sizes is None:
            continue
        shape = output.type.tensor_type.shape
        shape.SetInParent()
        for place, size in enumerate(sizes):
            dimension = shape.dim.add()
            if isinstance(size, int) and size >= 0:
                dimension.dim_value = size
            else:
                dimension.dim_param = size if isinstance(size, str) else f"{output.name}_{place}"


def _take_scalars_as_vectors(model: OnnxModel) -> tuple[str, ...]:
    """Let inputs without dimensions take one value in a vector: Triton has no other way to send it.

    NVIDIA's backend hands the vector to the graph, where it may change the shapes of all that follows.

    Returns:
        The names of these inputs.
    """
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    scalars = [value for value in model.graph.input if value.name not in weights and _is_scalar(value)]
    for value in scalars:
        name, inner, shape = value.name, f"{value.name}_as_scalar", f"{value.name}_scalar_shape"
        onnx_graph.rename_tensors(model, {name: inner})
        value.name = name
        value.type.tensor_type.shape.dim.add().dim_value = 1
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([], dtype=np.int64), shape))
        model.graph.node.insert(0, onnx.helper.make_node("Reshape", [name, shape], [inner]))
    return tuple(value.name for value in scalars)


def _is_scalar(value: Any) -> bool:
    kind = value.type.tensor_type
    return value.type.HasField("tensor_type") and kind.HasField("shape") and not kind.shape.dim


def _free_empty_dimensions(model: OnnxModel) -> tuple[str, ...]:
    """Let dimensions of inputs and outputs that are declared 0 be free: a configuration cannot say 0.

    Returns:
        What was changed, for a person to read.
    """
    freed = []
    for value in (*model.graph.input, *model.graph.output):
        for place, size in enumerate(value.type.tensor_type.shape.dim):
            if size.HasField("dim_value") and size.dim_value == 0:
                size.dim_param = f"{value.name}_{place}"
                freed.append(value.name)
    return tuple(f"an empty dimension of '{name}' is free now, as Triton has no fixed empty ones" for name in freed)


# --- element types ---------------------------------------------------------------------------------------------------


def _cast_to_carried_types(model: OnnxModel) -> tuple[str, ...]:
    """Put a Cast behind inputs and before outputs of types that Triton's backend has not, as bfloat16.

    Returns:
        What was changed, for a person to read.
    """
    import onnx

    names = {number: name for name, number in onnx.TensorProto.DataType.items()}
    kept = {tensor.name for tensor in model.graph.initializer}
    foreign = [
        (value, value.type.tensor_type.elem_type)
        for value in (*model.graph.input, *model.graph.output)
        if value.name not in kept and value.type.tensor_type.elem_type in _CARRIED_AS
    ]
    notes = []
    for value, kind in foreign:
        name, role = value.name, "input" if value in list(model.graph.input) else "output"
        _cast(model, value, role, kind)
        carried = names[_CARRIED_AS[kind]].lower()
        notes.append(f"{role} '{name}' is {names[kind].lower()} in the model; Triton carries it as {carried}")
    return tuple(notes)


def _cast(model: OnnxModel, value: Any, role: str, kind: int) -> None:
    import onnx

    name, inner = value.name, f"{value.name}_as_it_was"
    onnx_graph.rename_tensors(model, {name: inner})
    value.name, value.type.tensor_type.elem_type = name, _CARRIED_AS[kind]
    if role == "input":
        model.graph.node.insert(0, onnx.helper.make_node("Cast", [name], [inner], to=kind))
    else:
        model.graph.node.append(onnx.helper.make_node("Cast", [inner], [name], to=_CARRIED_AS[kind]))


# --- opsets ----------------------------------------------------------------------------------------------------------


def _raise_opset(model: OnnxModel, source: Path) -> tuple[OnnxModel, tuple[str, ...]]:
    """The model with an ai.onnx opset that ONNX Runtime still has operators for, and what was changed.

    Raises:
        SourceError: onnx cannot convert it.
    """
    import onnx

    declared = _opset(model)
    if declared >= _OLDEST_OPSET or _session_if_any(source) is not None:
        return model, ()
    with refusing(
        f"the model is of opset {declared}, and ONNX Runtime starts at {_OLDEST_OPSET}",
        next_step="export the model again with a newer opset",
    ):
        raised = onnx.version_converter.convert_version(model, _RAISED_OPSET)
    raised.ir_version = max(raised.ir_version, _READ_BY_ALL_IR)  # before 4, weights had to be inputs too
    return raised, (f"opset raised from {declared}, which ONNX Runtime has no operators for, to {_RAISED_OPSET}",)


def _session_if_any(source: Path) -> Any:
    """None where ONNX Runtime does not load the file; of old operators it kept many."""
    try:
        return onnx_graph.open_session(source)
    except SourceError:
        return None


def _opset(model: OnnxModel) -> int:
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), _OLDEST_OPSET)
