# SPDX-License-Identifier: Apache-2.0
"""TensorFlow: Keras archives and SavedModel folders, brought in as ONNX or left as a SavedModel."""

__all__ = ["TensorflowImporter"]

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
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

_SIGNATURE = "serving_default"
_SAVED_MODEL = "model.savedmodel"
_OPSET = 18  # the newest of tf2onnx
_DAMAGED = "copy or save it again; the file may have been cut short"
_BACKENDS = ("onnxruntime", "tensorflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """One signature of a SavedModel, as a function of named tensors."""

    function: Callable[..., Mapping[str, Any]]
    signature: ModelSignature
    owner: Any  # TensorFlow frees the variables with the object that was loaded
    model: Any = None  # the Keras model that it was exported from


class TensorflowImporter:
    """Keras 3 archives and SavedModel folders."""

    framework = "tensorflow"
    extra = "tensorflow"

    def recognises(self, source: str) -> bool:
        """Whether it is a folder with saved_model.pb, or a Keras archive; HDF5 is recognised to be refused."""
        return looks_like(source, suffixes={".keras", ".h5"}, kinds={Kind.KERAS, Kind.SAVED_MODEL, Kind.HDF5})

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Load, answer the rows in TensorFlow on the CPU, convert.

        Raises:
            SourceError: it does not load, has no serving signature, or cannot be converted.
            SampleError: the rows do not fit.
            ReleaseError: it needs a newer opset or IR version than allowed.
        """
        backend = request.backend or _BACKENDS[0]
        if backend not in _BACKENDS:
            raise SourceError(
                f"TensorFlow models are not served by the backend '{backend}'",
                next_step=f"leave --backend out, or choose {' or '.join(_BACKENDS)}",
            )
        source = Path(request.source)
        _refuse_other_kinds(source)
        _prepare_environment()
        with TemporaryDirectory(dir=folder) as scratch:
            model = _load_keras(source) if kind_of(source) is Kind.KERAS else None
            saved = source if model is None else _export(model, source, Path(scratch) / _SAVED_MODEL)
            served = _load(saved, model)
            write = _write_onnx if backend == "onnxruntime" else _copy
            artifact, signature, notes = write(served, saved, request, folder)
        rows = rows_for(sample, signature.inputs)
        return ImportedModel(
            framework=self.framework,
            backend=backend,
            signature=signature,
            artifact=artifact,
            inputs=rows.inputs,
            inputs_were_generated=rows.generated,
            reference=_answers(served, rows.inputs),
            tool_versions=_tool_versions(backend),
            notes=notes,
        )


def _prepare_environment() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a conversion needs no GPU, and may not take one from a server


def _tool_versions(backend: str) -> dict[str, str]:
    converters = ("tf2onnx", "onnxruntime") if backend == "onnxruntime" else ()
    return {name: metadata.version(name) for name in ("tensorflow", "keras", *converters)}


# --- loading ---------------------------------------------------------------------------------------------------------


def _refuse_other_kinds(source: Path) -> None:
    kind = kind_of(source)
    if kind is Kind.HDF5:
        raise SourceError(
            f"'{source.name}' is an HDF5 file",
            cause="its format predates Keras 3, which loads it without any of its safety checks",
            next_step="load it where it was trained and save it again: model.save('model.keras')",
        )
    if kind not in (Kind.KERAS, Kind.SAVED_MODEL):
        raise SourceError(
            f"'{source.name}' is neither a Keras archive nor a SavedModel folder",
            cause=f"it is {kind.value}; a Keras archive is a zip with config.json inside",
            next_step=_DAMAGED,
        )


def _load_keras(source: Path) -> Any:
    with needs_extra("tensorflow"):
        import keras
        import tensorflow  # noqa: F401 - Keras would run on another framework, and export nothing
    with refusing(
        f"'{source.name}' does not load in Keras",
        next_step="register custom layers inside a package, or save the model as a SavedModel: model.export(folder)",
    ):
        return keras.saving.load_model(source, compile=False, safe_mode=True)


def _export(model: Any, source: Path, destination: Path) -> Path:
    with refusing(
        f"Keras cannot export '{source.name}'", next_step="call the model once before saving, so it is built"
    ):
        model.export(destination, verbose=False)
    return destination


def _load(saved: Path, model: Any) -> _Served:
    with needs_extra("tensorflow"):
        import tensorflow as tf

    with refusing(f"'{saved.name}' does not load as a SavedModel", next_step=_DAMAGED):
        loaded = tf.saved_model.load(saved)
    if _SIGNATURE not in loaded.signatures:
        raise SourceError(
            f"the SavedModel has no signature '{_SIGNATURE}'",
            cause=f"it has {', '.join(loaded.signatures) or 'none'}",
            next_step=f"save it again with tf.saved_model.save(model, folder, signatures={{'{_SIGNATURE}': function}})",
        )
    function = loaded.signatures[_SIGNATURE]
    # TensorFlow keeps both in maps without an order of their own.
    takes = sorted(function.structured_input_signature[1].items())
    gives = sorted(function.structured_outputs.items())
    signature = ModelSignature(
        inputs=tuple(_tensor(f"input '{name}'", name, spec) for name, spec in takes),
        outputs=tuple(_tensor(f"output '{name}'", name, spec) for name, spec in gives),
    )
    return _Served(function=function, signature=signature, owner=loaded, model=model)


def _tensor(role: str, name: str, spec: Any) -> TensorSpec:
    if spec.shape.rank is None:
        raise SourceError(
            f"{role} does not say how many dimensions it has", next_step="give its tf.TensorSpec a shape when saving"
        )
    try:
        datatype = DataType.from_numpy(np.dtype(spec.dtype.as_numpy_dtype))
    except (KeyError, TypeError) as error:
        raise SourceError(
            f"{role} is of type {spec.dtype.name}, which Triton has not", next_step="cast it inside the model"
        ) from error
    return TensorSpec(name=name, datatype=datatype, shape=tuple(FREE if size is None else size for size in spec.shape))


def _answers(served: _Served, inputs: Tensors) -> dict[str, Array]:
    """What the model as it was trained answers, under the signature's names."""
    import tensorflow as tf

    names = [spec.name for spec in served.signature.outputs]
    values = {name: tf.constant(array) for name, array in inputs.items()}
    with refusing("the model fails on the sample rows", next_step="give rows it was made for with --sample"):
        answers = _keras_answers(served.model, values)
        if sorted(answers) != sorted(names):  # Keras and its export do not name alike what is nested
            answers = served.function(**values)
    arrays = {name: answers[name].numpy() for name in names}
    return {name: as_bytes(array) if array.dtype == object else array for name, array in arrays.items()}


def _keras_answers(model: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
    taken = [tensor.name for tensor in getattr(model, "inputs", None) or ()]
    if len(values) == 1:
        answers = model(next(iter(values.values())), training=False) if model is not None else {}
    elif sorted(taken) == sorted(values):
        answers = model([values[name] for name in taken], training=False)
    else:
        return {}
    if isinstance(answers, Mapping):
        return answers
    several = answers if isinstance(answers, list | tuple) else [answers]
    return {f"output_{place}": answer for place, answer in enumerate(several)}


# --- converting ------------------------------------------------------------------------------------------------------


_Written = tuple[Path, ModelSignature, tuple[str, ...]]  # with notes


def _copy(served: _Served, saved: Path, request: ImportRequest, folder: Path) -> _Written:
    return Path(shutil.copytree(saved, folder / _SAVED_MODEL)), served.signature, ()


def _write_onnx(served: _Served, saved: Path, request: ImportRequest, folder: Path) -> _Written:
    with needs_extra("tensorflow"):
        import tensorflow as tf
        import tf2onnx

    names = [spec.name for spec in served.signature.inputs]
    taken = served.function.structured_input_signature[1]  # type: ignore[attr-defined]  # of TensorFlow's function
    keep = "keep it a SavedModel: --backend tensorflow"
    function = tf.function(lambda *values: served.function(**dict(zip(names, values, strict=True))))
    with refusing("tf2onnx cannot convert the model", next_step=keep):
        model, _ = tf2onnx.convert.from_function(
            function,
            input_signature=[tf.TensorSpec(taken[name].shape, taken[name].dtype, name=name) for name in names],
            opset=min(_OPSET, request.max_opset),
        )
    notes = onnx_graph.fit_release(model, request)
    artifact = onnx_graph.write(model, folder)
    try:
        session = onnx_graph.open_session(artifact)
    except SourceError as error:
        raise SourceError("ONNX cannot express all of the model", cause=error.cause, next_step=keep) from error
    return artifact, onnx_graph.read_signature(session, model), notes
