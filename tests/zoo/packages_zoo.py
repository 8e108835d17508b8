# SPDX-License-Identifier: Apache-2.0
"""Models packed for other serving tools, plain Python classes, and ONNX artifacts made smaller or faster."""

__all__ = ["cases"]

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from repo_tool.refinement.precision import Precision
from support import package_sources
from support.zoo import ZooCase, ZooSource

_PACKAGES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "MLflow/sklearn": (package_sources.mlflow_sklearn, {}),
    "MLflow/sklearn, skops": (package_sources.mlflow_skops, {}),
    "MLflow/onnx": (package_sources.mlflow_onnx, {}),
    "MLflow/pytorch": (package_sources.mlflow_pytorch, {"trusted_source": True}),
    "MLflow/keras": (package_sources.mlflow_keras, {}),
    "MLflow/xgboost": (package_sources.mlflow_xgboost, {}),
    "MLflow/lightgbm": (package_sources.mlflow_lightgbm, {}),
    "MLflow/catboost": (package_sources.mlflow_catboost, {}),
    "BentoML/sklearn": (package_sources.bento_sklearn, {}),
    "BentoML/mlflow": (package_sources.bento_of_mlflow, {}),
    "BentoML/bento": (package_sources.whole_bento, {}),
    "TorchServe/TorchScript": (package_sources.mar_scripted, {"trusted_source": True}),
    "TorchServe/eager": (package_sources.mar_eager, {"trusted_source": True}),
}
_NEED_ROWS = ("TorchServe/TorchScript", "TorchServe/eager")
_REFINED: dict[str, dict[str, Any]] = {
    "fp16": {"precision": Precision.FP16},
    "int8": {"precision": Precision.INT8},
    "optimised": {"optimize": True},
    "int8, optimised": {"precision": Precision.INT8, "optimize": True},
    "fp16, optimised": {"precision": Precision.FP16, "optimize": True},
}


def cases() -> Iterable[ZooCase]:
    """All that can be served; what is refused is in the tests."""
    for name, (write, options) in _PACKAGES.items():
        yield ZooCase(family="Packages", name=name, build=partial(_package, name, write, options))
    for name in ("Scorer", "make_scorer", "Ranker"):
        yield ZooCase(family="Python classes", name=name, build=partial(_python, name))
    for name, options in _REFINED.items():
        yield ZooCase(family="Refined", name=f"perceptron, {name}", build=partial(_refined, options))


def _package(name: str, write: Callable[[Path], Path], options: dict[str, Any], folder: Path) -> ZooSource:
    sample = package_sources.rows_npy(folder) if name in _NEED_ROWS else None
    return ZooSource(source=str(write(folder)), sample=sample, options=options)


def _python(name: str, folder: Path) -> ZooSource:
    package_sources.python_package(folder)
    os.chdir(folder)  # in the process of this case alone
    sys.path.insert(0, str(folder))
    options = {"framework": "python"} if name == "make_scorer" else {}
    return ZooSource(
        source=f"shop.scoring:{name}", sample=folder / "ranks.npz" if name == "Ranker" else None, options=options
    )


def _refined(options: dict[str, Any], folder: Path) -> ZooSource:
    model, sample = package_sources.digits_mlp(folder)
    return ZooSource(source=str(model), sample=sample, options=options)
