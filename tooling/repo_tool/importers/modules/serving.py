# SPDX-License-Identifier: Apache-2.0
"""What serves a PyTorch model: ONNX Runtime where the conversion is exact, TorchScript where it is not, and why."""

__all__ = ["SCRIPT_FILE", "Subject", "imported_script", "serve", "tried"]

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.modules import conversion, sizes, torch_script
from repo_tool.importers.modules.calls import Call, answers, computes_in
from repo_tool.importers.modules.conversion import Written
from repo_tool.importers.modules.sizes import Axes
from repo_tool.importers.rows import Rows
from repo_tool.importers.trials import Trial, batching, refuse_chance
from repo_tool.samples import Tensors
from repo_tool.signature import ModelSignature
from repo_tool.verification import ITSELF, Tolerance, disagreement

SCRIPT_FILE = "model.pt"
_LONGEST_REASON = 240
_AS_SCRIPT = "serve it with --backend pytorch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A PyTorch model that answers its rows; ``program`` where a person exported it himself."""

    framework: str  # the word for --framework
    call: Call
    rows: Rows
    program: Any = None
    notes: tuple[str, ...] = ()


def serve(subject: Subject, request: ImportRequest, folder: Path) -> ImportedModel:
    """The model with its artifact in ``folder``: by the backend asked for, or by ONNX Runtime if that is exact.

    Raises:
        SourceError: it cannot be converted, or its answers are not the same twice.
        ReleaseError: it needs a newer opset or IR version than allowed.
    """
    trial = tried(subject)
    if request.backend == "pytorch":
        return _as_script(subject, trial, folder)
    try:
        written, lost = _as_onnx(subject, trial, request, folder)
    except SourceError as error:
        if request.backend is not None:
            raise
        return _instead(error, subject, trial, folder)
    imported = _imported_onnx(subject, trial, written, lost)
    if not lost or request.backend is not None:
        return imported
    return _with_free_lengths(subject, trial, folder, lost) or imported


def tried(subject: Subject) -> Trial:
    """What the model answers to its rows.

    Raises:
        SourceError: it fails, or answers differently each time.
    """
    trial = Trial(rows=subject.rows, answers=answers(subject.call, subject.rows.inputs))
    refuse_chance(lambda inputs: answers(subject.call, inputs), trial)
    return trial


def _instead(refused: SourceError, subject: Subject, trial: Trial, folder: Path) -> ImportedModel:
    try:
        imported = _as_script(subject, trial, folder)
    except SourceError as error:
        raise SourceError(
            refused.fact, cause=f"{refused.cause}; as TorchScript: {error}", next_step=refused.next_step
        ) from error
    return replace(imported, fallback_reason=_reason(refused))


def _reason(refused: SourceError) -> str:
    """The fact, and the first line of what went wrong innermost: PyTorch's own layers wrap it in advice."""
    innermost: BaseException = refused
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    first = next((line.strip() for line in str(innermost).splitlines() if line.strip()), type(innermost).__name__)
    cause = refused.cause if innermost is refused else f"{type(innermost).__name__}: {first}"
    words = f"{refused.fact}: {cause}" if cause else refused.fact
    return words if len(words) <= _LONGEST_REASON else words[:_LONGEST_REASON] + " ..."


def _with_free_lengths(subject: Subject, trial: Trial, folder: Path, lost: Axes) -> ImportedModel | None:
    """TorchScript, where that keeps the lengths free that ONNX lost; else None and ``folder`` as it was."""
    with TemporaryDirectory(dir=folder) as scratch:
        try:
            imported = _as_script(subject, trial, Path(scratch))
        except SourceError:
            return None
        inputs = {spec.name: spec for spec in imported.signature.inputs}
        if any(inputs[name].shape[axis] != -1 for name, axis in lost if name in inputs):
            return None
        _replace_contents(folder, Path(scratch))
    reason = f"the ONNX form takes only one size of {_axes_words(lost)}"
    return replace(imported, artifact=folder / imported.artifact.name, fallback_reason=reason)


def _replace_contents(folder: Path, source: Path) -> None:
    for entry in folder.iterdir():
        if entry != source:
            entry.unlink()
    for entry in source.iterdir():
        entry.rename(folder / entry.name)


def _axes_words(axes: Axes) -> str:
    return ", ".join(f"dimension {axis} of '{name}'" for name, axis in sorted(axes))


# --- ONNX ------------------------------------------------------------------------------------------------------------


def _as_onnx(subject: Subject, trial: Trial, request: ImportRequest, folder: Path) -> tuple[Written, Axes]:
    """The first ONNX form that answers as the model does, and the lengths that the model leaves free and it does not.

    ``torch.export`` fixes a length that a loop runs over, as in an LSTM; PyTorch's older, tracing exporter does not,
    but it fixes what Python computes. So it comes second, and everything is held to the model on other sizes.
    """
    if subject.program is not None:
        return _proven(
            _write_program(subject, subject.program, request), subject.call, trial, folder, request
        ), frozenset()
    try:
        best = _exported(subject, trial, request, folder)
    except SourceError:
        freer = _traced_or_none(subject, trial, request, folder)
        if freer is None:
            raise
        return freer, _lost(subject.call, trial, freer.signature)
    lost = _lost(subject.call, trial, best.signature)
    return _freed(subject, trial, request, folder, lost) or (best, lost) if lost else (best, lost)


def _write_program(subject: Subject, program: Any, request: ImportRequest) -> Callable[[Path], Written]:
    return lambda into: conversion.write_onnx(program, subject.call, request, into)


def _exported(subject: Subject, trial: Trial, request: ImportRequest, folder: Path) -> Written:
    """By ``torch.export``, with as many free dimensions as it can prove; failing that, with those the model takes."""
    call, rows = subject.call, trial.rows.inputs

    def write(axes: Axes, into: Path) -> Written:
        program = conversion.export_module(call, rows, axes)
        free = conversion.free_axes_of(program, call)
        if free and sizes.of_other_sizes(call, rows, free) is None:
            raise _takes_one_size()
        return _write_program(subject, program, request)(into)

    every = sizes.axes_of(rows)
    try:
        return _proven(partial(write, every), call, trial, folder, request)
    except SourceError:
        _empty(folder)
    try:
        return _proven(partial(write, sizes.free_axes(call, rows, every)), call, trial, folder, request)
    except SourceError:
        _empty(folder)
        raise


def _takes_one_size() -> SourceError:
    return SourceError(
        "dimensions are free in the ONNX form in which the model takes one size only", next_step=_AS_SCRIPT
    )


def _traced_or_none(subject: Subject, trial: Trial, request: ImportRequest, folder: Path) -> Written | None:
    call, rows = subject.call, trial.rows.inputs
    axes = sizes.free_axes(call, rows, sizes.axes_of(rows))

    def write(into: Path) -> Written:
        return conversion.write_traced_onnx(call, rows, axes, request, into)

    try:
        return _proven(write, call, trial, folder, request)
    except SourceError:
        _empty(folder)
        return None


def _freed(
    subject: Subject, trial: Trial, request: ImportRequest, folder: Path, lost: Axes
) -> tuple[Written, Axes] | None:
    """The traced form in the place of the exported one, where it leaves free what that one lost."""
    with TemporaryDirectory(dir=folder) as scratch:
        freer = _traced_or_none(subject, trial, request, Path(scratch))
        if freer is None or lost & _lost(subject.call, trial, freer.signature):
            return None
        _replace_contents(folder, Path(scratch))
    return replace(freer, artifact=folder / freer.artifact.name), frozenset()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.unlink()


def _lost(call: Call, trial: Trial, signature: ModelSignature) -> Axes:
    """What the artifact fixes and the model does not; a single element, which may be meant so, counts as fixed."""
    fixed = [
        (spec.name, axis) for spec in signature.inputs for axis, size in enumerate(spec.shape) if axis and size > 1
    ]
    return sizes.free_axes(call, trial.rows.inputs, fixed)


def _proven(way: Callable[[Path], Written], call: Call, trial: Trial, folder: Path, request: ImportRequest) -> Written:
    tolerance = request.allowed.for_type(computes_in(call))
    written = way(folder)
    signature, notes = _batching(written.signature, call, trial)
    rows = sizes.proving_rows(call, trial.rows.inputs, signature, written.bounds)
    if rows is None:
        raise _takes_one_size()
    for each in rows:
        _require_equal(onnx_graph.run(written.session, each), answers(call, each), each, tolerance)
    return replace(written, signature=signature, notes=(*written.notes, *notes))


def _batching(signature: ModelSignature, call: Call, trial: Trial) -> tuple[ModelSignature, tuple[str, ...]]:
    tolerance = ITSELF.for_type(computes_in(call))
    return batching(signature, lambda inputs: answers(call, inputs), trial, tolerance=tolerance)


def _require_equal(found: Tensors, wanted: Tensors, rows: Tensors, tolerance: Tolerance) -> None:
    complaint = _other_type(found, wanted) or disagreement(found, wanted, tolerance=tolerance)
    if complaint:
        shapes = ", ".join(f"{given} {list(array.shape)}" for given, array in rows.items())
        raise SourceError(
            "ONNX Runtime answers otherwise than PyTorch",
            cause=f"{complaint} on {shapes}",
            next_step=_AS_SCRIPT,
        )


def _other_type(found: Tensors, wanted: Tensors) -> str:
    for name, values in wanted.items():
        if found[name].dtype != values.dtype:
            return f"output '{name}' is {found[name].dtype} instead of {values.dtype}"
    return ""


# --- TorchScript -----------------------------------------------------------------------------------------------------


def _as_script(subject: Subject, trial: Trial, folder: Path) -> ImportedModel:
    """The model as TorchScript in ``folder``.

    Raises:
        SourceError: it can neither be traced nor scripted.
    """
    import torch

    inputs = trial.rows.inputs
    axes = sizes.free_axes(subject.call, inputs, sizes.axes_of(inputs))
    made = torch_script.traced_script(subject.call, inputs, axes)
    torch.jit.save(made.script, folder / SCRIPT_FILE)
    notes = (*subject.notes, *made.notes)
    return imported_script(replace(subject, notes=notes), trial, made.axes, folder / SCRIPT_FILE)


def imported_script(subject: Subject, trial: Trial, axes: Axes, artifact: Path) -> ImportedModel:
    """The script at ``artifact`` as what it takes and gives, held to the rows of ``trial``.

    Raises:
        SourceError: it does not run, or answers a type that Triton has not.
    """
    import torch

    script = torch.jit.load(artifact, map_location="cpu").eval()
    call = Call(module=_as_tuples(script), inputs=subject.call.inputs, outputs=subject.call.outputs)
    found, names = torch_script.read_script(call, trial.rows.inputs, axes)
    signature, notes = _batching(found, subject.call, trial)
    given = (spec.name for spec in signature.inputs)
    return _imported(
        replace(subject, notes=(*subject.notes, *notes)),
        "pytorch",
        artifact,
        signature,
        inputs=dict(zip(given, (trial.rows.inputs[name] for name in call.inputs), strict=True)),
        reference={names[name]: trial.answers[name] for name in call.outputs},
    )


def _as_tuples(script: Any) -> Callable[..., Any]:
    def answered(*values: Any) -> Any:
        result = script(*values)
        return result if isinstance(result, tuple) else (result,)

    return answered


# --- what comes of it ------------------------------------------------------------------------------------------------


def _imported_onnx(subject: Subject, trial: Trial, written: Written, lost: Axes) -> ImportedModel:
    fixed = (f"the ONNX form takes only the sample's size of {_axes_words(lost)}",) if lost else ()
    return _imported(
        replace(subject, notes=(*subject.notes, *written.notes, *fixed)),
        "onnxruntime",
        written.artifact,
        written.signature,
        inputs=trial.rows.inputs,
        reference=trial.answers,
    )


def _imported(
    subject: Subject, backend: str, artifact: Path, signature: ModelSignature, *, inputs: Tensors, reference: Tensors
) -> ImportedModel:
    used = ("torch", "onnxscript", "onnxruntime") if backend == "onnxruntime" else ("torch",)
    return ImportedModel(
        framework=subject.framework,
        backend=backend,
        signature=signature,
        artifact=artifact,
        inputs=inputs,
        inputs_were_generated=subject.rows.generated,
        reference=reference,
        computes_in=computes_in(subject.call),
        own_backend="pytorch" if backend == "onnxruntime" else "",
        tool_versions={name: metadata.version(name) for name in used},
        notes=(*subject.notes, *_frozen(signature)),
    )


def _frozen(signature: ModelSignature) -> tuple[str, ...]:
    fixed = [
        f"'{spec.name}' {list(spec.shape)}"
        for spec in (*signature.inputs, *signature.outputs)
        if not spec.has_free_first_dimension
    ]
    if not fixed:
        return ()
    return (f"requests cannot be batched: the first dimension is fixed in {', '.join(fixed)}",)
