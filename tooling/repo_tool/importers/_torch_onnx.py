# SPDX-License-Identifier: Apache-2.0
"""From an exported program or a module to ONNX, by PyTorch's own exporter."""

__all__ = ["export_module", "program_call", "program_inputs", "write_onnx"]

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers._torch_calls import Call, resized, tensors
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Tensors
from repo_tool.signature import FREE, ModelSignature, TensorSpec

_OPSET = 18  # the exporter's own; every ONNX Runtime since 1.14 loads it
_TRACEABLE = "forward may not branch on values; or serve it as TorchScript: --backend pytorch"


def export_module(module: Any, call: Call, inputs: Tensors) -> Any:
    """The exported program of ``module``, with a free first dimension wherever ``forward`` allows one.

    Raises:
        SourceError: PyTorch cannot trace it.
    """
    with refusing(f"torch.export cannot trace {type(module).__name__}", next_step=_TRACEABLE):
        try:
            return _exported(module, call, resized(inputs, 2) if _has_one_row(inputs) else inputs)
        except (RuntimeError, ValueError):
            if not _has_one_row(inputs):
                raise
            return _exported(module, call, inputs)  # made for exactly one row


def _has_one_row(inputs: Tensors) -> bool:
    return all(array.ndim > 0 and len(array) == 1 for array in inputs.values())


def _exported(module: Any, call: Call, inputs: Tensors) -> Any:
    import torch

    # One row would be taken for a constant; AUTO fixes a dimension that forward depends on instead of failing.
    free = {name: {0: torch.export.Dim.AUTO} if inputs[name].ndim else {} for name in call.inputs}
    values = dict(zip(call.inputs, tensors(inputs, call.inputs), strict=True))
    return torch.export.export(module, (), values, dynamic_shapes=free)


def program_call(program: Any) -> Call:
    """The exported program as a function of its user inputs in flattened order."""
    from torch.utils import _pytree

    module = program.module()

    def function(*values: Any) -> Any:
        positional, keywords = _pytree.tree_unflatten(list(values), program.call_spec.in_spec)
        return module(*positional, **keywords)

    return Call(function=function, inputs=tuple(str(name) for name in program.graph_signature.user_inputs))


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
        if not isinstance(value, torch.Tensor) or value.dtype not in _datatypes():
            raise SourceError(
                f"input '{name}' of the exported program is {getattr(value, 'dtype', type(value).__name__)}",
                next_step="export it with inputs that are tensors of numbers or booleans",
            )
        datatype = _datatypes()[value.dtype]
        shape = tuple(size if isinstance(size, int) else FREE for size in value.shape)
        sizes = tuple(_size(size) for size in value.shape)
        free.append(TensorSpec(name=name, datatype=datatype, shape=shape))
        exported.append(TensorSpec(name=name, datatype=datatype, shape=(*shape[:1], *sizes[1:])))
    return tuple(free), tuple(exported)


def _size(size: Any) -> int:
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return FREE if hint is None else int(hint)


def _datatypes() -> dict[Any, DataType]:
    import torch

    return {
        torch.bool: DataType.BOOL,
        torch.uint8: DataType.UINT8,
        torch.int8: DataType.INT8,
        torch.int16: DataType.INT16,
        torch.int32: DataType.INT32,
        torch.int64: DataType.INT64,
        torch.float16: DataType.FP16,
        torch.float32: DataType.FP32,
        torch.float64: DataType.FP64,
    }


def write_onnx(
    program: Any, outputs: Sequence[str], request: ImportRequest, folder: Path
) -> tuple[Path, ModelSignature, tuple[str, ...]]:
    """Write the program as ``model.onnx`` with outputs named ``outputs``; its signature read back, and notes.

    Raises:
        SourceError: an operator has no ONNX form.
        ReleaseError: it needs a newer opset or IR version than allowed.
    """
    import torch

    with refusing("PyTorch's exporter has no ONNX form for the model", next_step="serve it with --backend pytorch"):
        exported = torch.onnx.export(program, opset_version=min(_OPSET, request.max_opset), verbose=False)
        model = exported.model_proto
    _fix_written_out_sizes(model)
    _name_tensors(model, [str(name) for name in program.graph_signature.user_inputs], outputs)
    notes = onnx_graph.fit_release(model, request)
    artifact = onnx_graph.write(model, folder)
    return artifact, onnx_graph.read_signature(onnx_graph.open_session(artifact), model), notes


def _fix_written_out_sizes(model: Any) -> None:
    """A dimension that forward froze is written as a free one called by its size, such as "2"; make it that size."""
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param.isdigit():
                dimension.dim_value = int(dimension.dim_param)


def _name_tensors(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """The exporter renames inputs that are also answers, and calls outputs after the operators that made them."""
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
