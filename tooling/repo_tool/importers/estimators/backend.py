# SPDX-License-Identifier: Apache-2.0
"""What the ``sklearn`` backend serves: the estimator itself, and what it has to know about it."""

__all__ = ["BACKEND", "parameters", "write_estimator"]

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers.estimators.answers import Predictor
from repo_tool.importers.estimators.parts import parts_of
from repo_tool.importers.estimators.sources import import_skops, name_of
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Tensors
from repo_tool.verification import disagreement

BACKEND = "sklearn"
_DESCRIPTION = "model.json"
_BOOSTERS = ("catboost", "lightgbm", "xgboost")


def parameters(predictor: Predictor) -> Mapping[str, str]:
    """For ``config.pbtxt``, so that a person sees what is asked of the estimator: ``label=predict, …``."""
    return {"methods": ", ".join(f"{answer.output}={answer.method}" for answer in predictor.answers)}


def write_estimator(
    predictor: Predictor, inputs: Tensors, reference: Tensors, folder: Path
) -> tuple[Path, tuple[str, ...]]:
    """Write ``model.skops`` (``model.joblib`` where skops cannot) and ``model.json``; the file and notes on it.

    Raises:
        SourceError: neither format can carry the estimator.
    """
    try:
        artifact, trusted = _write_skops(predictor, inputs, reference, folder / "model.skops")
        notes: tuple[str, ...] = ()
    except SourceError as error:
        (folder / "model.skops").unlink(missing_ok=True)
        artifact, trusted = _write_joblib(predictor, folder / "model.joblib"), []
        notes = (f"kept as joblib, which runs code when loaded, because skops cannot: {error.cause}",)
    notes += _needed(predictor.estimator)
    description = {
        "trusted_types": trusted,
        "input": predictor.form.to_dict(),
        "answers": [answer.to_dict() for answer in predictor.answers],
        "scikit_learn": _version(),
    }
    (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return artifact, notes


def _needed(estimator: Any) -> tuple[str, ...]:
    """What a server has to have beside scikit-learn, for estimators of other packages in it."""
    packages = {type(part).__module__.partition(".")[0] for part in parts_of(estimator)} - {"sklearn"}
    boosters = ": build the image with TRITON_BACKENDS='sklearn boosters'"
    return tuple(
        f"the server needs the Python package {package}{boosters if package in _BOOSTERS else ''}"
        for package in sorted(packages)
    )


def _write_skops(predictor: Predictor, inputs: Tensors, reference: Tensors, path: Path) -> tuple[Path, list[str]]:
    """The file, once it was read back and answered as the estimator did, and the types that a reader has to trust."""
    skops_io = import_skops()
    with (
        refusing("skops does not carry the estimator", next_step="save it with joblib"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        skops_io.dump(predictor.estimator, path)
        trusted = list(skops_io.get_untrusted_types(file=path))
        again = skops_io.load(path, trusted=trusted)
        read_back = Predictor(estimator=again, form=predictor.form, answers=predictor.answers)
        complaint = disagreement(read_back.answer(inputs), reference)
    if complaint:
        raise SourceError("skops changes the estimator", cause=f"read back it differs: {complaint}")
    return path, trusted


def _write_joblib(predictor: Predictor, path: Path) -> Path:
    import joblib

    with refusing(
        f"{name_of(predictor.estimator)} can be saved neither by skops nor by joblib",
        next_step="replace functions defined on the spot (lambdas) by ones of an installed package",
    ):
        joblib.dump(predictor.estimator, path, compress=3)
    return path


def _version() -> str:
    import sklearn

    return str(sklearn.__version__)


def tool_versions() -> dict[str, Any]:
    """What took part, for the provenance."""
    import onnxruntime
    import skl2onnx
    import sklearn
    import skops

    return {
        "scikit-learn": sklearn.__version__,
        "skl2onnx": skl2onnx.__version__,
        "skops": skops.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
