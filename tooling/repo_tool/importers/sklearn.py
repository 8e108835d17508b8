# SPDX-License-Identifier: Apache-2.0
"""scikit-learn: a fitted estimator or Pipeline from joblib, pickle or skops.

It is served as ONNX where the conversion answers as the estimator does, and else as itself by the ``sklearn`` backend.
"""

__all__ = ["SklearnImporter"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from repo_tool.columns import columns_parameters
from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.estimators.answers import Predictor, ask, labels_of, methods_of
from repo_tool.importers.estimators.backend import BACKEND, parameters, tool_versions, write_estimator
from repo_tool.importers.estimators.conversion import NotExpressibleError, Proof, express
from repo_tool.importers.estimators.inputs import Form, choose_rows, form_of, probes, table_columns
from repo_tool.importers.estimators.sources import Loaded, load, name_of
from repo_tool.importers.first_bytes import Kind, looks_like
from repo_tool.importers.rows import Rows
from repo_tool.samples import RawSample, Tensors
from repo_tool.signature import ModelSignature
from repo_tool.verification import disagreement

_SUFFIXES = frozenset({".joblib", ".pkl", ".pickle", ".skops"})
_BACKENDS = (None, "onnxruntime", BACKEND)


class SklearnImporter:
    """Estimators over tables of numbers, columns of a DataFrame, texts and records."""

    framework = "sklearn"
    extra = "sklearn"

    def recognises(self, source: str) -> bool:
        """Whether it is a skops archive, or a pickle named as scikit-learn's are."""
        return looks_like(source, suffixes=_SUFFIXES, kinds={Kind.SKOPS})

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load, let the estimator answer the rows, convert with skl2onnx, and keep of both what answers the same.

        Raises:
            SourceError: no fitted estimator, or one that fails on the rows.
            SampleError: the rows do not fit, or are needed and absent.
        """
        if request.backend not in _BACKENDS:
            raise SourceError(
                f"scikit-learn models are not served by the backend '{request.backend}'",
                next_step="leave --backend out, or choose onnxruntime or sklearn",
            )
        loaded = load(request)
        predictor, rows, widened = _in_the_precision_it_needs(*_prepare(loaded, request, sample), sample)
        proof, notes = _prove(predictor, rows.inputs)
        served = _serve(request, predictor, proof, folder)
        return ImportedModel(
            framework=self.framework,
            backend=served.backend,
            signature=served.signature,
            artifact=served.artifact,
            inputs=rows.inputs,
            inputs_were_generated=rows.generated,
            reference=proof.reference,
            labels=labels_of(predictor.estimator),
            tool_versions=tool_versions(),
            notes=(*loaded.notes, *widened, *notes, *served.notes),
            fallback_reason=served.reason,
            own_backend="" if served.backend == BACKEND else BACKEND,
            parameters={**served.parameters, **columns_parameters(table_columns(predictor.form))},
            trusted=loaded.trusted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What lies in the version directory, and who serves it."""

    backend: str = "onnxruntime"
    artifact: Path
    signature: ModelSignature
    reason: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _prepare(loaded: Loaded, request: ImportRequest, sample: RawSample | None) -> tuple[Predictor, Rows]:
    estimator = loaded.estimator
    methods = methods_of(estimator, request.method)
    form = form_of(estimator, sample)

    def answer(inputs: Tensors) -> None:
        table = form.assemble(inputs)
        for method in methods:
            ask(estimator, method, table)

    rows = choose_rows(form, sample, answer)
    return Predictor.of(estimator, form, methods, rows.inputs), rows


def _in_the_precision_it_needs(
    predictor: Predictor, rows: Rows, sample: RawSample | None
) -> tuple[Predictor, Rows, tuple[str, ...]]:
    """With inputs in double precision where single changes the answers to a person's rows: long ids, times, edges."""
    wide = predictor.form.in_double_precision()
    if rows.generated or wide == predictor.form:
        return predictor, rows, ()
    exact, wide_rows = replace(predictor, form=wide), choose_rows(wide, sample, predictor.answer)
    if all(np.array_equal(rows.inputs[name], array) for name, array in wide_rows.inputs.items()):
        return predictor, rows, ()
    complaint = disagreement(predictor.answer(rows.inputs), exact.answer(wide_rows.inputs))
    if not complaint:
        return predictor, rows, ()
    return exact, wide_rows, (f"inputs are FP64: in FP32 the answers to the sample differ ({complaint})",)


def _prove(predictor: Predictor, inputs: Tensors) -> tuple[Proof, tuple[str, ...]]:
    """The estimator's own answers, and a note where its rows may not be batched."""
    reference = predictor.answer(inputs)
    why_not = _why_not_row_by_row(predictor, inputs, reference)
    further = () if why_not else _further(predictor, inputs)
    proof = Proof(inputs=inputs, reference=reference, further=further, batches=not why_not)
    return proof, (f"batching is off: {why_not}",) if why_not else ()


def _why_not_row_by_row(predictor: Predictor, inputs: Tensors, reference: Tensors) -> str:
    """Why rows of several requests may not be answered together; empty when they may."""
    count = len(next(iter(inputs.values())))
    for name, values in reference.items():
        if len(values) != count:
            return f"'{name}' has {len(values)} rows for {count}"
    for rows in ([0], [count - 1, 0]):
        alone = predictor.answer({name: array[rows] for name, array in inputs.items()})
        complaint = disagreement(alone, {name: array[rows] for name, array in reference.items()})
        if complaint:
            return f"a row's answer depends on the rows beside it ({complaint})"
    return ""


def _further(predictor: Predictor, inputs: Tensors) -> tuple[tuple[Tensors, Tensors], ...]:
    """More rows with the estimator's answers, where it takes the made-up ones."""
    if predictor.form.form not in (Form.TABLE, Form.COLUMNS):
        return ()
    pairs = []
    for made_up in probes(inputs):
        try:
            pairs.append((made_up, predictor.answer(made_up)))
        except SourceError:
            continue
    return tuple(pairs)


def _serve(request: ImportRequest, predictor: Predictor, proof: Proof, folder: Path) -> _Served:
    if request.backend == BACKEND:
        return _as_itself(predictor, proof, folder, reason="")
    try:
        artifact, signature = express(predictor, proof, request, folder)
    except NotExpressibleError as error:
        if request.backend is None:
            return _as_itself(predictor, proof, folder, reason=str(error))
        raise SourceError(
            f"{name_of(predictor.estimator)} is not served by ONNX Runtime",
            cause=str(error),
            next_step="leave --backend out: the sklearn backend serves it",
        ) from error
    return _Served(artifact=artifact, signature=replace(signature, batches=proof.batches))


def _as_itself(predictor: Predictor, proof: Proof, folder: Path, *, reason: str) -> _Served:
    artifact, notes = write_estimator(predictor, proof.inputs, proof.reference, folder)
    return _Served(
        backend=BACKEND,
        artifact=artifact,
        signature=predictor.signature(proof.reference, batches=proof.batches),
        reason=reason,
        parameters=parameters(predictor),
        notes=notes,
    )
