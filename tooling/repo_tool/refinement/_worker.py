# SPDX-License-Identifier: Apache-2.0
"""The worker process of ``refine``: one artifact, one answer, then gone."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from repo_tool.config.derive import DeriveOptions, derive
from repo_tool.config.model import ModelTensor
from repo_tool.errors import RepoToolError, SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.rows import Rows
from repo_tool.importers.trials import Trial, batching
from repo_tool.refinement import transform
from repo_tool.refinement.plan import Agreement, Measured
from repo_tool.refinement.precision import Precision
from repo_tool.samples import Array, Sample, Tensors, read_published_sample
from repo_tool.sandbox import die_with
from repo_tool.signature import ModelSignature
from repo_tool.verification import Parity, Tolerance, verify

_TIMED_ROWS = 32
_TIMED_RUNS = 50
_TIMED_SECONDS = 1.0


def main(folder: Path) -> None:
    """Do the job in ``folder/job.json``; the new artifact is left in ``folder/refined``."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        answer = _refine(job, folder)
    except RepoToolError as error:
        answer = {"error": error.to_dict()}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _refine(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    sample = read_published_sample(folder / "sample.npz")
    signature = ModelSignature.from_dict(job["signature"])
    source = Path(job["artifact"])
    path, how = source, []
    for place, change in enumerate(_changes(job, sample)):
        into = folder / f"step-{place}"
        into.mkdir()
        path, said = change(path, into)
        how.append(said)
    model = _fitted(path, job)
    before, _ = _measure(source, signature, sample)
    after, session = _measure(path, signature, sample)
    found = replace(onnx_graph.read_signature(session, model), batches=signature.batches)
    refined = _same_tensors(found, signature)
    if job["precision"] == Precision.INT8.value and not job["calibrate"]:
        refined, notes = _by_rows(session, refined, sample)
        how.extend(notes)
    parity = _parity(session, refined, sample, Tolerance(**job["tolerance"]))
    path.parent.rename(folder / "refined")
    return {
        "how": how,
        "before": asdict(before),
        "after": asdict(after),
        "parity": parity.to_dict(),
        "agreement": [asdict(each) for each in _agreement(session, sample)] if job["precision"] else [],
        "signature": refined.to_dict(),
    }


def _changes(job: dict[str, Any], sample: Sample) -> list[Callable[[Path, Path], tuple[Path, str]]]:
    rows = sample.inputs if job["calibrate"] else None
    to_int8 = partial(transform.to_int8, rows=rows)
    # fp16 comes last: to optimise it for a CPU would save the casts that only a CPU needs. int8 comes first: optimising
    # then fuses what the quantiser wrote.
    order: list[tuple[bool, Callable[[Path, Path], tuple[Path, str]]]] = [
        (job["precision"] == Precision.INT8.value, to_int8),
        (job["optimize"], transform.optimized),
        (job["precision"] == Precision.FP16.value, transform.to_fp16),
    ]
    return [change for wanted, change in order if wanted]


def _fitted(path: Path, job: dict[str, Any]) -> onnx_graph.OnnxModel:
    """The file's graph, its IR version lowered to what the release loads."""
    import onnx

    model = onnx.load_model(path, load_external_data=False)
    request = ImportRequest(source=str(path), **job["release"])
    if onnx_graph.fit_release(model, request):
        path.write_bytes(model.SerializeToString())
    return model


def _same_tensors(found: ModelSignature, wanted: ModelSignature) -> ModelSignature:
    """``found``, whose names, types and free first dimensions must be those of ``wanted``."""
    for got, was in zip((*found.inputs, *found.outputs), (*wanted.inputs, *wanted.outputs), strict=True):
        kept = (got.name, got.datatype) == (was.name, was.datatype)
        if not kept or (wanted.can_batch and not got.has_free_first_dimension):
            raise SourceError(
                f"the refined model takes or gives '{got.name}' {got.datatype.wire_name} {list(got.shape)}",
                cause=f"the original has '{was.name}' {was.datatype.wire_name} {list(was.shape)}",
                next_step="leave --precision and --optimize out",
            )
    return found


def _by_rows(session: Any, signature: ModelSignature, sample: Sample) -> tuple[ModelSignature, tuple[str, ...]]:
    """Without batching where a row's neighbours change its answer: ranges are measured over all rows of a run."""
    answer = partial(onnx_graph.run, session)
    rows = Rows(inputs=sample.inputs, generated=True)
    return batching(signature, answer, Trial(rows=rows, answers=answer(sample.inputs)))


def _agreement(session: Any, sample: Sample) -> list[Agreement]:
    """Of outputs that choose: labels, one a row, and scores, of which the largest is meant."""
    found = onnx_graph.run(session, sample.inputs)
    return [
        Agreement(output=name, same=int((_chosen(found[name]) == _chosen(wanted)).sum()), rows=len(wanted))
        for name, wanted in sample.outputs.items()
        if _chooses(wanted) and found[name].shape == wanted.shape
    ]


def _chooses(values: Array) -> bool:
    if values.dtype.kind == "f":
        return values.ndim == 2 and values.shape[1] > 1
    return values.ndim == 1 and len(values) > 0


def _chosen(values: Array) -> Array:
    return values.argmax(axis=1) if values.dtype.kind == "f" else values


def _measure(path: Path, signature: ModelSignature, sample: Sample) -> tuple[Measured, Any]:
    session = onnx_graph.open_session(path)
    rows = min(sample.rows, _TIMED_ROWS)
    inputs = sample.take(range(rows)).inputs if signature.can_batch else sample.inputs
    onnx_graph.run(session, inputs)
    seconds: list[float] = []
    while len(seconds) < _TIMED_RUNS and sum(seconds) < _TIMED_SECONDS:
        started = perf_counter()
        onnx_graph.run(session, inputs)
        seconds.append(perf_counter() - started)
    size = sum(entry.stat().st_size for entry in path.parent.rglob("*") if entry.is_file())
    return Measured(size=size, milliseconds=1000 * median(seconds), rows=rows if signature.can_batch else 1), session


def _parity(session: Any, signature: ModelSignature, sample: Sample, tolerance: Tolerance) -> Parity:
    """The comparison that the served model is held to, on the wire shapes that it answers in."""
    config = derive(signature, DeriveOptions(name="model", backend="onnxruntime", cores=1))

    def infer(inputs: Tensors) -> Tensors:
        answers = onnx_graph.run(session, inputs)
        return {name: _on_the_wire(array, config.output(name)) for name, array in answers.items()}

    return verify(infer, config, sample, tolerance=tolerance)


def _on_the_wire(array: Array, tensor: ModelTensor | None) -> Array:
    if tensor is not None and tensor.reshape == ():
        return array[..., np.newaxis]
    return array if array.ndim else array[np.newaxis]


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    main(Path(sys.argv[2]))
