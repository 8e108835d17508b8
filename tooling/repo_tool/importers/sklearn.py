# SPDX-License-Identifier: Apache-2.0
"""scikit-learn: a fitted estimator or Pipeline from joblib, pickle or skops, brought in as ONNX."""

__all__ = ["SklearnImporter"]

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.first_bytes import Kind, kind_of, looks_like
from repo_tool.importers.foreign import refusing
from repo_tool.importers.rows import rows_for
from repo_tool.samples import Array, RawSample, Tensors, as_bytes
from repo_tool.signature import FREE, ModelSignature, TensorSpec

_SUFFIXES = frozenset({".joblib", ".pkl", ".pickle", ".skops"})
_INPUT = "features"
_OPSET = 18  # what every Triton since 23.10 loads; the converters need no newer
_ML_OPSET = 3  # what every ONNX Runtime since 1.11 loads; the converters need no newer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """An output and the estimator's method that it must agree with."""

    output: str
    method: str


_LABEL = _Answer(output="label", method="predict")
_PROBABILITIES = _Answer(output="probabilities", method="predict_proba")
_SCORES = _Answer(output="scores", method="decision_function")
_PREDICTION = _Answer(output="prediction", method="predict")
_TRANSFORMED = _Answer(output="transformed", method="transform")


class SklearnImporter:
    """Estimators whose input is one table of numbers."""

    framework = "sklearn"
    extra = "sklearn"

    def recognises(self, source: str) -> bool:
        """Whether it is a skops archive, or a pickle named as scikit-learn's are."""
        return looks_like(source, suffixes=_SUFFIXES, kinds={Kind.SKOPS})

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Unpickle, convert with skl2onnx, predict the rows with the estimator itself.

        Raises:
            SourceError: no fitted estimator, or one that ONNX cannot express.
            SampleError: the rows do not fit.
        """
        if request.backend not in (None, "onnxruntime"):
            raise SourceError(
                f"scikit-learn models are not served by the backend '{request.backend}'",
                next_step="leave --backend out: they are converted to ONNX",
            )
        estimator, notes = _load(Path(request.source))
        width = _width(estimator)
        spec = TensorSpec(name=_INPUT, datatype=DataType.FP32, shape=(FREE, width))
        names = getattr(estimator, "feature_names_in_", ())
        rows = rows_for(sample, (spec,), columns={_INPUT: [str(name) for name in names]} if len(names) else None)
        answers = _answers(estimator)
        _refuse_several_targets(estimator)
        model = _convert(estimator, width, answers, request)
        notes = (*notes, *onnx_graph.fit_release(model, request))
        reference = _predictions(estimator, answers, rows.inputs[_INPUT])
        artifact, signature = _write(model, rows.inputs, reference, folder)
        return ImportedModel(
            framework=self.framework,
            backend="onnxruntime",
            signature=signature,
            artifact=artifact,
            inputs=rows.inputs,
            inputs_were_generated=rows.generated,
            reference=reference,
            labels=_labels(estimator),
            tool_versions=_tool_versions(),
            notes=notes,
        )


# --- loading ---------------------------------------------------------------------------------------------------------


def _load(path: Path) -> tuple[Any, tuple[str, ...]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = _load_skops(path) if kind_of(path) is Kind.SKOPS else _load_pickle(path)
    _refuse_what_is_no_estimator(path, loaded)
    notes = {str(warning.message).split(". ")[0] for warning in caught if "Version" in warning.category.__name__}
    return loaded, tuple(sorted(notes))


def _load_pickle(path: Path) -> Any:
    with needs_extra("sklearn"):
        import joblib
        import sklearn  # noqa: F401 - so that its absence is told as such, not as a pickle that does not load
    sys.path.append(str(Path.cwd()))  # last: classes of the person's own are found and shadow nothing
    with refusing(
        f"'{path.name}' does not load as a pickle",
        next_step="load it with joblib.load in the environment it was saved in, and install here what that needs",
    ):
        return joblib.load(path)


def _load_skops(path: Path) -> Any:
    with needs_extra("sklearn"):
        import sklearn.base  # noqa: F401 - before the next line, so that only the walk below misses that module

        # skops walks all of sklearn's modules when imported; this one would import torch, which takes a second.
        sys.modules.setdefault("sklearn.externals.array_api_compat.torch", None)  # type: ignore[arg-type]
        import skops.io
    with refusing(
        f"'{path.name}' does not load as a skops file", next_step="save the estimator again with skops.io.dump"
    ):
        untrusted = skops.io.get_untrusted_types(file=path)
        if untrusted:
            raise SourceError(
                f"'{path.name}' holds types that skops does not know to be safe",
                cause=", ".join(untrusted),
                next_step="save the estimator without them",
            )
        return skops.io.load(path, trusted=[])


def _refuse_what_is_no_estimator(path: Path, loaded: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = f"{type(loaded).__module__}.{type(loaded).__qualname__}".removeprefix("builtins.")
    if isinstance(loaded, type) or not any(hasattr(loaded, method) for method in ("predict", "transform")):
        can_fit = hasattr(loaded, "fit") and not isinstance(loaded, type)
        raise SourceError(
            f"'{path.name}' holds no scikit-learn estimator that answers new rows but a {kind}{_keys(loaded)}",
            cause="it has neither predict nor transform, only fit" if can_fit else "it has no predict or transform",
            next_step="save the fitted estimator or Pipeline itself: joblib.dump(estimator, 'model.joblib')",
        )
    with refusing(f"'{path.name}' holds a {kind}, which is no scikit-learn estimator", next_step="pass --framework"):
        try:
            check_is_fitted(loaded)
        except NotFittedError as error:
            raise SourceError(
                f"'{path.name}' holds a {kind} that was never fitted",
                cause=str(error).splitlines()[0],
                next_step="call fit before saving it",
            ) from error


def _keys(loaded: Any) -> str:
    if not isinstance(loaded, dict) or not loaded:
        return ""
    shown = ", ".join(repr(key) for key in list(loaded)[:8])
    return f" with the keys {shown}"


def _width(estimator: Any) -> int:
    width = getattr(estimator, "n_features_in_", None)
    if width is None:
        raise SourceError(
            f"{_name(estimator)} does not know how many columns it takes",
            cause="it has no n_features_in_; estimators of text have none",
            next_step="add a model whose input is one table of numbers",
        )
    return int(width)


def _name(estimator: Any) -> str:
    last = _last_step(estimator)
    return type(estimator).__name__ + (f" ending in {type(last).__name__}" if last is not estimator else "")


# --- what it answers -------------------------------------------------------------------------------------------------


def _answers(estimator: Any) -> tuple[_Answer, ...]:
    """The outputs in the order in which skl2onnx gives them."""
    from sklearn.base import is_clusterer, is_outlier_detector, is_regressor

    if is_regressor(estimator):
        return (_PREDICTION,)
    if is_clusterer(estimator) and hasattr(estimator, "predict"):
        return (_LABEL,)
    if is_outlier_detector(estimator):
        return (_LABEL, _SCORES)
    if hasattr(estimator, "predict_proba"):
        return (_LABEL, _PROBABILITIES)
    if hasattr(estimator, "decision_function"):
        return (_LABEL, _SCORES)
    return (_LABEL,) if hasattr(estimator, "predict") else (_TRANSFORMED,)


def _refuse_several_targets(estimator: Any) -> None:
    if isinstance(getattr(estimator, "classes_", None), list):
        raise SourceError(
            f"{_name(estimator)} predicts several targets, each with classes of its own",
            cause="their probabilities do not form one tensor whose first dimension counts the rows",
            next_step="train and add one classifier per target",
        )


def _labels(estimator: Any) -> tuple[str, ...]:
    classes = getattr(estimator, "classes_", ())
    is_text = isinstance(classes, np.ndarray) and classes.dtype.kind in "OSU"
    return tuple(str(name) for name in classes) if is_text else ()


def _predictions(estimator: Any, answers: Sequence[_Answer], table: Array) -> dict[str, Array]:
    """What the estimator itself answers; values without a second dimension get one, class labels apart."""
    return {answer.output: _shaped(answer, _ask(estimator, answer.method, table)) for answer in answers}


def _ask(estimator: Any, method: str, table: Array) -> Array:
    ask = getattr(estimator, method)
    with refusing(f"{_name(estimator)} fails on the sample rows", next_step="give rows it was made for: --sample"):
        try:
            values = ask(_as_trained(estimator, table))
        except ValueError:  # some (KMeans after a scaler) only take the type they were trained on
            values = ask(_as_trained(estimator, table.astype(np.float64)))
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _as_trained(estimator: Any, table: Array) -> Any:
    """A DataFrame for an estimator that was fitted on one, the array itself otherwise."""
    if not hasattr(estimator, "feature_names_in_"):
        return table
    import pandas as pd

    return pd.DataFrame(table, columns=estimator.feature_names_in_)


def _shaped(answer: _Answer, values: Array) -> Array:
    if answer is _LABEL:
        return as_bytes(values) if values.dtype.kind in "OSU" else values.astype(np.int64)
    return np.ascontiguousarray(values if values.ndim > 1 else values[:, None], dtype=np.float32)


# --- converting ------------------------------------------------------------------------------------------------------


def _convert(estimator: Any, width: int, answers: Sequence[_Answer], request: ImportRequest) -> Any:
    with needs_extra("sklearn"):
        from skl2onnx import __max_supported_opset__ as newest
        from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    opsets = {"": min(_OPSET, newest, request.max_opset), "ai.onnx.ml": _ML_OPSET}
    try:
        with refusing(
            f"{_name(estimator)} does not convert to ONNX", next_step="use estimators that skl2onnx supports"
        ):
            model = _skl2onnx(estimator, width, opsets)
    except SourceError as error:
        if isinstance(error.__cause__, MissingConverter | MissingShapeCalculator):
            raise _without_converter(estimator, error.__cause__) from error
        raise
    _name_outputs(model, estimator, answers)
    return model


def _skl2onnx(estimator: Any, width: int, opsets: dict[str, int]) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    wanted = {"initial_types": [(_INPUT, FloatTensorType([None, width]))], "target_opset": opsets}
    last = _last_step(estimator)
    if not hasattr(last, "classes_"):
        return convert_sklearn(estimator, **wanted)
    try:
        return convert_sklearn(estimator, **wanted, options={id(last): {"zipmap": False}})
    except NameError:  # skl2onnx's word for an option that a converter has not; left out, a Pipeline would set it
        return convert_sklearn(estimator, **wanted, options={id(last): {}})


def _last_step(estimator: Any) -> Any:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def _without_converter(estimator: Any, error: Exception) -> SourceError:
    named = re.search(r"<class '([\w.]+)'>", str(error))
    culprit = named[1] if named else _name(estimator)
    return SourceError(
        f"{culprit} has no conversion to ONNX",
        cause="skl2onnx brings no converter for it",
        next_step="replace it by an estimator of skl2onnx's list of supported ones",
    )


def _name_outputs(model: Any, estimator: Any, answers: Sequence[_Answer]) -> None:
    found = [output.name for output in model.graph.output]
    if len(found) < len(answers):
        raise SourceError(
            f"the ONNX of {_name(estimator)} has {len(found)} outputs instead of {len(answers)}",
            next_step="use an estimator that skl2onnx converts whole",
        )
    onnx_graph.keep_outputs(model, len(answers))
    onnx_graph.rename_tensors(model, dict(zip(found, (answer.output for answer in answers), strict=False)))


def _write(model: Any, inputs: Tensors, expected: Tensors, folder: Path) -> tuple[Path, ModelSignature]:
    """Write the graph, run it once, and where its outputs have other shapes than the estimator's, mend and rewrite."""
    artifact = onnx_graph.write(model, folder)
    session = onnx_graph.open_session(artifact)
    if _mend_outputs(model, onnx_graph.run(session, inputs), expected):
        artifact = onnx_graph.write(model, folder)
        session = onnx_graph.open_session(artifact)
    return artifact, onnx_graph.read_signature(session, model)


def _mend_outputs(model: Any, found: Tensors, expected: Tensors) -> bool:
    mended = False
    for name, values in expected.items():
        if found[name].shape == values.shape:
            continue
        mended = True
        if found[name].shape == (len(values), 2) and values.shape == (len(values), 1):
            # Of two classes' scores some converters put the estimator's own first, some second; the other is negated.
            column = int(np.abs(found[name] - values).sum(axis=0).argmin())
            onnx_graph.take_column(model, name, column)
        else:
            onnx_graph.reshape_output(model, name, (FREE, *values.shape[1:]))
    return onnx_graph.declare_shapes(model, expected) or mended


def _tool_versions() -> dict[str, str]:
    import onnxruntime
    import skl2onnx
    import sklearn

    return {
        "scikit-learn": sklearn.__version__,
        "skl2onnx": skl2onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
