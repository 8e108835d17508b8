# SPDX-License-Identifier: Apache-2.0
"""TorchScript for Triton's pytorch backend: names as its C++ code asks for them, shapes found by running."""

__all__ = ["read_script", "script_arguments", "served_script", "traced_script"]

import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers.foreign import refusing
from repo_tool.importers.modules.calls import Call, answers, call_of, resized, tensors
from repo_tool.importers.modules.sizes import every_other_size, of_other_sizes, takes
from repo_tool.samples import Array, Tensors
from repo_tool.signature import FREE, ModelSignature, TensorSpec
from repo_tool.verification import disagreement

_BATCHES = (1, 2, 3)
_LOST_BRANCHES = "forward looks at values or sizes; a traced module only has the branches that the sample took"
_WRAPPED = "the script answers a structure; it was wrapped to answer a plain tuple, which Triton's backend takes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """TorchScript that answers as the model does, over the dimensions that it holds for."""

    script: Any
    axes: frozenset[tuple[str, int]]  # those behind the first that may change
    notes: tuple[str, ...] = ()


def script_arguments(script: Any) -> tuple[str, ...]:
    """The arguments of ``forward`` that have no default.

    Raises:
        SourceError: one that is no tensor.
    """
    arguments = [known for known in script.forward.schema.arguments[1:] if not known.has_default_value()]
    for argument in arguments:
        if str(argument.type) != "Tensor":
            raise SourceError(
                f"argument '{argument.name}' of forward is {argument.type}, and Triton passes tensors only",
                next_step="script a module whose forward takes tensors",
            )
    return tuple(argument.name for argument in arguments)


def served_script(script: Any, call: Call, inputs: Tensors) -> tuple[Any, tuple[str, ...]]:
    """The script itself where it answers a tensor or a plain tuple of tensors; else one around it that does.

    Raises:
        SourceError: it cannot be wrapped.
    """
    import torch

    with torch.inference_mode():
        result = script(*tensors(inputs, call.inputs))
    plain = isinstance(result, torch.Tensor) or (
        isinstance(result, tuple) and all(isinstance(value, torch.Tensor) for value in result)
    )
    return (script, ()) if plain else (_traced(call, inputs)[0], (_WRAPPED,))


# --- from a module ---------------------------------------------------------------------------------------------------


def traced_script(call: Call, inputs: Tensors, axes: Collection[tuple[str, int]]) -> Script:
    """The module as TorchScript, held to the module itself on batches of 1, 2 and 3 and on other sizes in ``axes``.

    Where a trace does not hold, because ``forward`` loops or branches, the module is scripted.

    Raises:
        SourceError: neither works, or the trace holds for the traced rows only.
    """
    try:
        traced = _held_to(call, *_traced(call, inputs), inputs, axes)
    except SourceError as error:
        scripted = _scripted_or_none(call, inputs, axes)
        if scripted is None:
            raise error from error.__cause__
        return scripted
    if not traced.notes:
        return traced
    return _scripted_or_none(call, inputs, axes) or traced  # a script keeps all the branches


def _traced(call: Call, inputs: Tensors) -> tuple[Any, tuple[str, ...]]:
    import torch

    count = len(inputs[call.inputs[0]]) if inputs[call.inputs[0]].ndim else 2
    rows = inputs if count > 1 or not takes(call, resized(inputs, 2)) else resized(inputs, 2)
    next_step = "serve it as ONNX: leave --backend out"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        with refusing("torch.jit.trace fails on the module", next_step=next_step), torch.no_grad():
            traced = torch.jit.trace(call.module, tensors(rows, call.inputs), check_trace=False)
    own = str(Path(torch.__file__).parent)  # PyTorch's layers check sizes, and are right in all of them
    warned = [
        warning
        for warning in caught
        if issubclass(warning.category, torch.jit.TracerWarning) and not warning.filename.startswith(own)
    ]
    return traced, (_LOST_BRANCHES,) if warned else ()


def _scripted_or_none(call: Call, inputs: Tensors, axes: Collection[tuple[str, int]]) -> Script | None:
    """The module scripted, inside a trace that names its inputs and flattens its answers."""
    import torch

    try:
        with refusing("torch.jit.script fails on the module", next_step=""), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scripted = torch.jit.script(call.module.module)
        inner = call_of(
            scripted, lambda *values: scripted(**dict(zip(call.inputs, values, strict=True))), call.inputs, inputs
        )
        return _held_to(call, *_traced(inner, inputs), inputs, axes)
    except SourceError:
        return None


def _held_to(
    call: Call, script: Any, notes: tuple[str, ...], inputs: Tensors, axes: Collection[tuple[str, int]]
) -> Script:
    found = Call(module=script, inputs=call.inputs, outputs=call.outputs)
    _refuse_other_answers(call, found, inputs, has_branches=bool(notes))
    if axes and not all(_agree(call, found, longer) for longer in every_other_size(call, inputs, axes)):
        sizes = ", ".join(f"{name} {list(inputs[name].shape)}" for name in call.inputs)
        return Script(
            script=script, axes=frozenset(), notes=(*notes, f"it only takes the sizes of the sample: {sizes}")
        )
    return Script(script=script, axes=frozenset(axes), notes=notes)


def _refuse_other_answers(call: Call, script: Call, inputs: Tensors, *, has_branches: bool) -> None:
    rows: dict[str, Tensors] = {f"a batch of {count}": resized(inputs, count) for count in _BATCHES}
    if has_branches:
        rows |= {f"{what} values": others for what, others in _other_values(inputs)}
    wrong = [what for what, each in rows.items() if not _agree(call, script, each)]
    if wrong:
        raise SourceError(
            f"TorchScript made by tracing answers {wrong[0]} otherwise than the module itself",
            cause="forward depends on values or sizes, which tracing turns into constants",
            next_step="serve it as ONNX: leave --backend out; or save torch.jit.script(module) yourself",
        )


def _other_values(inputs: Tensors) -> Iterator[tuple[str, Tensors]]:
    """Values that take other branches; of whole numbers only some that the module was given, for they may be names."""
    yield "negated", {name: -array if array.dtype.kind == "f" else array for name, array in inputs.items()}
    yield "large", {name: array * 100 if array.dtype.kind == "f" else array for name, array in inputs.items()}
    yield "zero", {name: array * 0 if array.dtype.kind == "f" else array for name, array in inputs.items()}
    yield "equal", {name: np.full_like(array, array.flat[0]) for name, array in inputs.items()}
    yield "inverted", {name: ~array if array.dtype.kind == "b" else array for name, array in inputs.items()}


def _agree(module: Call, script: Call, rows: Tensors) -> bool:
    """Whether both answer alike; a module that fails on so many rows has no answer to differ from."""
    try:
        expected = answers(module, rows)
    except SourceError:
        return True
    try:
        found = answers(script, rows)
    except (SourceError, ValueError):
        return False
    return not disagreement(found, expected)


# --- its signature ---------------------------------------------------------------------------------------------------


def read_script(
    call: Call, rows: Tensors, axes: Collection[tuple[str, int]]
) -> tuple[ModelSignature, Mapping[str, str]]:
    """The signature of a script, found by running it, and the served name of each output of ``call``.

    A dimension is free when batches of 1 to 3, or other sizes in ``axes``, change it. Inputs keep the names of the
    arguments of ``forward``; outputs are ``OUTPUT__<i>``, or ``<name>__<i>`` where the model names them: ways of naming
    that Triton's C++ backend accepts.

    Raises:
        SourceError: it answers a type that Triton has not.
    """
    found = _runs(call, rows, axes)
    names = {name: _output_name(place, name) for place, name in enumerate(call.outputs)}
    inputs = [
        _spec(_input_name(place, name), [batch[name] for batch, _ in found]) for place, name in enumerate(call.inputs)
    ]
    outputs = [_spec(names[name], [answer[name] for _, answer in found]) for name in call.outputs]
    return ModelSignature(inputs=tuple(inputs), outputs=tuple(outputs)), names


def _input_name(place: int, argument: str) -> str:
    return argument if re.fullmatch(r"[A-Za-z_]\w*", argument) else f"INPUT__{place}"


def _output_name(place: int, name: str) -> str:
    named = re.sub(r"\W+|_{2,}", "_", name).strip("_")
    return f"OUTPUT__{place}" if not named or re.fullmatch(r"output(_\d+)?", named) else f"{named}__{place}"


def _runs(call: Call, rows: Tensors, axes: Collection[tuple[str, int]]) -> Sequence[tuple[Tensors, Tensors]]:
    """Rows and the answers to them in several sizes; only ``rows`` when the script fails on any other count."""
    others: list[Tensors] = [resized(rows, count) for count in _BATCHES]
    if not all(takes(call, other) for other in others):
        others = []
    longer = of_other_sizes(call, rows, axes) if axes else None
    found = [rows, *others, *([] if longer is None else [longer])]
    return [(each, answers(call, each)) for each in found]


def _spec(name: str, found: Sequence[Array]) -> TensorSpec:
    sizes = zip(*(array.shape for array in found), strict=True)
    shape = tuple(FREE if len(set(size)) > 1 else size[0] for size in sizes)
    try:
        return TensorSpec(name=name, datatype=DataType.from_numpy(found[0].dtype), shape=shape)
    except KeyError as error:
        raise SourceError(
            f"'{name}' is of type {found[0].dtype}, which Triton has not", next_step="convert it inside forward"
        ) from error
