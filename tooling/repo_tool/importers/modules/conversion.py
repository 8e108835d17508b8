# SPDX-License-Identifier: Apache-2.0
"""From an exported program or a module to ONNX, by PyTorch's own exporters."""

__all__ = [
    "Written",
    "export_module",
    "free_axes_of",
    "program_call",
    "program_inputs",
    "write_onnx",
    "write_traced_onnx",
]

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.importers.modules.calls import Call, call_of, resized, tensors
from repo_tool.importers.modules.sizes import Axes, Bounds
from repo_tool.samples import Tensors
from repo_tool.signature import FREE, ModelSignature, TensorSpec

_OPSET = 18  # the exporter's own; every ONNX Runtime since 1.14 loads it
_UNTRACEABLE = "torch.export cannot trace the module"
_NO_ONNX = "PyTorch's exporter has no ONNX form for the model"
_TRACEABLE = "forward may not branch on values; or serve it as TorchScript: --backend pytorch"
_SERVE_AS_SCRIPT = "serve it with --backend pytorch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An ONNX file, its session, its signature read back, notes, and the sizes that tracing held the module for."""

    artifact: Path
    session: Any
    signature: ModelSignature
    notes: tuple[str, ...]
    bounds: Bounds = field(default_factory=dict)


# --- exporting -------------------------------------------------------------------------------------------------------


def export_module(call: Call, inputs: Tensors, axes: Axes) -> Any:
    """The exported program of a module; the first dimensions and ``axes`` are free wherever ``forward`` allows it.

    Raises:
        SourceError: PyTorch cannot trace it.
    """
    with refusing(_UNTRACEABLE, next_step=_TRACEABLE):
        try:
            return _exported(call, resized(inputs, 2) if _has_one_row(inputs) else inputs, axes)
        except (RuntimeError, ValueError):
            if not _has_one_row(inputs):
                raise
            return _exported(call, inputs, axes)  # made for exactly one row


def _has_one_row(inputs: Tensors) -> bool:
    return all(array.ndim > 0 and len(array) == 1 for array in inputs.values())


def _exported(call: Call, inputs: Tensors, axes: Axes) -> Any:
    import torch

    # One row would be taken for a constant; AUTO fixes a dimension that forward depends on instead of failing.
    auto = torch.export.Dim.AUTO
    free = tuple(
        {axis: auto for axis in range(inputs[name].ndim) if axis == 0 or (name, axis) in axes} for name in call.inputs
    )
    return torch.export.export(call.module, tensors(inputs, call.inputs), dynamic_shapes=free)


def free_axes_of(program: Any, call: Call) -> Axes:
    """The dimensions behind the first that an exported program leaves free."""
    free, _ = program_inputs(program)
    return frozenset(
        (name, axis)
        for name, spec in zip(call.inputs, free, strict=True)
        for axis, size in enumerate(spec.shape)
        if axis and size == FREE
    )


# --- exported programs -----------------------------------------------------------------------------------------------


def program_call(program: Any, inputs: Tensors) -> Call:
    """The exported program as a function of its user inputs in flattened order.

    Raises:
        SourceError: it fails on ``inputs``, or answers something else than tensors.
    """
    from torch.utils import _pytree

    module = program.module()

    def function(*values: Any) -> Any:
        positional, keywords = _pytree.tree_unflatten(list(values), program.call_spec.in_spec)
        return module(*positional, **keywords)

    return call_of(module, function, [str(name) for name in program.graph_signature.user_inputs], inputs)


def program_inputs(program: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What the program takes; and the same with every dimension but the first at the size it was exported with.

    Raises:
        SourceError: an input that is no tensor, or of a type that Triton has not.
    """
    import torch

    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    free, exported = [], []
    for name in program.graph_signature.user_inputs:
        value = values.get(name)
        datatype = _datatype(value.dtype) if isinstance(value, torch.Tensor) else None
        if value is None or datatype is None:
            raise SourceError(
                f"input '{name}' of the exported program is {getattr(value, 'dtype', type(value).__name__)}",
                next_step="export it with inputs that are tensors of numbers or booleans",
            )
        shape = tuple(size if isinstance(size, int) else FREE for size in value.shape)
        sizes = tuple(_size(size) for size in value.shape)
        free.append(TensorSpec(name=name, datatype=datatype, shape=shape))
        exported.append(TensorSpec(name=name, datatype=datatype, shape=(*shape[:1], *sizes[1:])))
    return tuple(free), tuple(exported)


def _bounds_of(program: Any, call: Call) -> Bounds:
    """Which sizes of the free dimensions take the branches of ``forward`` that were traced."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    found = {}
    for name, given in zip(call.inputs, program.graph_signature.user_inputs, strict=True):
        for axis, size in enumerate(values[given].shape):
            held = None if isinstance(size, int) else program.range_constraints.get(size.node.expr)
            if held is not None:
                found[name, axis] = (int(held.lower), int(held.upper) if held.upper.is_Integer else None)
    return found


def _size(size: Any) -> int:
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return FREE if hint is None else int(hint)


def _datatype(dtype: Any) -> DataType | None:
    """PyTorch calls its types as NumPy does; None for those that Triton or NumPy has not."""
    try:
        return DataType.from_numpy(np.dtype(str(dtype).removeprefix("torch.")))
    except (KeyError, TypeError):
        return None


# --- writing ---------------------------------------------------------------------------------------------------------


def write_onnx(program: Any, call: Call, request: ImportRequest, folder: Path) -> Written:
    """Write the program as ``model.onnx`` with the inputs and outputs named as those of ``call``.

    Raises:
        SourceError: an operator has no ONNX form.
        ReleaseError: it needs a newer opset or IR version than allowed.
    """
    import torch

    with refusing(_NO_ONNX, next_step=_SERVE_AS_SCRIPT):
        exported = torch.onnx.export(program, opset_version=min(_OPSET, request.max_opset), verbose=False)
        model = exported.model_proto
    _fix_written_out_sizes(model)
    _name_tensors(model, call.inputs, call.outputs)
    return replace(_write(model, request, folder), bounds=_bounds_of(program, call))


def write_traced_onnx(call: Call, inputs: Tensors, axes: Axes, request: ImportRequest, folder: Path) -> Written:
    """Write ``model.onnx`` by the exporter that traces: it keeps lengths free that ``torch.export`` fixes.

    A loop over a sequence inside an LSTM is one operator to it, as it is to ONNX. Of branches on values or sizes a
    trace keeps one: what tracing warns of is a refusal.

    Raises:
        SourceError: an operator has no ONNX form, or a branch may be lost.
        ReleaseError: it needs a newer opset or IR version than allowed.
    """
    import onnx

    rows = resized(inputs, 2)
    free = {name: {0: "rows"} if rows[name].ndim else {} for name in call.inputs}
    for name, axis in sorted(axes):
        free[name][axis] = f"size_{rows[name].shape[axis]}_{axis}"
    with refusing(_NO_ONNX, next_step=_SERVE_AS_SCRIPT):
        model = onnx.load_from_string(_traced(call, rows, free, opset=min(_OPSET, request.max_opset)))
    _name_tensors(model, call.inputs, call.outputs)
    return _write(model, request, folder)


def _traced(call: Call, rows: Tensors, free: Mapping[str, Mapping[int, str]], *, opset: int) -> bytes:
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"torch\.")  # its own checks
        torch.onnx.export(
            call.module,
            tensors(rows, call.inputs),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=[f"given_{place}" for place in range(len(call.inputs))],
            output_names=[f"answered_{place}" for place in range(len(call.outputs))],
            dynamic_axes={f"given_{place}": free[name] for place, name in enumerate(call.inputs)},
        )
    return file.getvalue()


def _write(model: Any, request: ImportRequest, folder: Path) -> Written:
    notes = onnx_graph.fit_release(model, request)
    artifact = onnx_graph.write(model, folder)
    session = onnx_graph.open_session(artifact)
    signature = onnx_graph.read_signature(session, model)
    return Written(artifact=artifact, session=session, signature=signature, notes=notes)


def _fix_written_out_sizes(model: Any) -> None:
    """A dimension that forward froze is written as a free one called by its size, such as "2"; make it that size."""
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param.isdigit():
                dimension.dim_value = int(dimension.dim_param)


def _name_tensors(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """The exporters rename inputs that are also answers, and call outputs after the operators that made them."""
    gives = [output.name for output in model.graph.output]
    takes = [value.name for value in model.graph.input]
    if len(gives) != len(outputs) or len(takes) != len(inputs):
        raise SourceError(
            f"forward takes {', '.join(inputs)} and returns {', '.join(outputs)}; "
            f"the ONNX graph takes {', '.join(takes)} and returns {', '.join(gives)}",
            cause="PyTorch's exporter left some out",
            next_step="take and return tensors that are used, or serve it with --backend pytorch",
        )
    names = zip((*takes, *gives), (*inputs, *outputs), strict=True)
    onnx_graph.rename_tensors(model, dict(names))
