# SPDX-License-Identifier: Apache-2.0
"""ONNX's own evaluator: what answers where ONNX Runtime does not, and what a rewritten graph is held to."""

__all__ = ["Evaluated", "evaluate", "serve"]

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.foreign import refusing
from repo_tool.importers.graphs import mending
from repo_tool.importers.graphs.files import OnnxFile, publish
from repo_tool.importers.graphs.opsets import newest_known
from repo_tool.importers.trials import Trial, batching, refuse_chance, try_rows
from repo_tool.samples import Array, RawSample, Tensors, as_bytes
from repo_tool.signature import FREE, ModelSignature, TensorSpec

_RUNNER = Path(__file__).with_name("served_onnx.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A graph in its folder, written so that Triton can carry its tensors, and what the evaluator answers by it."""

    artifact: Path
    signature: ModelSignature
    trial: Trial
    notes: tuple[str, ...]


def evaluate(file: OnnxFile, sample: RawSample | None, folder: Path) -> Evaluated:
    """Write the graph into ``folder`` and let the evaluator answer the rows.

    Raises:
        SourceError: it is not valid, has an operator that the evaluator has not, or answers otherwise each time.
        SampleError: the rows do not fit.
    """
    model = file.model
    _refuse_unknown_opset(model)
    carried = mending.carry(model)
    artifact = publish(file, model if carried.notes else None, folder)
    silent = mending.outputs_without_rank(model)
    if not silent:
        onnx_graph.check(artifact, file.path.name)
    evaluator = _open(artifact)
    inputs = _specs("input", model.graph.input, model)
    answer = partial(_run, evaluator, model)
    trial = try_rows(mending.with_vectors(sample, carried.scalars), inputs, answer)
    refuse_chance(answer, trial)
    if silent:
        mending.write_ranks(model, {name: (FREE,) * trial.answers[name].ndim for name in silent})
        artifact = publish(file, model, folder)
        onnx_graph.check(artifact, file.path.name)
    found = ModelSignature(inputs=inputs, outputs=_outputs(model, trial.answers))
    signature, notes = batching(found, answer, trial)
    return Evaluated(artifact=artifact, signature=signature, trial=trial, notes=(*carried.notes, *notes))


def serve(folder: Path) -> Path:
    """Put what answers with the evaluator beside the graph in ``folder``: the artifact."""
    artifact = folder / "model.py"
    shutil.copyfile(_RUNNER, artifact)
    return artifact


def _refuse_unknown_opset(model: Any) -> None:
    """Of a later opset than it knows, the evaluator would answer with the operators of its own last one."""
    for entry in model.opset_import:
        most = newest_known("" if entry.domain == "ai.onnx" else entry.domain)
        if most and entry.version > most:
            raise SourceError(
                f"the model is of opset {entry.version} of {entry.domain or 'ai.onnx'}",
                cause=f"the installed onnx knows up to {most}",
                next_step="install a newer onnx, or export the model again with an older opset",
            )


def _open(path: Path) -> Any:
    import onnx
    from onnx.reference import ReferenceEvaluator

    with refusing("ONNX's evaluator does not load the model", next_step="check the model with onnx.checker"):
        return ReferenceEvaluator(onnx.load_model(path))


def _run(evaluator: Any, model: Any, inputs: Tensors) -> dict[str, Array]:
    texts = {name: onnx_graph.as_text(name, array) for name, array in inputs.items()}
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
    with (
        refusing(f"ONNX's evaluator fails on rows of these shapes: {shapes}", next_step="give rows with --sample"),
        np.errstate(all="ignore"),
    ):
        answers = dict(zip(evaluator.output_names, map(np.asarray, evaluator.run(None, texts)), strict=True))
    return {value.name: _typed(value, answers[value.name]) for value in model.graph.output}


def _typed(declared: Any, answer: Array) -> Array:
    """The answer in the type that the graph declares.

    Raises:
        SourceError: it is of another kind.
    """
    datatype = _datatype("output", declared)
    if datatype is DataType.BYTES:
        return as_bytes(answer)
    if not np.can_cast(answer.dtype, datatype.numpy, casting="same_kind"):
        raise SourceError(
            f"ONNX's evaluator answers '{declared.name}' as {answer.dtype}, and the graph declares {datatype.value}",
            next_step="declare the type that the operators have",
        )
    return np.asarray(answer.astype(datatype.numpy), order="C")


# --- the signature ---------------------------------------------------------------------------------------------------


def _specs(role: str, values: Sequence[Any], model: Any) -> tuple[TensorSpec, ...]:
    defaults = {tensor.name for tensor in model.graph.initializer}
    return tuple(
        TensorSpec(name=value.name, datatype=_datatype(role, value), shape=_shape(role, value))
        for value in values
        if value.name not in defaults
    )


def _datatype(role: str, value: Any) -> DataType:
    import onnx

    return onnx_graph.datatype_of(role, value.name, onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type))


def _shape(role: str, value: Any) -> tuple[int, ...]:
    if not value.type.tensor_type.HasField("shape"):
        raise onnx_graph.without_rank(role, value.name)
    sizes = value.type.tensor_type.shape.dim
    return tuple(size.dim_value if size.HasField("dim_value") else FREE for size in sizes)


def _outputs(model: Any, answers: Tensors) -> tuple[TensorSpec, ...]:
    """As declared; sizes that the answers show to be others are free.

    Raises:
        SourceError: an answer has more or fewer dimensions than declared.
    """
    specs = []
    for spec in _specs("output", model.graph.output, model):
        found = answers[spec.name].shape
        if len(found) != len(spec.shape):
            raise SourceError(
                f"ONNX's evaluator answers '{spec.name}' in the shape {list(found)}, which is not the declared one",
                cause=f"that has {len(spec.shape)} dimensions",
                next_step="declare the shape that the operators have",
            )
        shape = tuple(want if want == have else FREE for want, have in zip(spec.shape, found, strict=True))
        specs.append(replace(spec, shape=shape))
    return tuple(specs)
