# SPDX-License-Identifier: Apache-2.0
"""BentoML's models and bentos, read without BentoML: ``model.yaml`` says which framework saved the file beside it.

The layout is that of BentoML 1: https://docs.bentoml.com/en/v1.1.11/concepts/model.html
"""

__all__ = ["BentoFolder"]

from dataclasses import replace
from pathlib import Path
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.packages.opened import Opened, inside, read_yaml

_MODEL, _BENTO = "model.yaml", "bento.yaml"
_FRAMEWORKS = {  # BentoML's module: our word, None where the file tells
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "onnx": "onnx",
    "pytorch": "pytorch",
    "torchscript": "pytorch",
    "keras": "tensorflow",
    "tensorflow": "tensorflow",
    "picklable_model": "sklearn",
    "mlflow": None,
    "transformers": None,
}


class BentoFolder:
    """What ``bentoml.<framework>.save_model`` writes, and bentos with one model."""

    def recognises(self, source: str) -> bool:
        """Whether it is a folder with ``bento.yaml``, or with a ``model.yaml`` of BentoML's."""
        path = Path(source)
        if (path / _BENTO).is_file():
            return True
        return (path / _MODEL).is_file() and b"module:" in (path / _MODEL).read_bytes()[:4096]

    def open(self, request: ImportRequest, folder: Path) -> Opened:
        """The file beside ``model.yaml``, to be read by the framework that ``model.yaml`` names.

        Raises:
            SourceError: a bento with no or several models, an unknown framework, or the file is missing.
        """
        root = Path(request.source)
        if (root / _BENTO).is_file():
            root = _only_model(root)
        described = read_yaml(root / _MODEL)
        module = str(described.get("module", "")).removeprefix("bentoml.").split(".")[-1]
        if module not in _FRAMEWORKS:
            raise SourceError(
                f"the BentoML model '{root.name}' was saved by '{described.get('module')}'",
                cause=f"models saved by these can be served: {', '.join(_FRAMEWORKS)}",
                next_step="add the model's own file, saved by its framework",
            )
        framework = request.framework or _FRAMEWORKS[module]
        return Opened(
            request=replace(request, source=str(_saved(root)), framework=framework),
            notes=(
                f"from the BentoML model {described.get('name')}:{described.get('version')}{_made_with(described)}",
            ),
        )


def _made_with(described: dict[str, Any]) -> str:
    versions = (described.get("context") or {}).get("framework_versions") or {}
    return "".join(f", saved with {name} {version}" for name, version in versions.items())


def _only_model(bento: Path) -> Path:
    models = sorted(path.parent for path in bento.glob(f"models/*/*/{_MODEL}"))
    if len(models) == 1:
        return models[0]
    names = ", ".join(f"{path.parent.name}:{path.name}" for path in models)
    raise SourceError(
        f"the bento '{bento.name}' holds {len(models) or 'no'} models",
        cause=f"it holds {names}" if models else "its service loads them from elsewhere",
        next_step=f"add one of them: {models[0]}" if models else "add the model's own folder",
    )


def _saved(root: Path) -> Path:
    if (root / "saved_model.pb").is_file():
        return root
    found = sorted((*root.glob("saved_model*"), *root.glob("mlflow_model")))
    if not found:
        raise SourceError(f"the BentoML model '{root.name}' holds no saved_model file", next_step="save it again")
    return inside(root, found[0].name)
