# SPDX-License-Identifier: Apache-2.0
"""A PyTorch model as a function of named arrays: what it takes, and its answers under stable names."""

__all__ = ["Call", "answers", "inputs_from_sample", "resized", "tensors"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, RawSample, Tensors
from repo_tool.signature import FREE, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Something to call with tensors in the order of ``inputs``."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]


def tensors(inputs: Tensors, names: Sequence[str]) -> tuple[Any, ...]:
    """Tensors over copies of the arrays, in the order of ``names``."""
    import torch

    return tuple(torch.from_numpy(np.array(inputs[name])) for name in names)


def answers(call: Call, inputs: Tensors) -> list[tuple[str, Array]]:
    """The model's answers as named arrays, in the order in which PyTorch flattens what ``forward`` returns.

    Raises:
        SourceError: it fails, or answers something else than tensors.
    """
    import torch

    shapes = ", ".join(f"{name} {list(inputs[name].shape)}" for name in call.inputs)
    next_step = "give rows the module was made for with --sample; answers must be tensors of a type NumPy has"
    with torch.inference_mode(), refusing(f"forward fails on {shapes}", next_step=next_step):
        result = call.function(*tensors(inputs, call.inputs))
        return [(name, tensor.numpy(force=True)) for name, tensor in _flattened(result)]


def _flattened(result: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(result, torch.Tensor):
        yield name or "output", result
    elif isinstance(result, Mapping):
        for key, value in result.items():
            yield from _flattened(value, f"{name}_{key}" if name else str(key))
    elif isinstance(result, list | tuple):
        fields = getattr(result, "_fields", None) or [f"{name or 'output'}_{place}" for place in range(len(result))]
        for field, value in zip(fields, result, strict=True):
            yield from _flattened(value, field)
    elif result is not None:
        raise SourceError(
            f"forward returns a {type(result).__name__}", next_step="return tensors, or a tuple or dict of tensors"
        )


def resized(inputs: Tensors, rows: int) -> dict[str, Array]:
    """The first ``rows`` rows, the last one repeated where there are fewer."""
    return {name: array[np.minimum(np.arange(rows), len(array) - 1)] for name, array in inputs.items()}


def inputs_from_sample(
    sample: RawSample | None, names: Sequence[str], *, optional: Sequence[str] = (), float_type: DataType
) -> tuple[TensorSpec, ...]:
    """What a module takes, told by a sample because the module itself does not know.

    The first dimension is taken for the batch. 64-bit floats, which NumPy makes by default, become ``float_type``.

    Raises:
        SampleError: there is no sample, it lacks an argument, or holds what a tensor cannot.
    """
    if sample is None:
        raise SampleError(
            "the model does not say what shapes its inputs have",
            cause=f"a PyTorch module only knows the names of its inputs: {', '.join(names)}",
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
    return tuple(_spec(sample, name, found[name], float_type) for name in taken)


def _named_arrays(sample: RawSample, names: Sequence[str]) -> Tensors:
    if sample.array is not None and len(names) == 1:
        return {names[0]: sample.array}
    if sample.columns and len(names) == 1 and names[0] not in sample.columns:
        return {names[0]: np.stack(list(sample.columns.values()), axis=1)}
    return sample.columns or sample.tensors


def _spec(sample: RawSample, name: str, array: Array, float_type: DataType) -> TensorSpec:
    if array.dtype.kind not in "biuf":
        raise SampleError(
            f"'{sample.origin}' holds {array.dtype} for input '{name}'",
            cause="PyTorch has no tensors of text",
            next_step="give the numbers that forward takes",
        )
    datatype = float_type if array.dtype == np.float64 else DataType.from_numpy(array.dtype)
    return TensorSpec(name=name, datatype=datatype, shape=(FREE, *array.shape[1:]) if array.ndim else ())
