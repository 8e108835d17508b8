# SPDX-License-Identifier: Apache-2.0
"""From a file to the fitted estimator in it, or to the reason why there is none that answers new rows."""

__all__ = ["METHODS", "Loaded", "last_step", "load", "name_of"]

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.first_bytes import Kind, kind_of
from repo_tool.importers.foreign import refusing
from repo_tool.importers.guards.file_readers import refuse_file_readers
from repo_tool.importers.guards.pickles import load_pickle

# What an estimator may answer new rows with; the first that it has is what it is for, classifiers and the like apart.
METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "kneighbors",
    "score_samples",
    "mahalanobis",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A fitted estimator, what its loading warned of, and what was loaded on a person's word."""

    estimator: Any
    notes: tuple[str, ...]
    trusted: tuple[str, ...] = ()


def load(request: ImportRequest) -> Loaded:
    """The estimator in ``request.source``.

    Raises:
        SourceError: it does not load, or holds no fitted estimator that answers new rows.
    """
    path = Path(request.source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        is_skops = kind_of(path) is Kind.SKOPS or path.suffix.lower() == ".skops"
        estimator, trusted = (_load_skops if is_skops else _load_pickle)(path, request.trusted_types)
    _refuse_what_is_no_estimator(path, estimator)
    refuse_file_readers(path, estimator)
    notes = {str(warning.message).split(". ")[0] for warning in caught if "Version" in warning.category.__name__}
    return Loaded(estimator=estimator, notes=tuple(sorted(notes)), trusted=trusted)


def _load_pickle(path: Path, trusted: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    with needs_extra("sklearn"):
        import sklearn  # noqa: F401 - so that its absence is told as such, not as a pickle that does not load
    if trusted:
        sys.path.append(str(Path.cwd()))  # last: classes of the person's own are found and shadow nothing
    return load_pickle(path, trusted_types=trusted)


def _load_skops(path: Path, trusted: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    skops_io = import_skops()
    with refusing(
        f"'{path.name}' does not load as a skops file", next_step="save the estimator again with skops.io.dump"
    ):
        asked_for = skops_io.get_untrusted_types(file=path)
        unknown = [name for name in asked_for if name not in trusted]
        if unknown:
            raise SourceError(
                f"'{path.name}' holds types that skops does not know to be safe",
                cause=", ".join(unknown),
                next_step="look at what they do, and trust them with --trust-type, or save the estimator without them",
            )
        if asked_for:
            sys.path.append(str(Path.cwd()))
        return skops_io.load(path, trusted=asked_for), tuple(asked_for)


def import_skops() -> Any:
    """``skops.io``, without the second that importing torch costs: skops walks all of scikit-learn's modules."""
    with needs_extra("sklearn"):
        import sklearn.base  # noqa: F401 - before the next line, so that only the walk below misses that module

        sys.modules.setdefault("sklearn.externals.array_api_compat.torch", None)  # type: ignore[arg-type]
        import skops.io
    return skops.io


def _refuse_what_is_no_estimator(path: Path, loaded: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = f"{type(loaded).__module__}.{type(loaded).__qualname__}".removeprefix("builtins.")
    answers = any(hasattr(loaded, method) for method in METHODS) and getattr(loaded, "novelty", True) is not False
    if isinstance(loaded, type) or not answers:
        raise SourceError(
            f"'{path.name}' holds no scikit-learn estimator that answers new rows but a {kind}{_keys(loaded)}",
            cause=_why_it_answers_nothing(loaded),
            next_step=_what_answers_instead(loaded),
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


def _why_it_answers_nothing(loaded: Any) -> str:
    if isinstance(loaded, type) or not hasattr(loaded, "fit"):
        return "it has no predict or transform"
    if getattr(loaded, "novelty", True) is False:
        return "fitted with novelty=False it only judges the rows it was fitted on"
    if hasattr(loaded, "fit_predict") or hasattr(loaded, "labels_") or hasattr(loaded, "row_labels_"):
        return "it labels the rows it was fitted on and has no predict for others"
    if hasattr(loaded, "fit_transform") or hasattr(loaded, "embedding_"):
        return "it places the rows it was fitted on and has no transform for others"
    return "it has neither predict nor transform, only fit"


def _what_answers_instead(loaded: Any) -> str:
    if isinstance(loaded, type) or not hasattr(loaded, "fit"):
        return "save the fitted estimator or Pipeline itself: joblib.dump(estimator, 'model.joblib')"
    if getattr(loaded, "novelty", True) is False:
        return "fit it with novelty=True"
    if hasattr(loaded, "fit_predict") or hasattr(loaded, "labels_") or hasattr(loaded, "row_labels_"):
        return "fit a classifier (KNeighborsClassifier) on its labels_ and add that, or use KMeans"
    return "use an estimator with transform (PCA, Isomap, KernelPCA), or fit a regressor on what it computed"


def last_step(estimator: Any) -> Any:
    """The estimator at the end of Pipelines, however nested."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def name_of(estimator: Any) -> str:
    """How messages call an estimator."""
    last = last_step(estimator)
    return type(estimator).__name__ + (f" ending in {type(last).__name__}" if last is not estimator else "")
