# SPDX-License-Identifier: Apache-2.0
"""MLflow model folders, read without MLflow: the ``MLmodel`` file says which framework's file lies where.

The layout is that of MLflow 1.2 to 3: https://mlflow.org/docs/latest/ml/model/
"""

__all__ = ["MlflowFolder"]

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.errors import SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.importers.packages.opened import Opened, inside, read_yaml, require_trust, tidy_copy

_DESCRIPTION = "MLmodel"
_PYFUNC = "python_function"
_LARGEST_EXAMPLE, _LARGEST_REQUIREMENTS = 2**26, 2**16  # bytes
_REQUIREMENTS = "requirements.txt"
_PACKAGE = re.compile(r"[A-Za-z0-9][\w.-]*")
_Flavor = Mapping[str, Any]


class MlflowFolder:
    """What ``mlflow.<flavor>.save_model`` and ``log_model`` write."""

    def recognises(self, source: str) -> bool:
        """Whether it is a folder with an ``MLmodel`` file, or that file."""
        path = Path(source)
        return (path / _DESCRIPTION).is_file() or (path.name == _DESCRIPTION and path.is_file())

    def open(self, request: ImportRequest, folder: Path) -> Opened:
        """The flavor's own file, with the input example as sample rows and the folder's code beside it.

        Raises:
            SourceError: no flavor that can be served without MLflow, or its file is missing.
        """
        source = Path(request.source)
        root = source.parent if source.name == _DESCRIPTION else source
        description = read_yaml(root / _DESCRIPTION)
        framework, locate = _choose(description, request, root)
        flavor = description["flavors"][framework]
        model = locate(root, flavor, folder)
        code = _code(root, description["flavors"])
        return Opened(
            request=replace(
                request,
                source=str(model),
                framework=_FRAMEWORK_WORDS.get(framework, framework),
                sample=request.sample or _example(root, description, folder),
            ),
            code=code,
            notes=(f"from the {framework} flavor of an MLflow model{_written_by(description)}",),
            trusted=require_trust(request, f"the modules in {code.name}/") if code else (),
        )


def _written_by(description: _Flavor) -> str:
    version, run = description.get("mlflow_version"), description.get("run_id")
    return (f" {version}" if version else "") + (f", run {run}" if run else "")


# --- flavors ---------------------------------------------------------------------------------------------------------


def _sklearn(root: Path, flavor: _Flavor, folder: Path) -> Path:
    path = inside(root, flavor.get("pickled_model", "model.pkl"))
    return tidy_copy(path, folder, ".skops" if flavor.get("serialization_format") == "skops" else path.suffix)


def _pytorch(root: Path, flavor: _Flavor, folder: Path) -> Path:
    data = inside(root, flavor.get("model_data", "data"))
    return _only(data, ("model.pt2", "model.pth", "model.pt"))


def _tensorflow(root: Path, flavor: _Flavor, folder: Path) -> Path:
    if "saved_model_dir" in flavor:
        return inside(root, flavor["saved_model_dir"])
    return _keras(root, flavor, folder)


def _keras(root: Path, flavor: _Flavor, folder: Path) -> Path:
    data = inside(root, flavor.get("data", "data"))
    return _only(data, ("model.keras", "model.h5", "model")) if data.is_dir() else data


def _onnx(root: Path, flavor: _Flavor, folder: Path) -> Path:
    return inside(root, flavor.get("data", "model.onnx"))


def _xgboost(root: Path, flavor: _Flavor, folder: Path) -> Path:
    path = inside(root, flavor.get("data", "model.xgb"))
    return tidy_copy(path, folder, ".json" if _starts_with(path, b'{"') else ".ubj")


def _lightgbm(root: Path, flavor: _Flavor, folder: Path) -> Path:
    path = inside(root, flavor.get("data", "model.lgb"))
    return tidy_copy(path, folder, ".txt" if _starts_with(path, b"tree") else ".pkl")


def _catboost(root: Path, flavor: _Flavor, folder: Path) -> Path:
    form = flavor.get("save_format", "cbm")
    if form != "cbm":
        raise SourceError(
            f"the CatBoost model is saved as {form}", next_step="save it as cbm: log_model(..., format='cbm')"
        )
    return tidy_copy(inside(root, flavor.get("data", "model.cb")), folder, ".cbm")


_LOCATE: dict[str, Callable[[Path, _Flavor, Path], Path]] = {  # in order of preference where there are several
    "onnx": _onnx,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "sklearn": _sklearn,
    "keras": _keras,
    "tensorflow": _tensorflow,
    "pytorch": _pytorch,
}
_FRAMEWORK_WORDS = {"keras": "tensorflow"}  # our word where it is not MLflow's
_OLD_LOADERS = {f"mlflow.{name}": name for name in _LOCATE}


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _only(folder: Path, names: tuple[str, ...]) -> Path:
    return inside(folder, next((name for name in names if (folder / name).exists()), names[0]))


def _choose(description: _Flavor, request: ImportRequest, root: Path) -> tuple[str, Callable[..., Path]]:
    flavors = description.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise SourceError(f"'{root / _DESCRIPTION}' names no flavor", next_step="log the model again with MLflow")
    there = [name for name in _LOCATE if isinstance(flavors.get(name), dict)]
    wanted = [name for name in there if request.framework in (None, name, _FRAMEWORK_WORDS.get(name))]
    if wanted:
        return wanted[0], _LOCATE[wanted[0]]
    if there:
        raise SourceError(
            f"the MLflow model '{root.name}' has no flavor '{request.framework}'",
            cause=f"it has {', '.join(flavors)}",
            next_step=f"leave --framework out, or pass --framework {there[0]}",
        )
    raise _needs_mlflow(root, flavors)


def _needs_mlflow(root: Path, flavors: _Flavor) -> SourceError:
    function = flavors.get(_PYFUNC) or {}
    loader = function.get("loader_module")
    known = ", ".join(_LOCATE)
    if not loader:
        return SourceError(
            f"the MLflow model '{root.name}' has no flavor that can be served",
            cause=f"it has {', '.join(flavors)}; these can be served: {known}",
            next_step="log it with one of those flavors",
        )
    return SourceError(
        f"the MLflow model '{root.name}' is a Python function only",
        cause=f"{loader} loads it inside MLflow; {_what_it_uses(root, function)}",
        next_step="write a class with predict(arrays) that loads the same files, and add that: module:Class; or log it "
        f"with one of the flavors {known}",
    )


def _what_it_uses(root: Path, function: _Flavor) -> str:
    """The function's own files, and what its environment installs; all of it read and nothing run."""
    kept = [str(value) for key in ("python_model", "data", "model_code_path", "code") if (value := function.get(key))]
    artifacts = function.get("artifacts")
    for name, described in artifacts.items() if isinstance(artifacts, dict) else ():
        place = described.get("path") if isinstance(described, dict) else described
        kept.append(f"{place} (its artifact '{name}')")
    parts = [f"it uses {', '.join(kept) or 'the folder'}"]
    if packages := _packages(root):
        parts.append(f"and the packages {', '.join(packages)}")
    return " ".join(parts)


def _packages(root: Path) -> list[str]:
    """The names in ``requirements.txt``, but for MLflow's own."""
    if not (root / _REQUIREMENTS).is_file():
        return []
    with inside(root, _REQUIREMENTS).open(encoding="utf-8", errors="replace") as file:
        lines = file.read(_LARGEST_REQUIREMENTS).splitlines()
    names = [found[0] for line in lines if (found := _PACKAGE.match(line.strip()))]
    return [name for name in names if name.lower() not in ("mlflow", "cloudpickle")]


def _code(root: Path, flavors: _Flavor) -> Path | None:
    for flavor in flavors.values():
        if isinstance(flavor, dict) and flavor.get("code"):
            folder = inside(root, flavor["code"])
            return folder if any(folder.rglob("*.py")) else None
    return None


# --- the input example -----------------------------------------------------------------------------------------------


def _example(root: Path, description: _Flavor, folder: Path) -> Path | None:
    """The rows that were logged with the model, as a sample file; None where there are none."""
    described = description.get("saved_input_example_info")
    if not isinstance(described, dict) or "artifact_path" not in described:
        return None
    path = inside(root, described["artifact_path"])
    with refusing(f"the input example '{path.name}' does not read as rows", next_step="pass rows with --sample"):
        if path.stat().st_size > _LARGEST_EXAMPLE:
            raise ValueError(f"it is larger than {_LARGEST_EXAMPLE >> 20} MiB")
        values = json.loads(path.read_text(encoding="utf-8"))
        if described.get("type") == "dataframe":
            return _table(values, folder)
        return _tensors(values.get("inputs", values) if isinstance(values, dict) else values, folder)


def _table(values: Any, folder: Path) -> Path | None:
    """A DataFrame in pandas' orientation ``split``, or that inside MLflow 2's ``dataframe_split``."""
    split = values.get("dataframe_split", values) if isinstance(values, dict) else {}
    if "columns" not in split or "data" not in split:
        return None
    if all(isinstance(name, int) for name in split["columns"]):
        return _tensors(split["data"], folder)
    rows = [dict(zip(map(str, split["columns"]), row, strict=True)) for row in split["data"]]
    path = folder / "input_example.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def _tensors(values: Any, folder: Path) -> Path | None:
    if isinstance(values, dict):
        path = folder / "input_example.npz"
        np.savez(path, **{name: _array(tensor) for name, tensor in values.items()})
        return path
    path = folder / "input_example.npy"
    np.save(path, _array(values))
    return path


def _array(values: Any) -> Any:
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float64 else array  # JSON does not tell them apart
