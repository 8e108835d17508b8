# SPDX-License-Identifier: Apache-2.0
"""A class of a person's own, ``module:Class`` with ``predict(dict of arrays) -> dict of arrays``, served by Python."""

__all__ = ["PythonClassImporter"]

import importlib
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import SampleError, SourceError
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.first_bytes import is_factory
from repo_tool.importers.foreign import refusing
from repo_tool.importers.python_source import find_module, names_predictor
from repo_tool.importers.rows import rows_for
from repo_tool.samples import Array, RawSample, Tensors, as_bytes
from repo_tool.signature import FREE, ModelSignature, TensorSpec
from repo_tool.verification import Tolerance, disagreement

_RUNNER = Path(__file__).with_name("python_model.py")
_PARAMETER = "python_class"  # what the runner reads
_CLOSE = Tolerance(absolute=1e-5, relative=1e-5)  # floats may add up in another order in a batch
_DEPEND = "requests are not batched: the answer to a row changes with the other rows of its request"


class PythonClassImporter:
    """Whatever has ``predict``: the way in for all that no other importer takes."""

    framework = "python"
    extra = "serve"

    def recognises(self, source: str) -> bool:
        """Whether it is written ``package.module:Class`` and the module's text has that class with a ``predict``."""
        return names_predictor(source)

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Import, ask once, copy the code that was needed for it.

        Raises:
            SourceError: it cannot be imported or made, or does not answer a dict of arrays.
            SampleError: without rows, for a class that does not say what it takes.
        """
        _refuse_what_is_no_class(request)
        module_name, name = request.source.split(":")
        root = _root_of(module_name)
        with _recording_files_below(root) as opened:
            model = _make(request.source, root)
            inputs, declared = _declared(model, request.source)
            specs = inputs or _seen_inputs(sample, request.source)
            rows = rows_for(sample, specs)
            reference = _ask(model, rows.inputs, request.source)
            depends = _rows_depend(model, rows.inputs, reference, request.source)
        copied = _copy_code(root, module_name, opened, folder / "code")
        artifact = folder / "model.py"
        shutil.copyfile(_RUNNER, artifact)
        return ImportedModel(
            framework=self.framework,
            backend="python",
            signature=ModelSignature(
                inputs=specs, outputs=declared or _seen_outputs(reference, specs), batches=not depends
            ),
            artifact=artifact,
            inputs=rows.inputs,
            inputs_were_generated=rows.generated,
            reference=reference,
            tool_versions={"python": platform.python_version(), "numpy": np.__version__},
            parameters={_PARAMETER: f"{module_name}:{name}"},
            notes=(f"copied along: {', '.join(copied)}", *((_DEPEND,) if depends else ())),
            fallback_reason=f"{name} is Python code",
        )


def _refuse_what_is_no_class(request: ImportRequest) -> None:
    if not is_factory(request.source):
        raise SourceError(
            f"'{request.source}' is not written package.module:Class", next_step="name a class with predict(arrays)"
        )
    if request.backend not in (None, "python"):
        raise SourceError(
            f"a Python class is not served by the backend '{request.backend}'", next_step="leave --backend out"
        )
    if request.weights is not None:
        raise SourceError(
            "a Python class loads its own files",
            cause="--weights is for factories of torch modules",
            next_step="open the file in the class, as Path(__file__).with_name('...'): it is copied along",
        )


# --- making it -------------------------------------------------------------------------------------------------------


def _root_of(module_name: str) -> Path:
    """The folder of the import path in which the module, or the package that it is part of, lies."""
    path = find_module(module_name)
    if path is None:
        raise SourceError(
            f"there is no Python module '{module_name}' that is a file",
            next_step="run the command in the folder that holds it, or install it in this environment",
        )
    depth = len(module_name.split(".")) + (path.name == "__init__.py")
    return path.resolve().parents[depth - 1]


def _make(source: str, root: Path) -> Any:
    module_name, name = source.split(":")
    sys.path.insert(0, str(root))
    with refusing(f"the Python module '{module_name}' cannot be imported", next_step="import it in Python yourself"):
        module = importlib.import_module(module_name)
    if not hasattr(module, name):
        raise SourceError(f"'{module_name}' has nothing called '{name}'", next_step="check the name after the colon")
    named = getattr(module, name)
    with refusing(f"'{source}' fails when called without arguments", next_step="let it load what it needs by itself"):
        model = named() if isinstance(named, type) or not hasattr(named, "predict") else named
    if not callable(getattr(model, "predict", None)):
        raise SourceError(
            f"'{source}' makes a {type(model).__name__}, which has no predict",
            next_step="give it predict(self, arrays: dict) -> dict; for a torch.nn.Module pass --framework pytorch",
        )
    return model


def _ask(model: Any, inputs: Tensors, source: str) -> dict[str, Array]:
    with refusing(f"'{source}' fails on the sample rows", next_step="call predict in Python with these rows"):
        answer = model.predict({name: array.copy() for name, array in inputs.items()})
    if not isinstance(answer, Mapping) or not answer:
        raise SourceError(
            f"predict of '{source}' answers a {type(answer).__name__}",
            cause="it must answer a dict of arrays, one for each output",
            next_step="return e.g. {'score': scores}",
        )
    return {str(name): _plain(str(name), value, source) for name, value in answer.items()}


def _plain(name: str, value: Any, source: str) -> Array:
    array = np.asarray(value)
    try:
        datatype = DataType.from_numpy(array.dtype)
    except KeyError as error:
        raise SourceError(
            f"output '{name}' of '{source}' is an array of {array.dtype}, which Triton cannot carry",
            next_step="answer numbers, booleans, str or bytes",
        ) from error
    return as_bytes(array) if datatype is DataType.BYTES else np.ascontiguousarray(array)


# --- what it takes and gives -----------------------------------------------------------------------------------------


def _declared(model: Any, source: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """What ``signature()``, or the attributes ``inputs`` and ``outputs``, say; empty where they say nothing."""
    says = model.signature() if callable(getattr(model, "signature", None)) else {}
    found = [says.get(role) or getattr(model, role, None) or {} for role in ("inputs", "outputs")]
    step = "write them as {'name': ('float32', [-1, 4])}, -1 being free"
    with refusing(f"what '{source}' says of its inputs and outputs cannot be read", next_step=step):
        inputs, outputs = (tuple(_spec(name, *value) for name, value in role.items()) for role in found)
    return inputs, outputs


def _spec(name: str, dtype: Any, shape: Sequence[int]) -> TensorSpec:
    datatype = DataType.BYTES if dtype in (str, bytes, "str", "bytes") else DataType.from_numpy(np.dtype(dtype))
    return TensorSpec(name=name, datatype=datatype, shape=tuple(int(size) for size in shape))


def _seen_inputs(sample: RawSample | None, source: str) -> tuple[TensorSpec, ...]:
    if sample is None or sample.array is not None:
        raise SampleError(
            f"'{source}' does not say what it takes",
            cause="it has no signature() and no attribute inputs",
            next_step="give named rows with --sample (npz, csv or json), or add inputs = {'x': ('float32', [-1, 4])}",
        )
    return tuple(_seen(name, array) for name, array in (sample.tensors or sample.columns).items())


def _seen(name: str, array: Array) -> TensorSpec:
    return TensorSpec(name=name, datatype=DataType.from_numpy(array.dtype), shape=(FREE, *array.shape[1:]))


def _seen_outputs(reference: Tensors, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    stacked = all(spec.has_free_first_dimension for spec in inputs)
    return tuple(
        _seen(name, array)
        if stacked and array.ndim
        else TensorSpec(name=name, datatype=DataType.from_numpy(array.dtype), shape=array.shape)
        for name, array in reference.items()
    )


def _rows_depend(model: Any, inputs: Tensors, reference: Tensors, source: str) -> bool:
    """Whether any row, asked alone or with one neighbour, is answered differently than among all."""
    count = len(next(iter(inputs.values())))
    for size in (1, 2):
        for start in range(0, min(count, 4) - size + 1):
            part = {name: array[start : start + size] for name, array in inputs.items()}
            try:
                answer = _ask(model, part, source)
            except SourceError:
                return True
            expected = {name: array[start : start + size] if array.ndim else array for name, array in reference.items()}
            if disagreement(answer, expected, tolerance=_CLOSE):
                return True
    return False


# --- taking its code along -------------------------------------------------------------------------------------------


@contextmanager
def _recording_files_below(root: Path) -> Iterator[set[Path]]:
    """Collects the files below ``root`` that are opened for reading while the block runs: weights, tables, words."""
    found: set[Path] = set()
    recording = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if recording and event == "open" and isinstance(arguments[0], str | bytes | Path):
            path = Path(str(arguments[0], "utf-8") if isinstance(arguments[0], bytes) else arguments[0]).resolve()
            if path.is_relative_to(root):
                found.add(path)

    sys.addaudithook(watch)  # stays until the worker process ends
    try:
        yield found
    finally:
        recording = False


def _copy_code(root: Path, module_name: str, opened: set[Path], folder: Path) -> list[str]:
    """Copy what was imported and read, in its place below ``root``; from an environment only the package itself."""
    top = module_name.split(".", maxsplit=1)[0]
    own = root / top if "site-packages" in root.parts else root
    modules = {path for module in list(sys.modules.values()) if (path := _file_of(module)) is not None}
    wanted = sorted(path for path in modules | opened if _belongs(path, root, own))
    for path in wanted:
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return [path.relative_to(root).as_posix() for path in wanted]


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _belongs(path: Path, root: Path, own: Path) -> bool:
    if not (path.is_relative_to(own) or path == own.with_suffix(".py")) or not path.is_file():
        return False
    hidden = {"site-packages", "__pycache__"} & set(path.relative_to(root).parts)
    return not hidden and not any(part.startswith(".") for part in path.relative_to(root).parts)
