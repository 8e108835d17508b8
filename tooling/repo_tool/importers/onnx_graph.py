# SPDX-License-Identifier: Apache-2.0
"""What all importers that emit ONNX share: name the tensors, fit the release, write, read the signature back, run.

Shapes are read from a loaded ONNX Runtime session, never from the file: its shape inference refines what a graph
declares, and Triton's C++ backend compares the configuration with the refined shapes.
"""

__all__ = [
    "FAILS_ON_ROWS",
    "LACKS_OPERATORS",
    "ONNX_FILE",
    "OnnxModel",
    "all_nodes",
    "as_text",
    "check",
    "datatype_of",
    "declare_shapes",
    "drop_weights",
    "fit_release",
    "keep_outputs",
    "newer_opsets",
    "open_session",
    "read_inputs",
    "read_signature",
    "refuse_foreign_operators",
    "refuse_what_triton_cannot_carry",
    "rename_tensors",
    "reshape_output",
    "run",
    "take_column",
    "without_rank",
    "write",
]

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import ReleaseError, SampleError, SourceError
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.samples import Array, Tensors, as_bytes
from repo_tool.signature import FREE, ModelSignature, TensorSpec

OnnxModel = Any  # onnx.ModelProto
LACKS_OPERATORS = "the model uses operators that ONNX Runtime does not have"  # the fact; their names follow
ONNX_FILE = "model.onnx"
FAILS_ON_ROWS = "the model fails on rows of the shapes it declares"  # the fact, when ONNX Runtime does
_LARGEST_PROTOBUF = 2**31 - 2**24  # bytes; protobuf refuses 2 GiB, and the graph itself takes some

# Of ai.onnx.ml, what the ONNX Runtime that loads this ai.onnx opset can load: measured on its releases 1.16 to 1.28.
_MAX_ML_OPSETS = ((21, 5), (20, 4), (0, 3))

# Domains of ONNX itself and of ONNX Runtime's own operators; an operator missing in one of them ONNX Runtime names.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_COMPLEX = (14, 15)  # TensorProto's numbers
_VENDOR_DOMAINS = ("com.microsoft", "com.ms.", "org.pytorch.aten")

# The IR version that brought an element type, and 8 as what every ONNX Runtime since 1.10 reads.
_OLDEST_IR = 8
_IR_OF_ELEMENT_TYPE = {17: 9, 18: 9, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13, 27: 14, 28: 14}
_IR_OF_FIELD = (("overload", 10), ("device_configurations", 11))

_ELEMENT_TYPES = {
    "bool": DataType.BOOL,
    "uint8": DataType.UINT8,
    "uint16": DataType.UINT16,
    "uint32": DataType.UINT32,
    "uint64": DataType.UINT64,
    "int8": DataType.INT8,
    "int16": DataType.INT16,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "float16": DataType.FP16,
    "float": DataType.FP32,
    "double": DataType.FP64,
    "string": DataType.BYTES,
}  # ONNX Runtime's names; bfloat16, the 8- and 4-bit types and complex are absent because Triton refuses them


# --- names and shapes ------------------------------------------------------------------------------------------------


def rename_tensors(model: OnnxModel, names: Mapping[str, str]) -> None:
    """Give tensors of the main graph new names, wherever they are used; another tensor in the way steps aside."""
    taken = set(names.values()) - set(names)
    aside = {name: f"{name}_inner" for name in _tensor_names(model.graph) if name in taken}
    _rename_in_graph(model.graph, aside | {old: new for old, new in names.items() if old != new})


def _tensor_names(graph: Any) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from node.output


def _rename_in_graph(graph: Any, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):  # a subgraph sees the tensors around it
                _rename_in_graph(subgraph, names)


def keep_outputs(model: OnnxModel, count: int) -> None:
    """Drop all but the first ``count`` graph outputs; ONNX Runtime drops the nodes that only they needed."""
    del model.graph.output[count:]


def declare_shapes(model: OnnxModel, found: Tensors) -> bool:
    """Correct declared output shapes after the first dimension that a run proved wrong; whether any was."""
    wrong = [output for output in model.graph.output if not _declares(output, found[output.name].shape)]
    for output in wrong:
        shape = output.type.tensor_type.shape
        del shape.dim[1:]
        for size in found[output.name].shape[1:]:
            shape.dim.add().dim_value = size
    return bool(wrong)


def _declares(output: Any, shape: Sequence[int]) -> bool:
    declared = [dimension.dim_value or FREE for dimension in output.type.tensor_type.shape.dim]
    return len(declared) == len(shape) and all(
        want in (FREE, have) for want, have in zip(declared[1:], shape[1:], strict=True)
    )


def take_column(model: OnnxModel, output: str, column: int) -> None:
    """Let ``output``, a matrix, answer only one of its columns, as a matrix of that column."""
    _append(model, output, "Gather", [column], axis=1)


def reshape_output(model: OnnxModel, output: str, shape: Sequence[int]) -> None:
    """Let ``output`` answer the same values in another shape."""
    _append(model, output, "Reshape", shape)


def _append(model: OnnxModel, output: str, operator: str, constant: Sequence[int], **attributes: int) -> None:
    """Put ``operator`` with a constant second input between the graph and its output."""
    import onnx

    before, numbers = f"{output}_before_{operator.lower()}", f"{output}_{operator.lower()}"
    for node in model.graph.node:
        node.input[:] = [before if name == output else name for name in node.input]
        node.output[:] = [before if name == output else name for name in node.output]
    values = np.asarray(constant, dtype=np.int64)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, numbers))
    model.graph.node.append(onnx.helper.make_node(operator, [before, numbers], [output], **attributes))


def drop_weights(model: OnnxModel) -> None:
    """Forget the values of the main graph's weights; names and shapes stay. The file on disk has them."""
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        for values in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data"):
            tensor.ClearField(values)


# --- what a server can load ------------------------------------------------------------------------------------------


def refuse_what_triton_cannot_carry(model: OnnxModel) -> None:
    """Refuse a graph without inputs, or with inputs or outputs that are no tensors, or are of complex numbers.

    Raises:
        SourceError: naming them.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    if all(value.name in weights for value in model.graph.input):
        raise SourceError(
            "the model takes no input", cause="Triton serves models with at least one", next_step="give it an input"
        )
    for role, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            if value.type.WhichOneof("value") not in (None, "tensor_type"):
                raise _no_tensor(role, value.name, _type_words(value.type), model)
            if value.type.tensor_type.elem_type in _COMPLEX:
                raise SourceError(
                    f"'{value.name}' holds complex numbers",
                    cause="neither Triton nor ONNX Runtime carries them",
                    next_step="split them into a real and an imaginary part inside the model",
                )


def _type_words(kind: Any) -> str:
    """A type as ONNX Runtime writes it: ``seq(tensor(float))``."""
    import onnx

    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        name = onnx.TensorProto.DataType.Name(getattr(kind, which).elem_type).lower()
        return f"{which.removesuffix('_type')}({name})"
    if which == "map_type":
        key = onnx.TensorProto.DataType.Name(kind.map_type.key_type).lower()
        return f"map({key},{_type_words(kind.map_type.value_type)})"
    word = {"sequence_type": "seq", "optional_type": "optional"}.get(which)
    return f"{word}({_type_words(getattr(kind, which).elem_type)})" if word else "of no type"


def refuse_foreign_operators(model: OnnxModel) -> None:
    """Refuse operators of domains that ONNX Runtime has not.

    Raises:
        SourceError: naming them.
    """
    foreign = sorted(_foreign_operators(model))
    if foreign:
        raise SourceError(
            f"{LACKS_OPERATORS}: {', '.join(foreign)}",
            cause="they come from a library of their own, or are for training",
            next_step="export the model with standard operators, or write them as functions of the ONNX model",
        )


def check(artifact: Path, name: str) -> None:
    """Hold the file to ONNX's own checker; ``name`` is what messages call it.

    Raises:
        SourceError: it is not valid.
    """
    import onnx

    with refusing(f"'{name}' is not valid ONNX", next_step="export it again, then try onnx.checker on it"):
        onnx.checker.check_model(artifact)


def _foreign_operators(model: OnnxModel) -> set[str]:
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [*all_nodes(model.graph), *(node for function in model.functions for node in function.node)]
    return {
        f"{node.op_type} of {node.domain}"
        for node in nodes
        if (node.domain, node.op_type) not in own and not _is_known(node.domain)
    }


def _is_known(domain: str) -> bool:
    return domain in _DOMAINS or domain.startswith(_VENDOR_DOMAINS)


# --- what a release can load -----------------------------------------------------------------------------------------


def fit_release(model: OnnxModel, request: ImportRequest) -> tuple[str, ...]:
    """Hold opsets and IR version to the request's; lower the IR version where nothing in the graph needs it.

    Returns:
        What was changed, for a person to read.

    Raises:
        ReleaseError: an opset or the IR version is newer than allowed.
    """
    _merge_opsets(model)
    for domain, most in newer_opsets(model, request).items():
        version = next(entry.version for entry in model.opset_import if (entry.domain or "ai.onnx") == domain)
        raise ReleaseError(
            f"the model uses opset {version} of {domain}, {request.target} loads up to {most}",
            cause="its ONNX Runtime is older than the model",
            next_step=f"export the model again with opset {most} (or onnx.version_converter), "
            "or aim at a newer release with --release",
        )
    return _lower_ir(model, request)


def newer_opsets(model: OnnxModel, request: ImportRequest) -> dict[str, int]:
    """The domains whose opset is newer than the release loads, and the newest that it does."""
    limits = {"ai.onnx": request.max_opset, "ai.onnx.ml": _max_ml_opset(request.max_opset)}
    declared = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return {domain: most for domain, most in limits.items() if declared.get(domain, 0) > most}


def _merge_opsets(model: OnnxModel) -> None:
    """List a domain once that is listed twice, as some converters do."""
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        versions[entry.domain] = max(entry.version, versions.get(entry.domain, 0))
    if len(versions) < len(model.opset_import):
        del model.opset_import[:]
        for domain, version in versions.items():
            model.opset_import.add(domain=domain, version=version)


def _max_ml_opset(max_opset: int) -> int:
    return next(most for opset, most in _MAX_ML_OPSETS if max_opset >= opset)


def _lower_ir(model: OnnxModel, request: ImportRequest) -> tuple[str, ...]:
    declared, most = model.ir_version, request.max_ir_version
    if declared <= most:
        return ()
    needed = _needed_ir(model)
    if needed > most:
        raise ReleaseError(
            f"the model needs IR version {needed}, {request.target} loads up to {most}",
            cause="it uses an element type or a field that came with that IR version",
            next_step="export the model without 8-, 4- or 2-bit types, or aim at a newer release with --release",
        )
    model.ir_version = most
    return (f"IR version lowered from {declared} to {most}; nothing in the graph needs the newer one",)


def _needed_ir(model: OnnxModel) -> int:
    nodes = [*all_nodes(model.graph), *(node for function in model.functions for node in function.node)]
    fields = [ir for name, ir in _IR_OF_FIELD if any(getattr(node, name, None) for node in nodes)]
    types = {*_value_types(model.graph), *(kind for node in nodes for kind in _attribute_types(node))}
    return max([_OLDEST_IR, *fields, *(_IR_OF_ELEMENT_TYPE.get(kind, 0) for kind in types)])


def all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph or function, and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from all_nodes(subgraph)


def _value_types(graph: Any) -> Iterator[int]:
    yield from (tensor.data_type for tensor in graph.initializer)
    yield from (value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info))


def _attribute_types(node: Any) -> Iterator[int]:
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype", "output_dtype"):
            yield attribute.i
        yield attribute.t.data_type
        for subgraph in (attribute.g, *attribute.graphs):
            yield from _value_types(subgraph)


def write(model: OnnxModel, folder: Path) -> Path:
    """Write ``model.onnx`` into ``folder``, in one file unless its weights exceed what protobuf can hold."""
    import onnx

    path = folder / ONNX_FILE
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights < _LARGEST_PROTOBUF:
        onnx.save_model(model, path)
    else:
        onnx.save_model(model, path, save_as_external_data=True, location=f"{ONNX_FILE}.data")
    return path


# --- a loaded session ------------------------------------------------------------------------------------------------


def open_session(path: Path) -> Any:
    """A session of ONNX Runtime on the CPU.

    Raises:
        SourceError: it refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error is raised, and need not be printed too
    with refusing(f"ONNX Runtime does not load '{path.name}'", next_step="check the model with onnx.checker"):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def read_signature(session: Any, model: OnnxModel) -> ModelSignature:
    """What the loaded session takes and gives. Inputs with a default (initializers) are not asked for.

    Args:
        session: from ``open_session``.
        model: the same model's protobuf, without its external data if need be.

    Raises:
        SourceError: an input or output that Triton cannot carry: no tensor, a type it lacks, or an unknown rank.
    """
    declared = {value.name: value for value in model.graph.output}
    return ModelSignature(
        inputs=read_inputs(session, model),
        outputs=tuple(_tensor("output", value, declared, model) for value in session.get_outputs()),
    )


def read_inputs(session: Any, model: OnnxModel) -> tuple[TensorSpec, ...]:
    """What the loaded session has to be given.

    Raises:
        SourceError: an input that Triton cannot carry.
    """
    declared = {value.name: value for value in model.graph.input}
    return tuple(_tensor("input", value, declared, model) for value in session.get_inputs())


def _tensor(role: str, value: Any, declared: Mapping[str, Any], model: OnnxModel) -> TensorSpec:
    kind = re.fullmatch(r"tensor\((\w+)\)", value.type)
    if kind is None:
        raise _no_tensor(role, value.name, value.type, model)
    datatype = datatype_of(role, value.name, kind[1])
    if not value.shape and not declared[value.name].type.tensor_type.HasField("shape"):
        raise without_rank(role, value.name)
    shape = tuple(size if isinstance(size, int) else FREE for size in value.shape)
    if 0 in shape:
        raise SourceError(
            f"{role} '{value.name}' never holds a value: its shape is {list(shape)}",
            cause="Triton's configuration has no dimension of size 0",
            next_step="leave it out of the graph",
        )
    return TensorSpec(name=value.name, datatype=datatype, shape=shape)


def datatype_of(role: str, name: str, element: str) -> DataType:
    """Triton's type for an element type of ONNX: ``float``, ``int64``, ``string``, in any case.

    Raises:
        SourceError: Triton has none.
    """
    if element.lower() not in _ELEMENT_TYPES:
        raise SourceError(
            f"{role} '{name}' is of type {element.lower()}, which Triton's onnxruntime backend does not carry",
            next_step="cast it inside the model to float32 or float16, or to int8 for small integers",
        )
    return _ELEMENT_TYPES[element.lower()]


def without_rank(role: str, name: str) -> SourceError:
    """What to say of a tensor of any number of dimensions."""
    return SourceError(
        f"{role} '{name}' does not say how many dimensions it has",
        cause="the graph declares no shape for it, and ONNX Runtime's shape inference found none",
        next_step="declare its shape when exporting, with free dimensions where sizes vary",
    )


def _no_tensor(role: str, name: str, words: str, model: OnnxModel) -> SourceError:
    fact = f"{role} '{name}' is {words}, and Triton carries tensors only"
    if any(node.op_type == "ZipMap" for node in model.graph.node):
        return SourceError(
            fact,
            cause="a ZipMap node makes a list of dictionaries of the class probabilities",
            next_step="convert again with options={id(model): {'zipmap': False}}, or add the estimator itself",
        )
    word = "an optional value" if words.startswith("optional") else "a sparse tensor, a sequence or a map"
    return SourceError(
        fact, cause=f"the graph declares {word}", next_step="export the model with plain tensors as inputs and outputs"
    )


def run(session: Any, inputs: Tensors) -> dict[str, Array]:
    """The session's answers by output name; strings as arrays of bytes.

    Raises:
        SourceError: ONNX Runtime fails on these rows.
        SampleError: a BYTES value is not UTF-8, which ONNX Runtime's strings are.
    """
    feeds = {name: as_text(name, array) for name, array in inputs.items()}
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
    with refusing(
        f"{FAILS_ON_ROWS}: {shapes}",
        next_step="give rows it was made for with --sample; if only batches fail, free its batch dimension",
    ):
        answers = session.run(None, feeds)
    names = [value.name for value in session.get_outputs()]
    return {
        name: as_bytes(answer) if answer.dtype.kind in "OSU" else answer
        for name, answer in zip(names, map(np.asarray, answers), strict=True)
    }


def as_text(name: str, array: Array) -> Array:
    """An array of bytes as the text that ONNX takes; others as they are.

    Raises:
        SampleError: it is not UTF-8.
    """
    if array.dtype != object:
        return array
    try:
        text = [value.decode() for value in array.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise SampleError(
            f"a value of input '{name}' is not UTF-8 text", cause=str(error), next_step="give text in UTF-8"
        ) from error
    result = np.empty(len(text), dtype=object)
    result[:] = text
    return result.reshape(array.shape)
