# SPDX-License-Identifier: Apache-2.0
"""TorchScript for Triton's pytorch backend: names as its C++ code asks for them, shapes found by running."""

__all__ = ["read_script", "script_call", "trace"]

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers._torch_calls import Call, answers, resized, tensors
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, Tensors
from repo_tool.signature import FREE, ModelSignature, TensorSpec

_TRACE_TOLERANCE = 1e-4
_BATCHES = (1, 2, 3)
_LOST_BRANCHES = "forward looks at values or sizes; a traced module only has the branches that the sample took"


def script_call(script: Any) -> Call:
    """The script as a function of the arguments of ``forward`` that have no default.

    Raises:
        SourceError: an argument that is no tensor.
    """
    arguments = [known for known in script.forward.schema.arguments[1:] if not known.has_default_value()]
    for argument in arguments:
        if str(argument.type) != "Tensor":
            raise SourceError(
                f"argument '{argument.name}' of forward is {argument.type}, and Triton passes tensors only",
                next_step="script a module whose forward takes tensors",
            )
    return Call(function=script, inputs=tuple(argument.name for argument in arguments))


def trace(module: Any, call: Call, inputs: Tensors) -> tuple[Any, tuple[str, ...]]:
    """``module`` as TorchScript, held to the module itself on batches of 1, 2 and 3; and what tracing warned of.

    Raises:
        SourceError: it cannot be traced, or the trace holds for the traced rows only.
    """
    import torch

    rows = inputs if len(inputs[call.inputs[0]]) > 1 else resized(inputs, 2)
    next_step = "serve it as ONNX: leave --backend out"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        with refusing(f"torch.jit.trace fails on {type(module).__name__}", next_step=next_step):
            traced = torch.jit.trace(module, tensors(rows, call.inputs), check_trace=False)
    warned = any(issubclass(warning.category, torch.jit.TracerWarning) for warning in caught)
    traced_call = Call(function=traced, inputs=call.inputs)
    wrong = [count for count in _BATCHES if not _agree(call, traced_call, resized(inputs, count))]
    if wrong:
        raise SourceError(
            f"TorchScript made by tracing answers a batch of {wrong[0]} otherwise than the module itself",
            cause="forward depends on values or sizes, which tracing turns into constants",
            next_step="serve it as ONNX: leave --backend out; or save torch.jit.script(module) yourself",
        )
    return traced, (_LOST_BRANCHES,) if warned else ()


def _agree(module: Call, traced: Call, rows: Tensors) -> bool:
    """Whether both answer alike; a module that fails on so many rows has no answer to differ from."""
    try:
        expected = answers(module, rows)
    except SourceError:
        return True
    try:
        found = dict(answers(traced, rows))
    except SourceError:
        return False
    return all(
        found[name].shape == values.shape and np.allclose(found[name], values, atol=_TRACE_TOLERANCE)
        for name, values in expected
    )


def read_script(call: Call, rows: Tensors) -> ModelSignature:
    """The signature of a script, found by running it: a dimension is free when batches of 1 to 3 change it.

    Inputs keep the names of the arguments of ``forward``, outputs are ``OUTPUT__<i>``: ways of naming that Triton's
    C++ backend accepts.

    Raises:
        SourceError: it answers a dict, a nested structure, or a type that Triton has not.
    """
    found = _batches(call, rows)
    inputs = [
        _spec(_input_name(place, name), [batch[name] for batch, _ in found]) for place, name in enumerate(call.inputs)
    ]
    outputs = [_spec(name, [answer[name] for _, answer in found]) for name in found[0][1]]
    return ModelSignature(inputs=tuple(inputs), outputs=tuple(outputs))


def _input_name(place: int, argument: str) -> str:
    return argument if re.fullmatch(r"[A-Za-z_]\w*", argument) else f"INPUT__{place}"


def _by_index(found: list[tuple[str, Array]]) -> dict[str, Array]:
    wanted = ["output"] if len(found) == 1 else [f"output_{place}" for place in range(len(found))]
    if [name for name, _ in found] != wanted:
        raise SourceError(
            f"forward returns a structure with {', '.join(name for name, _ in found)}",
            cause="Triton's pytorch backend takes one tensor or a plain tuple of tensors",
            next_step="return a tuple, or serve the module as ONNX: package.module:factory without --backend",
        )
    return {f"OUTPUT__{place}": array for place, (_, array) in enumerate(found)}


def _batches(call: Call, rows: Tensors) -> Sequence[tuple[Tensors, Tensors]]:
    """Rows and the answers to them in several batch sizes; only ``rows`` when the script fails on any other."""
    found = [(rows, _by_index(answers(call, rows)))]
    with suppress(SourceError):
        more = [resized(rows, count) for count in _BATCHES]
        found += [(batch, _by_index(answers(call, batch))) for batch in more]
    return found


def _spec(name: str, found: Sequence[Array]) -> TensorSpec:
    sizes = zip(*(array.shape for array in found), strict=True)
    shape = tuple(FREE if len(set(size)) > 1 else size[0] for size in sizes)
    try:
        return TensorSpec(name=name, datatype=DataType.from_numpy(found[0].dtype), shape=shape)
    except KeyError as error:
        raise SourceError(
            f"'{name}' is of type {found[0].dtype}, which Triton has not", next_step="convert it inside forward"
        ) from error
