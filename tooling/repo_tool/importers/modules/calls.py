# SPDX-License-Identifier: Apache-2.0
"""A PyTorch model as a function of named arrays: what it takes, and its answers under stable names."""

__all__ = ["Call", "answers", "call_of", "computes_in", "inputs_from_sample", "resized", "stretched", "tensors"]

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, RawSample, Tensors
from repo_tool.signature import FREE, TensorSpec

_COARSE = {"torch.bfloat16": DataType.BF16, "torch.float16": DataType.FP16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A module that takes tensors in the order of ``inputs`` and answers a plain tuple in the order of ``outputs``."""

    module: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def call_of(module: Any, function: Callable[..., Any], inputs: Sequence[str], rows: Tensors) -> Call:
    """``function`` over ``module``'s parameters as a module of tensors in and tensors out; run once to name them.

    Dicts, dataclasses, tuples and what they nest are flattened: ``{"box": (a, b)}`` is ``box_0`` and ``box_1``.

    Raises:
        SourceError: it fails, or answers something else than tensors, or none.
    """
    found = [name for name, _ in _run(function, inputs, rows)]
    if not found:
        raise SourceError(
            "forward returns no tensor",
            cause="Triton serves models with at least one output",
            next_step="return tensors, or a tuple or dict of tensors",
        )
    return Call(module=_flat_module(module, function, inputs), inputs=tuple(inputs), outputs=_distinct(found, inputs))


def computes_in(call: Call) -> DataType | None:
    """The coarsest type of its floating-point weights, where that is coarser than 32 bits."""
    kinds = {str(tensor.dtype) for tensor in call.module.parameters()}
    return next((datatype for name, datatype in _COARSE.items() if name in kinds), None)


def _distinct(names: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """Each name once, and none that an input has: ONNX names the tensors of a graph once."""
    seen, distinct = set(taken), []
    for name in names:
        free, number = f"{name}_output" if name in taken else name, 2
        while free in seen:
            free, number = f"{name}_{number}", number + 1
        seen.add(free)
        distinct.append(free)
    return tuple(distinct)


def _flat_module(module: Any, function: Callable[..., Any], inputs: Sequence[str]) -> Any:
    import torch

    def forward(*values: Any) -> Any:
        return tuple(tensor for _, tensor in _flattened(function(*values)))

    flat = torch.nn.Module()
    flat.module = module  # whose parameters are exported
    flat.forward = _with_names(forward, inputs)
    flat.training = False  # not eval(), which an exported program's module refuses
    return flat


def _with_names(forward: Callable[..., Any], inputs: Sequence[str]) -> Callable[..., Any]:
    names = [name if name.isidentifier() else f"input_{place}" for place, name in enumerate(inputs)]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect looks for it
    return forward


def tensors(inputs: Tensors, names: Sequence[str]) -> tuple[Any, ...]:
    """Tensors over copies of the arrays, in the order of ``names``."""
    import torch

    return tuple(torch.from_numpy(np.array(inputs[name])) for name in names)


def answers(call: Call, inputs: Tensors) -> dict[str, Array]:
    """The model's answers by output name.

    Raises:
        SourceError: it fails.
    """
    found = _run(call.module, call.inputs, inputs)
    return {name: array for name, (_, array) in zip(call.outputs, found, strict=True)}


def _run(function: Callable[..., Any], names: Sequence[str], inputs: Tensors) -> list[tuple[str, Array]]:
    import torch

    shapes = ", ".join(f"{name} {list(inputs[name].shape)}" for name in names)
    next_step = "give rows the module was made for with --sample; answers must be tensors of a type NumPy has"
    with torch.inference_mode(), refusing(f"forward fails on {shapes}", next_step=next_step):
        result = function(*tensors(inputs, names))
        return [(name, _array(name, tensor)) for name, tensor in _flattened(result)]


def _array(name: str, tensor: Any) -> Array:
    import torch

    if tensor.dtype is torch.bfloat16:
        raise SourceError(
            f"forward returns '{name}' as bfloat16",
            cause="neither NumPy nor Triton's pytorch backend has that type",
            next_step="return it as another one: tensor.float()",
        )
    array: Array = tensor.numpy(force=True)
    return array


def _flattened(result: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(result, torch.Tensor):
        yield name or "output", result
    elif result is not None:
        for key, value in _members(result, root=not name):
            yield from _flattened(value, f"{name}_{key}" if name else key)


def _members(result: Any, *, root: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(result, Mapping):
        yield from ((str(key), value) for key, value in result.items())
    elif dataclasses.is_dataclass(result):
        yield from ((field.name, getattr(result, field.name)) for field in dataclasses.fields(result))
    elif isinstance(result, list | tuple):
        places = [f"output_{place}" if root else str(place) for place in range(len(result))]
        yield from zip(getattr(result, "_fields", places), result, strict=True)
    else:
        raise SourceError(
            f"forward returns a {type(result).__name__}", next_step="return tensors, or a tuple or dict of tensors"
        )


# --- other sizes -----------------------------------------------------------------------------------------------------


def resized(inputs: Tensors, rows: int) -> dict[str, Array]:
    """The first ``rows`` rows, the last one repeated where there are fewer."""
    return {
        name: array[np.minimum(np.arange(rows), len(array) - 1)] if array.ndim else array
        for name, array in inputs.items()
    }


def stretched(inputs: Tensors, sizes: Mapping[tuple[str, int], int]) -> dict[str, Array]:
    """The same rows with other sizes at some ``(input, axis)``, values repeated from the start."""
    result = dict(inputs)
    for (name, axis), size in sizes.items():
        result[name] = np.take(result[name], np.arange(size) % result[name].shape[axis], axis=axis)
    return result


# --- what a sample tells ---------------------------------------------------------------------------------------------


def inputs_from_sample(
    sample: RawSample | None, names: Sequence[str], *, optional: Sequence[str] = (), float_type: DataType | None
) -> tuple[TensorSpec, ...]:
    """What a module takes, told by a sample because the module itself does not know.

    The first dimension is taken for the batch, unless the arrays differ in it. Floats become ``float_type``; where
    that is None, only those of 64 bits, which NumPy makes by default, become 32-bit ones.

    Raises:
        SampleError: there is no sample, it lacks an argument, or holds what a tensor cannot.
    """
    if sample is None:
        raise SampleError(
            "the model does not say what shapes its inputs have",
            cause=f"a PyTorch module only knows the names of its inputs: {', '.join(names) or 'any'}",
            next_step="give rows with --sample FILE.npz, an array of each name; the first dimension is the batch",
        )
    found = _named_arrays(sample, names)
    taken = [*names, *(name for name in optional if name in found)]
    missing = [name for name in taken if name not in found]
    if missing:
        raise SampleError(
            f"'{sample.origin}' lacks {', '.join(missing)}",
            cause=f"forward takes {', '.join(taken)}; the file has {', '.join(found)}",
            next_step="save an array under each name: np.savez('sample.npz', name=array)",
        )
    counts = {found[name].shape[0] for name in taken if found[name].ndim}
    return tuple(_spec(sample, name, found[name], float_type, rows=len(counts) == 1) for name in taken)


def _named_arrays(sample: RawSample, names: Sequence[str]) -> Tensors:
    if sample.array is not None and len(names) == 1:
        return {names[0]: sample.array}
    if sample.columns and len(names) == 1 and names[0] not in sample.columns:
        return {names[0]: np.stack(list(sample.columns.values()), axis=1)}
    return sample.columns or sample.tensors


def _spec(sample: RawSample, name: str, array: Array, float_type: DataType | None, *, rows: bool) -> TensorSpec:
    if array.dtype.kind not in "biuf":
        raise SampleError(
            f"'{sample.origin}' holds {array.dtype} for input '{name}'",
            cause="PyTorch has no tensors of text",
            next_step="give the numbers that forward takes",
        )
    datatype = DataType.from_numpy(array.dtype)
    if datatype.is_float:
        datatype = float_type or (DataType.FP32 if datatype is DataType.FP64 else datatype)
    shape = (FREE, *array.shape[1:]) if rows and array.ndim else array.shape
    return TensorSpec(name=name, datatype=datatype, shape=shape)
