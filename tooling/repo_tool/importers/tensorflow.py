# SPDX-License-Identifier: Apache-2.0
"""TensorFlow: Keras archives and SavedModel folders, brought in as ONNX or left as a SavedModel."""

__all__ = ["TensorflowImporter"]

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
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
from repo_tool.importers.trials import Trial, batching, other_lengths, refuse_chance, try_rows
from repo_tool.samples import Array, RawSample, Tensors, as_bytes
from repo_tool.signature import FREE, ModelSignature, TensorSpec
from repo_tool.verification import Tolerance, disagreement

_SIGNATURE = "serving_default"
_SIGNATURE_PARAMETER, _TAG_PARAMETER = "TF_SIGNATURE_DEF", "TF_GRAPH_TAG"
_TAG = "serve"
_SAVED_MODEL = "model.savedmodel"
_NO_RANK = (-2,)  # the shape of an output until its answer tells how many dimensions it has
_OPSET = 18  # the newest of tf2onnx
_DAMAGED = "copy or save it again; the file may have been cut short"
_KEEP = "keep it a SavedModel: --backend tensorflow"
_BACKENDS = ("onnxruntime", "tensorflow")
_XLA = "_XlaMustCompile"  # an attribute of functions and of their calls
_TABLE = re.compile("HashTable|LookupTable|DenseTable")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """One signature of a SavedModel, as a function of named tensors."""

    function: Callable[..., Mapping[str, Any]]
    signature: ModelSignature
    owner: Any  # TensorFlow frees the variables with the object that was loaded
    model: Any = None  # the Keras model that it was exported from
    parameters: Mapping[str, str] = field(default_factory=dict)  # what the tensorflow backend must be told


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
            SourceError: it does not load, or has no such signature; ``--backend onnxruntime`` was asked for, and ONNX
                cannot express it.
            SampleError: the rows do not fit.
        """
        if request.backend not in (None, *_BACKENDS):
            raise SourceError(
                f"TensorFlow models are not served by the backend '{request.backend}'",
                next_step=f"leave --backend out, or choose {' or '.join(_BACKENDS)}",
            )
        source = Path(request.source)
        _refuse_other_kinds(source)
        _prepare_environment()
        with TemporaryDirectory(dir=folder) as scratch:
            return _brought_in(source, request, sample, Path(scratch), folder)


def _brought_in(
    source: Path, request: ImportRequest, sample: RawSample | None, scratch: Path, folder: Path
) -> ImportedModel:
    model = _load_keras(source) if kind_of(source) is Kind.KERAS else None
    saved = source if model is None else _export(model, source, scratch / _SAVED_MODEL)
    served = _load(saved, model, request.signature or _SIGNATURE)
    answer = partial(_answers, served)
    trial = try_rows(sample, served.signature.inputs, answer)
    refuse_chance(answer, trial)
    served = replace(served, signature=_with_ranks(served.signature, trial.answers))
    signature, notes = batching(served.signature, answer, trial)
    published = _publish(replace(served, signature=signature), saved, trial, request, scratch, folder)
    return ImportedModel(
        framework=TensorflowImporter.framework,
        backend=published.backend,
        signature=published.signature,
        artifact=published.artifact,
        inputs=trial.rows.inputs,
        inputs_were_generated=trial.rows.generated,
        reference=trial.answers,
        tool_versions=_tool_versions(published.backend),
        notes=(*notes, *published.notes),
        fallback_reason=published.fallback_reason,
        own_backend="tensorflow" if published.backend == "onnxruntime" else "",
        parameters=published.parameters,
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
        f"Keras cannot export '{source.name}'",
        next_step="let the model answer a tensor, or one list or dict of them, and call it once before saving",
    ):
        model.export(destination, verbose=False)
    return destination


def _load(saved: Path, model: Any, name: str) -> _Served:
    with needs_extra("tensorflow"):
        import tensorflow as tf

    with refusing(f"'{saved.name}' does not load as a SavedModel", next_step=_DAMAGED):
        tag = _tag(saved)
        loaded = tf.saved_model.load(saved, tags=[tag])
    function = _signature_of(loaded, name)
    # TensorFlow keeps both in maps without an order of their own.
    takes = sorted(function.structured_input_signature[1].items())
    gives = sorted(function.structured_outputs.items())
    signature = ModelSignature(
        inputs=tuple(_tensor(f"input '{tensor}'", tensor, spec) for tensor, spec in takes),
        outputs=tuple(_tensor(f"output '{tensor}'", tensor, spec, may_lack_rank=True) for tensor, spec in gives),
    )
    parameters = {_SIGNATURE_PARAMETER: name} if name != _SIGNATURE else {}
    if tag != _TAG:
        parameters[_TAG_PARAMETER] = tag
    return _Served(function=function, signature=signature, owner=loaded, model=model, parameters=parameters)


def _signature_of(loaded: Any, name: str) -> Any:
    known = sorted(loaded.signatures)
    if name not in known:
        raise SourceError(
            f"the SavedModel has no signature '{name}'",
            cause=f"it has {', '.join(known) or 'none'}",
            next_step=f"name one of them: --signature {known[0]}"
            if known
            else f"save it again with tf.saved_model.save(model, folder, signatures={{'{name}': function}})",
        )
    function = loaded.signatures[name]
    for what, tensors in (
        ("takes no input", function.structured_input_signature[1]),
        ("gives no output", function.structured_outputs),
    ):
        if not tensors:
            raise SourceError(
                f"the signature '{name}' {what}",
                cause="Triton serves models with at least one input and one output",
                next_step="name another with --signature",
            )
    return function


def _tag(saved: Path) -> str:
    """The tag of the one graph to serve; TensorFlow 1 saved several, for training or for an accelerator each."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    message = SavedModel()
    message.ParseFromString((saved / "saved_model.pb").read_bytes())
    found = [tuple(sorted(graph.meta_info_def.tags)) for graph in message.meta_graphs]
    if (_TAG,) in found:
        return _TAG
    if len(found) == 1 and len(found[0]) == 1:
        return str(found[0][0])
    raise SourceError(
        f"the SavedModel has no graph with the single tag '{_TAG}'",
        cause="its graphs are tagged " + "; ".join(" and ".join(tags) or "not at all" for tags in found),
        next_step=f"save it again with the tag '{_TAG}' alone",
    )


def _tensor(role: str, name: str, spec: Any, *, may_lack_rank: bool = False) -> TensorSpec:
    if hasattr(spec, "flat_values") or hasattr(spec, "row_splits_dtype"):
        raise SourceError(
            f"{role} is a RaggedTensor",
            cause="its rows are of different lengths, and Triton carries tensors only",
            next_step="pad it inside the model: ragged.to_tensor()",
        )
    if spec.shape.rank is None and not may_lack_rank:
        raise SourceError(
            f"{role} does not say how many dimensions it has", next_step="give its tf.TensorSpec a shape when saving"
        )
    try:
        datatype = DataType.from_numpy(np.dtype(spec.dtype.as_numpy_dtype))
    except (KeyError, TypeError) as error:
        raise SourceError(
            f"{role} is of type {spec.dtype.name}, which Triton has not", next_step="cast it inside the model"
        ) from error
    if spec.shape.rank is None:
        return TensorSpec(name=name, datatype=datatype, shape=_NO_RANK)
    shape = tuple(FREE if size is None else size for size in spec.shape)
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def _with_ranks(signature: ModelSignature, answers: Tensors) -> ModelSignature:
    """The signature with every dimension of an output free, where only its answer says how many there are."""
    outputs = tuple(
        replace(spec, shape=(FREE,) * answers[spec.name].ndim) if spec.shape == _NO_RANK else spec
        for spec in signature.outputs
    )
    return replace(signature, outputs=outputs)


def _answers(served: _Served, inputs: Tensors) -> dict[str, Array]:
    """What the model as it was trained answers, under the signature's names."""
    import tensorflow as tf

    names = [spec.name for spec in served.signature.outputs]
    values = {name: tf.constant(array) for name, array in inputs.items()}
    with refusing("the model fails on the sample rows", next_step="give rows it was made for with --sample"):
        answers = _keras_answers(served.model, values)
        if sorted(answers) != sorted(names):  # Keras and its export do not name alike what is nested
            answers = served.function(**values)
    return {name: _array(answers[name].numpy()) for name in names}


def _array(value: Any) -> Array:
    """A single string comes as plain bytes, and strings as whatever objects they are."""
    array = np.asarray(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)
    return as_bytes(array) if array.dtype == object else array


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """What lies in the version directory, and why not as ONNX."""

    backend: str
    artifact: Path
    signature: ModelSignature
    notes: tuple[str, ...] = ()
    fallback_reason: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def _publish(
    served: _Served, saved: Path, trial: Trial, request: ImportRequest, scratch: Path, folder: Path
) -> _Published:
    """As ONNX where that answers the same, else as the SavedModel that it is; a person's choice is not overruled."""
    reason = ""
    if request.backend != "tensorflow":
        try:
            return _as_onnx(_convertible(served, saved, scratch), trial, request, scratch, folder)
        except SourceError as error:
            if request.backend == "onnxruntime":
                raise
            reason = f"{error.fact}: {error.cause}" if error.cause else error.fact
    artifact = Path(shutil.copytree(saved, folder / _SAVED_MODEL))
    return _Published(
        backend="tensorflow",
        artifact=artifact,
        signature=served.signature,
        fallback_reason=reason,
        parameters=served.parameters,
    )


def _convertible(served: _Served, saved: Path, scratch: Path) -> _Served:
    """The same without the wish to be compiled by XLA, for which TensorFlow leaves a function's calls as they are.

    Keras wishes it for convolutions in groups.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    message = SavedModel()
    message.ParseFromString((saved / "saved_model.pb").read_bytes())
    functions = [function for graph in message.meta_graphs for function in graph.graph_def.library.function]
    wishing = [each for function in functions for each in (function, *function.node_def) if _XLA in each.attr]
    if not wishing:
        return served
    for each in wishing:
        del each.attr[_XLA]
    plain = Path(shutil.copytree(saved, scratch / "plain"))
    (plain / "saved_model.pb").write_bytes(message.SerializeToString())
    loaded = tf.saved_model.load(plain, tags=[served.parameters.get(_TAG_PARAMETER, _TAG)])
    name = served.parameters.get(_SIGNATURE_PARAMETER, _SIGNATURE)
    return replace(served, function=loaded.signatures[name], owner=(served.owner, loaded))


def _as_onnx(served: _Served, trial: Trial, request: ImportRequest, scratch: Path, folder: Path) -> _Published:
    _refuse_tables(served)
    model = _converted(served, request)
    notes = onnx_graph.fit_release(model, request)
    into = scratch / "onnx"
    into.mkdir()
    artifact = onnx_graph.write(model, into)
    onnx_graph.drop_weights(model)
    try:
        session = onnx_graph.open_session(artifact)
        signature = onnx_graph.read_signature(session, model)
    except SourceError as error:
        raise SourceError(
            "ONNX cannot express all of the model", cause=error.cause or error.fact, next_step=_KEEP
        ) from error
    _refuse_other_answers(served, session, trial, request.allowed)
    for entry in into.iterdir():
        entry.rename(folder / entry.name)
    return _Published(
        backend="onnxruntime",
        artifact=folder / artifact.name,
        signature=replace(signature, batches=served.signature.batches),
        notes=notes,
    )


def _refuse_tables(served: _Served) -> None:
    """A conversion from a function leaves the contents of tables behind."""
    graph = served.function.graph.as_graph_def()  # type: ignore[attr-defined]  # of TensorFlow's function
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    tables = sorted({node.op for node in nodes if _TABLE.search(node.op)})
    if tables:
        raise SourceError(
            "it looks values up in a table",
            cause=f"{', '.join(tables)} would reach ONNX without the table's contents",
            next_step=_KEEP,
        )


def _converted(served: _Served, request: ImportRequest) -> Any:
    with needs_extra("tensorflow"):
        import tensorflow as tf
        import tf2onnx

    names = [spec.name for spec in served.signature.inputs]
    taken = served.function.structured_input_signature[1]  # type: ignore[attr-defined]  # of TensorFlow's function
    function = tf.function(lambda *values: served.function(**dict(zip(names, values, strict=True))))
    specs = [tf.TensorSpec(taken[name].shape, taken[name].dtype, name=name) for name in names]
    with refusing("tf2onnx cannot convert the model", next_step=_KEEP):
        model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=min(_OPSET, request.max_opset))
    _fill_in_constants(model, function.get_concrete_function(*specs))
    _spell_out_erfc(model)
    _refuse_what_onnx_lacks(model)
    return model


def _fill_in_constants(model: Any, concrete: Any) -> None:
    """Give the graph the tensors that the function captured: tf2onnx leaves all but variables to be fed."""
    import onnx

    captured = concrete.captured_inputs
    placeholders = concrete.inputs[len(concrete.inputs) - len(captured) :]
    values = {place.name: value for place, value in zip(placeholders, captured, strict=True)}
    for given in [given for given in model.graph.input if given.name in values]:
        model.graph.initializer.append(onnx.numpy_helper.from_array(values[given.name].numpy(), given.name))
        model.graph.input.remove(given)


def _spell_out_erfc(model: Any) -> None:
    """ONNX knows Erf alone, and an exact GELU is written with Erfc: 1 - Erf."""
    import onnx

    for node in [node for node in model.graph.node if node.op_type == "Erfc"]:
        place, erf, one = list(model.graph.node).index(node), f"{node.output[0]}_erf", f"{node.output[0]}_one"
        model.graph.node.remove(node)
        # CastLike gives the constant the type of x.
        made = (
            onnx.helper.make_node("Constant", [], [f"{one}_float"], value_float=1.0),
            onnx.helper.make_node("CastLike", [f"{one}_float", node.input[0]], [one]),
            onnx.helper.make_node("Erf", list(node.input), [erf]),
            onnx.helper.make_node("Sub", [one, erf], list(node.output)),
        )
        for offset, each in enumerate(made):
            model.graph.node.insert(place + offset, each)


def _refuse_what_onnx_lacks(model: Any) -> None:
    import onnx

    lacking = sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if lacking:
        raise SourceError(
            "ONNX cannot express all of the model",
            cause=f"it has no operator for {', '.join(lacking)}",
            next_step=_KEEP,
        )


def _refuse_other_answers(served: _Served, session: Any, trial: Trial, tolerance: Tolerance) -> None:
    """Hold the graph to TensorFlow's answers: to all rows, to a few, and in other lengths where these are free."""
    inputs, wanted = trial.rows.inputs, trial.answers
    _compare("the sample", onnx_graph.run(session, inputs), wanted, tolerance)
    if served.signature.can_batch:
        few = {name: array[:1] for name, array in inputs.items()}
        alone = {name: array[:1] for name, array in wanted.items()}
        _compare("a single row", onnx_graph.run(session, few), alone, tolerance)
    longer = other_lengths(served.signature.inputs, inputs)
    if longer is None:
        return
    try:
        wanted = _answers(served, longer)
    except SourceError:
        return  # TensorFlow does not take that length either
    _compare("longer rows", onnx_graph.run(session, longer), wanted, tolerance)


def _compare(what: str, found: Tensors, wanted: Tensors, tolerance: Tolerance) -> None:
    complaint = disagreement(found, wanted, tolerance=tolerance)
    if complaint:
        raise SourceError(f"as ONNX the model answers {what} differently", cause=complaint, next_step=_KEEP)
