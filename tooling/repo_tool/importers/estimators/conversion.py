# SPDX-License-Identifier: Apache-2.0
"""An estimator as an ONNX graph, held to the estimator's own answers before it counts."""

__all__ = ["NotExpressibleError", "Proof", "express"]

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import RepoToolError, needs_extra
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.estimators.answers import Answer, Predictor
from repo_tool.importers.estimators.inputs import Form
from repo_tool.importers.estimators.parts import handing_over_plainly, parts_of
from repo_tool.importers.estimators.sources import last_step, name_of
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, Tensors
from repo_tool.signature import FREE, ModelSignature
from repo_tool.verification import Tolerance, disagreement

_OPSET = 18  # what every Triton since 23.10 loads; the converters need no newer
_ML_OPSET = 3  # what every ONNX Runtime since 1.11 loads; the converters need no newer

_LONGEST_REASON = 240

# Where skl2onnx puts what a method returns among its outputs.
_POSITIONS = {"predict": 0, "transform": 0, "predict_proba": 1, "decision_function": 1}

# Estimators that answer with another one inside them: what that one converts to is the same model.
_ANSWERING = {
    "GridSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "FrozenEstimator": "estimator",
    "SelfTrainingClassifier": "estimator_",
}


class NotExpressibleError(Exception):
    """Why ONNX does not serve the estimator; ``str()`` is a phrase for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Rows and the estimator's own answers to them, which a graph is held to."""

    inputs: Tensors
    reference: Tensors
    further: tuple[tuple[Tensors, Tensors], ...] = ()  # more rows and answers
    batches: bool = True  # whether rows may be asked one by one


def express(predictor: Predictor, proof: Proof, request: ImportRequest, folder: Path) -> tuple[Path, ModelSignature]:
    """Write ``model.onnx`` into ``folder``.

    Single precision is tried first, double precision inside the graph second: the thresholds of trees and the
    matrices of kernels may need it. Clients see single precision in both.

    Raises:
        NotExpressibleError: there is no conversion, or each differs from the estimator.
    """
    _refuse_what_onnx_has_not(predictor)
    reasons: list[str] = []
    for types in _type_plans(predictor):
        try:
            return _attempt(predictor, proof, types, request, folder)
        except RepoToolError as error:
            reasons.append(_reason(predictor, error))
        except NotExpressibleError as error:
            reasons.append(str(error))
        for leftover in folder.glob(f"{onnx_graph.ONNX_FILE}*"):
            leftover.unlink()
        if "no converter" in reasons[-1]:
            break
    # What the plainest conversion failed with says most; the others' difficulties are their own.
    raise NotExpressibleError(reasons[0])


def _refuse_what_onnx_has_not(predictor: Predictor) -> None:
    methods = [answer.method for answer in predictor.answers if answer.method not in _POSITIONS]
    if methods:
        raise NotExpressibleError(f"skl2onnx does not convert {methods[0]}")
    trees = (part.tree_ for part in parts_of(predictor.estimator) if hasattr(part, "tree_"))
    if any(np.isinf(tree.threshold).any() for tree in trees):
        raise NotExpressibleError("skl2onnx does not convert trees that ask whether a value is missing")
    if predictor.form.form in (Form.RECORDS, Form.LABELS):
        raise NotExpressibleError(f"ONNX has no form of the input that {name_of(predictor.estimator)} takes")


def _type_plans(predictor: Predictor) -> Iterator[Mapping[str, DataType]]:
    """The types that the graph's inputs have inside it: their own, then all numbers as floats, then as doubles."""
    inputs = predictor.form.inputs
    seen: list[Mapping[str, DataType]] = []
    for number in (None, DataType.FP32, DataType.FP64):
        plan = {
            spec.name: spec.datatype if number is None or spec.datatype is DataType.BYTES else number for spec in inputs
        }
        if plan not in seen:
            seen.append(plan)
            yield plan


def _reason(predictor: Predictor, error: RepoToolError) -> str:
    culprit = _without_converter(error.__cause__)
    if culprit is not None:
        return f"skl2onnx has no converter for {culprit or name_of(predictor.estimator)}"
    words = f"{error.fact}: {error.cause}" if error.cause else error.fact
    return words if len(words) <= _LONGEST_REASON else words[:_LONGEST_REASON] + " …"


def _without_converter(error: BaseException | None) -> str | None:
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    if not isinstance(error, MissingConverter | MissingShapeCalculator):
        return None
    named = re.search(r"<class '([\w.]+)'>", str(error))
    return named[1].rsplit(".", 1)[-1] if named else ""


def _attempt(
    predictor: Predictor, proof: Proof, types: Mapping[str, DataType], request: ImportRequest, folder: Path
) -> tuple[Path, ModelSignature]:
    model = _convert(predictor, types, request)
    _refuse_what_hangs_on_the_machine(model)
    _settle_inputs(model, predictor, types)
    _choose_outputs(model, predictor)
    onnx_graph.fit_release(model, request)
    artifact = onnx_graph.write(model, folder)
    session = onnx_graph.open_session(artifact)
    _mend_outputs(model, predictor.answers, onnx_graph.run(session, proof.inputs), proof.reference)
    artifact = onnx_graph.write(model, folder)
    session = onnx_graph.open_session(artifact)
    _hold(session, proof, request.allowed)
    return artifact, onnx_graph.read_signature(session, model)


def _refuse_what_hangs_on_the_machine(model: Any) -> None:
    if any(node.op_type == "StringNormalizer" for node in model.graph.node):
        raise NotExpressibleError("ONNX lowercases text by the server's locale, which a server may lack")


def _hold(session: Any, proof: Proof, tolerance: Tolerance) -> None:
    """Every row at once and alone, then more rows made of them."""
    pairs = [(proof.inputs, proof.reference), *proof.further]
    if proof.batches:
        first = {name: array[:1] for name, array in proof.inputs.items()}
        pairs.insert(1, (first, {name: array[:1] for name, array in proof.reference.items()}))
    for inputs, reference in pairs:
        complaint = disagreement(onnx_graph.run(session, inputs), reference, tolerance=tolerance)
        if complaint:
            raise NotExpressibleError(f"its ONNX form differs: {complaint}")


# --- converting ------------------------------------------------------------------------------------------------------


def _convert(predictor: Predictor, types: Mapping[str, DataType], request: ImportRequest) -> Any:
    with needs_extra("sklearn"):
        from skl2onnx import __max_supported_opset__ as newest
    opsets = {"": min(_OPSET, newest, request.max_opset), "ai.onnx.ml": _ML_OPSET}
    estimator = _answering(predictor.estimator)
    wanted = {"initial_types": _initial_types(predictor, types), "target_opset": opsets}
    with (
        refusing(f"{name_of(estimator)} does not convert to ONNX", next_step="leave --backend out"),
        warnings.catch_warnings(),
        handing_over_plainly(estimator),
    ):
        warnings.simplefilter("ignore")
        return _skl2onnx(estimator, wanted, predictor.answers)


def _answering(estimator: Any) -> Any:
    while type(estimator).__name__ in _ANSWERING and type(estimator).__module__.startswith("sklearn."):
        estimator = getattr(estimator, _ANSWERING[type(estimator).__name__])
    return estimator


def _initial_types(predictor: Predictor, types: Mapping[str, DataType]) -> list[tuple[str, Any]]:
    from skl2onnx.common import data_types

    kinds = {
        DataType.FP32: data_types.FloatTensorType,
        DataType.FP64: data_types.DoubleTensorType,
        DataType.INT64: data_types.Int64TensorType,
        DataType.BOOL: data_types.BooleanTensorType,
        DataType.BYTES: data_types.StringTensorType,
    }
    return [
        (spec.name, kinds[types[spec.name]]([None if size == FREE else size for size in spec.shape]))
        for spec in predictor.form.inputs
    ]


def _skl2onnx(estimator: Any, wanted: Mapping[str, Any], answers: Sequence[Answer]) -> Any:
    from skl2onnx import convert_sklearn

    last = last_step(estimator)
    if not hasattr(last, "classes_"):
        return convert_sklearn(estimator, **wanted)
    options: dict[str, Any] = {"zipmap": False}
    if hasattr(last, "predict_proba") and any(answer.method == "decision_function" for answer in answers):
        options["raw_scores"] = True
    try:
        return convert_sklearn(estimator, **wanted, options={id(last): options})
    except NameError:  # skl2onnx's word for an option that a converter has not; left out, a Pipeline would set it
        return convert_sklearn(estimator, **wanted, options={id(last): {}})


# --- the graph's ends ------------------------------------------------------------------------------------------------


def _settle_inputs(model: Any, predictor: Predictor, types: Mapping[str, DataType]) -> None:
    """Let the graph take the names and types that clients send, whatever it calls them and computes in."""
    import onnx

    found, wanted = list(model.graph.input), predictor.form.inputs
    if len(found) != len(wanted):
        raise NotExpressibleError(f"its ONNX form takes {len(found)} inputs instead of {len(wanted)}")
    onnx_graph.rename_tensors(model, {value.name: spec.name for value, spec in zip(found, wanted, strict=True)})
    for value, spec in zip(found, wanted, strict=True):
        if types[spec.name] is spec.datatype:
            continue
        cast = f"{spec.name}_cast"
        onnx_graph.rename_tensors(model, {spec.name: cast})
        value.name = spec.name
        value.type.tensor_type.elem_type = spec.datatype.value.onnx_element_type
        node = onnx.helper.make_node("Cast", [spec.name], [cast], to=types[spec.name].value.onnx_element_type)
        model.graph.node.insert(0, node)


def _choose_outputs(model: Any, predictor: Predictor) -> None:
    """Keep the outputs that are asked for, in the order of the answers, under their names."""
    found, answers = list(model.graph.output), predictor.answers
    measures = hasattr(last_step(predictor.estimator), "cluster_centers_")  # its distances stand behind the labels
    kept = []
    for answer in answers:
        position = 1 if measures and answer.method == "transform" else _POSITIONS[answer.method]
        if position >= len(found):
            raise NotExpressibleError(f"its ONNX form has no output for {answer.method}")
        kept.append(found[position])
    if any(answer.part is not None for answer in answers):
        kept = _split_targets(model, answers, kept)
    names = {output.name: answer.output for output, answer in zip(kept, answers, strict=True)}
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx_graph.rename_tensors(model, names)


def _split_targets(model: Any, answers: Sequence[Answer], outputs: Sequence[Any]) -> list[Any]:
    """Of an output with the probabilities of every target, a sequence or ``[targets, rows, classes]``, each part."""
    import onnx

    parts = []
    for answer, output in zip(answers, outputs, strict=True):
        if answer.part is None:
            parts.append(output)
            continue
        name, index = f"{output.name}_part_{answer.part}", f"{output.name}_index_{answer.part}"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(answer.part, dtype=np.int64), index))
        is_sequence = output.type.WhichOneof("value") == "sequence_type"
        operator, attributes = ("SequenceAt", {}) if is_sequence else ("Gather", {"axis": 0})
        model.graph.node.append(onnx.helper.make_node(operator, [output.name, index], [name], **attributes))
        tensor = output.type.sequence_type.elem_type.tensor_type if is_sequence else output.type.tensor_type
        parts.append(onnx.helper.make_tensor_value_info(name, tensor.elem_type, [None, None]))
    return parts


def _mend_outputs(model: Any, answers: Sequence[Answer], found: Tensors, expected: Tensors) -> None:
    """Bring the outputs' types and shapes to the estimator's, and declare them: some converters declare others."""
    for answer in answers:
        name, values = answer.output, expected[answer.output]
        _mend_shape(model, name, found[name], values)
        _mend_type(model, answer, found[name])
        shape = next(output for output in model.graph.output if output.name == name).type.tensor_type.shape
        del shape.dim[:]
        shape.dim.add().dim_param = "rows"
        for size in values.shape[1:]:
            shape.dim.add().dim_value = size
    del model.graph.value_info[:]  # what it says of the tensors between may be as wrong


def _mend_shape(model: Any, name: str, found: Array, wanted: Array) -> None:
    if found.shape == wanted.shape:
        return
    if found.shape == (len(wanted), 2) and wanted.shape == (len(wanted), 1):
        # Of two classes' scores some converters put the estimator's own first, some second; the other is negated.
        column = int(np.abs(found - wanted).sum(axis=0).argmin())
        onnx_graph.take_column(model, name, column)
    elif found.size == wanted.size:
        onnx_graph.reshape_output(model, name, (FREE, *wanted.shape[1:]))
    else:
        raise NotExpressibleError(f"its ONNX form answers '{name}' with {list(found.shape)}, not {list(wanted.shape)}")


def _mend_type(model: Any, answer: Answer, found: Array) -> None:
    if found.dtype == answer.datatype.numpy:
        return
    if DataType.BYTES in (DataType.from_numpy(found.dtype), answer.datatype):
        raise NotExpressibleError(f"its ONNX form answers '{answer.output}' with {found.dtype}")
    _cast_output(model, answer)


def _cast_output(model: Any, answer: Answer) -> None:
    import onnx

    before = f"{answer.output}_before_cast"
    for node in model.graph.node:
        node.input[:] = [before if name == answer.output else name for name in node.input]
        node.output[:] = [before if name == answer.output else name for name in node.output]
    kind = answer.datatype.value.onnx_element_type
    model.graph.node.append(onnx.helper.make_node("Cast", [before], [answer.output], to=kind))
    entry = next(output for output in model.graph.output if output.name == answer.output)
    entry.type.tensor_type.elem_type = kind
