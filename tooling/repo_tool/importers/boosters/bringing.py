# SPDX-License-Identifier: Apache-2.0
"""What XGBoost, LightGBM and CatBoost share: to ONNX where that is exact, else served by the library itself."""

__all__ = [
    "Boosted",
    "NotExpressibleError",
    "Ways",
    "as_label",
    "as_table",
    "bring_in",
    "category_notes",
    "class_names",
    "edge_rows",
    "load_pickled",
]

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.columns import columns_parameters
from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.boosters import fil
from repo_tool.importers.boosters.forest import INPUT
from repo_tool.importers.foreign import refusing
from repo_tool.importers.guards.pickles import load_pickle
from repo_tool.importers.rows import Rows, rows_for
from repo_tool.samples import Array, RawSample, Tensors, as_bytes, generate
from repo_tool.signature import FREE, ModelSignature, TensorSpec
from repo_tool.verification import disagreement

_EDGE_ROWS = 64
_SEED = 7
_ANSWERS = "answers.json"


class NotExpressibleError(Exception):
    """Why ONNX cannot say what the booster does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """A loaded booster, as far as all libraries are alike."""

    library: str  # its module, which is also the word for --framework
    name: str  # for messages: XGBoost, …
    inputs: tuple[TensorSpec, ...]
    columns: tuple[str, ...]  # names of the columns of ``features`` where it remembers them
    classes: tuple[Any, ...]  # of a classifier: integers or text
    edges: Mapping[int, Sequence[float]]  # of each feature of ``features``, values near which it decides
    answer: Callable[[Tensors], dict[str, Array]]  # its own answers by output name
    notes: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a booster can be served."""

    graph: Callable[[], onnx_graph.OnnxModel]  # raises NotExpressibleError
    served_by_itself: Callable[[Path], Mapping[str, Any]]  # writes its file; returns what model.py must be told
    fil: Callable[[ImportRequest, Path], tuple[Path, dict[str, str]]]  # writes its file; returns it and parameters


def bring_in(
    booster: Boosted, ways: Ways, request: ImportRequest, sample: RawSample | None, folder: Path
) -> ImportedModel:
    """The booster as ONNX, or as a Python model around the library itself where ONNX is not exact.

    Raises:
        SourceError: the backend asked for cannot serve it.
        SampleError: the rows do not fit.
    """
    if request.backend not in (None, "onnxruntime", "python", "fil"):
        raise SourceError(
            f"{booster.name} models are not served by the backend '{request.backend}'",
            next_step="leave --backend out, or choose onnxruntime, python or fil",
        )
    rows = _rows(booster, sample)
    with refusing(f"{booster.name} fails on the sample rows", next_step="give rows it was made for: --sample"):
        reference: Tensors = booster.answer(rows.inputs)
        booster, rows, reference, why_double = _in_the_precision_it_needs(booster, rows, reference, sample)
    if request.backend == "fil":
        if why_double:
            fil.refuse(booster.name, why_double)
        return _for_fil(booster, ways, request, rows, reference, folder)
    reason = why_double or "asked for with --backend python"
    if request.backend != "python" and not why_double:
        try:
            return _as_onnx(booster, ways, request, rows, reference, folder)
        except NotExpressibleError as error:
            reason = str(error)
    if request.backend == "onnxruntime":
        raise SourceError(
            f"this {booster.name} model has no exact ONNX form",
            cause=reason,
            next_step="leave --backend out: it is then served by a Python model around the library itself",
        )
    return _by_itself(booster, ways, rows, reference, folder, reason)


# --- rows ------------------------------------------------------------------------------------------------------------


def _rows(booster: Boosted, sample: RawSample | None) -> Rows:
    if sample is None:
        return Rows(inputs=edge_rows(booster), generated=True)
    return rows_for(sample, booster.inputs, columns={INPUT: booster.columns} if booster.columns else None)


def _in_the_precision_it_needs(
    booster: Boosted, rows: Rows, reference: Tensors, sample: RawSample | None
) -> tuple[Boosted, Rows, Tensors, str]:
    """With inputs in double precision where single changes the answers to a person's rows, and why.

    LightGBM compares in double precision; the others round what they are given themselves.
    """
    types = {DataType.FP32: DataType.FP64}
    specs = tuple(replace(spec, datatype=types.get(spec.datatype, spec.datatype)) for spec in booster.inputs)
    wide = replace(booster, inputs=specs)
    exact = rows if rows.generated else _rows(wide, sample)
    if all(np.array_equal(rows.inputs[name], array) for name, array in exact.inputs.items()):
        return booster, rows, reference, ""
    answers = booster.answer(exact.inputs)
    difference = disagreement(reference, answers)
    if not difference:
        return booster, rows, reference, ""
    return (
        wide,
        exact,
        answers,
        f"in single precision, in which ONNX's and FIL's trees ask, its answers differ: {difference}",
    )


def edge_rows(booster: Boosted) -> dict[str, Array]:
    """Rows whose values lie on, just below and just above what the booster compares with; some are missing."""
    random = np.random.default_rng(_SEED)
    made_up = dict(generate(booster.inputs, rows=_EDGE_ROWS))
    for name, array in made_up.items():
        if array.dtype == np.float32:
            for column in range(array.shape[1]):
                _put_edges(array[:, column], booster.edges.get(column, ()), random)
            made_up[name] = array
    return made_up


def _put_edges(column: Array, edges: Sequence[float], random: np.random.Generator) -> None:
    if edges:
        on = random.choice(np.asarray(edges, dtype=np.float32), len(column))
        towards = random.choice(np.array([-np.inf, 0, np.inf], dtype=np.float32), len(column))
        with np.errstate(over="ignore"):
            column[:] = np.where(towards == 0, on, np.nextafter(on, towards))
    column[random.random(len(column)) < 1 / 8] = np.nan


# --- served by ONNX Runtime ------------------------------------------------------------------------------------------


def _as_onnx(
    booster: Boosted, ways: Ways, request: ImportRequest, rows: Rows, reference: Tensors, folder: Path
) -> ImportedModel:
    """Raises NotExpressibleError, also where the graph's answers are not the booster's on the sample and at edges."""
    with needs_extra(booster.library):
        import onnx  # noqa: F401 - so that its absence is told as such
    graph = ways.graph()
    onnx_graph.fit_release(graph, request)
    artifact = onnx_graph.write(graph, folder)
    session = onnx_graph.open_session(artifact)
    checks = [(rows.inputs, reference)]
    if not rows.generated:
        at_edges = edge_rows(booster)
        checks.append((at_edges, booster.answer(at_edges)))
    for inputs, expected in checks:
        difference = disagreement(onnx_graph.run(session, inputs), expected, tolerance=request.allowed)
        if difference:
            artifact.unlink()
            raise NotExpressibleError(f"its ONNX form differs: {difference}")
    return _imported(
        booster,
        rows,
        reference,
        backend="onnxruntime",
        own_backend="python",
        artifact=artifact,
        signature=onnx_graph.read_signature(session, graph),
        packages=("onnxruntime",),
    )


# --- served by the library itself ------------------------------------------------------------------------------------


def _by_itself(
    booster: Boosted, ways: Ways, rows: Rows, reference: Tensors, folder: Path, reason: str
) -> ImportedModel:
    told = ways.served_by_itself(folder)
    (folder / _ANSWERS).write_text(json.dumps(dict(told), indent=1), encoding="utf-8")
    artifact = folder / "model.py"
    shutil.copyfile(Path(__file__).with_name(f"served_{booster.library}.py"), artifact)
    note = f"the server needs the Python package {booster.library}: build the image with TRITON_BACKENDS=boosters"
    outputs = tuple(
        TensorSpec(name=name, datatype=DataType.from_numpy(array.dtype), shape=(FREE, *array.shape[1:]))
        for name, array in reference.items()
    )
    return _imported(
        booster,
        rows,
        reference,
        backend="python",
        artifact=artifact,
        signature=ModelSignature(inputs=booster.inputs, outputs=outputs),
        fallback_reason=reason,
        notes=(note,),
    )


# --- served by the FIL backend of GPU images -------------------------------------------------------------------------


def _for_fil(
    booster: Boosted, ways: Ways, request: ImportRequest, rows: Rows, reference: Tensors, folder: Path
) -> ImportedModel:
    answers = np.ascontiguousarray(reference["probabilities" if booster.classes else "prediction"])
    if not booster.classes and answers.shape[1] > 1:
        fil.refuse(booster.name, f"it predicts {answers.shape[1]} values a row, and FIL one")
    artifact, parameters = ways.fil(request, folder)
    if len(booster.classes) == 2:
        answers = answers[:, 1:]  # releases differ in whether two classes are one column or two; one value is one
    width = int(booster.inputs[0].shape[1])
    return _imported(
        booster,
        Rows(inputs={"input__0": rows.inputs[INPUT]}, generated=rows.generated),
        {"output__0": np.ascontiguousarray(answers)},
        backend="fil",
        artifact=artifact,
        signature=ModelSignature(
            inputs=(TensorSpec(name="input__0", datatype=DataType.FP32, shape=(FREE, width)),),
            outputs=(TensorSpec(name="output__0", datatype=DataType.FP32, shape=(FREE, answers.shape[1])),),
        ),
        parameters={**parameters, **fil.parameters_for(request, classes=len(booster.classes))},
        notes=("output__0 is the probability of the second class",) if len(booster.classes) == 2 else (),
        unproven="the embedded server has no FIL backend; a server with one has yet to give these answers",
    )


# --- in common -------------------------------------------------------------------------------------------------------


def _imported(
    booster: Boosted,
    rows: Rows,
    reference: Tensors,
    *,
    notes: tuple[str, ...] = (),
    packages: tuple[str, ...] = (),
    parameters: Mapping[str, str] | None = None,
    **served: Any,
) -> ImportedModel:
    named = booster.classes and isinstance(booster.classes[0], str)
    return ImportedModel(
        framework=booster.library,
        inputs=rows.inputs,
        inputs_were_generated=rows.generated,
        reference=reference,
        labels=tuple(booster.classes) if named and served["backend"] != "fil" else (),
        tool_versions={name: _version(name) for name in (booster.library, *packages)},
        notes=(*booster.notes, *notes),
        parameters={**(parameters or {}), **_names_of_columns(booster, rows)},
        trusted=booster.trusted,
        **served,
    )


def _names_of_columns(booster: Boosted, rows: Rows) -> dict[str, str]:
    return columns_parameters(dict.fromkeys(rows.inputs, booster.columns) if len(rows.inputs) == 1 else None)


def _version(package: str) -> str:
    return str(importlib.import_module(package).__version__)


def load_pickled(path: Path, library: str, request: ImportRequest) -> tuple[Any, tuple[str, ...]]:
    """The object that a pickle or joblib file holds, and the types that were loaded on a person's word.

    Raises:
        SourceError: it brings what is not known to be harmless, or does not load.
    """
    with needs_extra(library):
        importlib.import_module(library)
    sys.path.append(str(Path.cwd()))  # last: classes of the person's own are found and shadow nothing
    with refusing(
        f"'{path.name}' does not load as a pickle",
        next_step="load it with joblib.load in the environment it was saved in, and install here what that needs",
    ):
        return load_pickle(path, trusted_types=request.trusted_types)


def category_notes(categorical: Collection[int], names: Sequence[str]) -> tuple[str, ...]:
    """What a client has to know of columns that hold categories."""
    if not categorical:
        return ()
    shown = ", ".join(repr(names[column]) if names else str(column) for column in sorted(categorical))
    return (f"columns that hold categories take their codes, the places in the categories trained on: {shown}",)


def as_table(values: Any) -> Array:
    """Floats ``[rows, values]`` of what a booster predicted."""
    array = np.asarray(values, dtype=np.float32)
    return np.ascontiguousarray(array if array.ndim > 1 else array[:, None])


def class_names(classes: Any) -> tuple[Any, ...]:
    """Classes as integers where all are whole numbers, else as text, which keeps a 1.5 what it is."""
    values = np.asarray(classes).tolist()
    is_whole = all(not isinstance(value, str) and float(value).is_integer() for value in values)
    return tuple(int(value) if is_whole else str(value) for value in values)


def as_label(classes: Sequence[Any], chosen: Array) -> Array:
    """The classes at the places ``chosen``: int64, or bytes where they are text."""
    if isinstance(classes[0], str):
        return as_bytes(np.asarray(classes, dtype=object)[chosen])
    return np.asarray(classes, dtype=np.int64)[chosen]
