# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file says about itself, read as data.

The file is never loaded into ONNX Runtime here: a validator looks at files that nobody has vouched for. Symbolic
dimensions are refined by ONNX's own shape inference, as ONNX Runtime does when it loads a model, so that the shapes
are those of a loaded session; ``tests/conformance`` compares the two.
"""

__all__ = ["OnnxFileError", "OnnxModel", "OnnxTensor", "is_onnx_installed", "read_onnx"]

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from repo_tool.datatypes import DataType
from repo_tool.rules.file_kinds import is_file
from repo_tool.rules.onnx_graph import GraphProblem, ProblemKind, graph_problems, is_sorted
from repo_tool.rules.shape_inference import Inferred, infer

_LARGE_TENSOR = 4096  # elements; larger initializers are weights, whose values shape inference never asks for
_MOST_PROBLEMS = 50  # that are told of one graph
_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# What ONNX Runtime brings beside the standard operators.
_RUNTIME_DOMAINS = ("ai.onnx.preview.training", "com.microsoft", "com.microsoft.experimental", "com.microsoft.nchwc")


class OnnxFileError(Exception):
    """The file is no ONNX model; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxTensor:
    """An input or output of the graph; ``shape`` includes the batch dimension, -1 where free."""

    name: str
    kind: str  # "tensor", or what else it is: "sequence", "map", "optional", "sparse tensor", "untyped"
    element_type: int = 0  # onnx.TensorProto.DataType
    shape: tuple[int, ...] = ()
    has_rank: bool = True

    @property
    def datatype(self) -> DataType | None:
        """Triton's data type; None where the ONNX Runtime backend has none for it."""
        try:
            datatype = DataType.from_onnx(self.element_type)
        except KeyError:
            return None
        return None if datatype is DataType.BF16 else datatype

    @property
    def element_type_name(self) -> str:
        """The ONNX name of the element type, e.g. FLOAT8E4M3FN."""
        import onnx

        return str(onnx.TensorProto.DataType.Name(self.element_type))


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """The inputs, outputs and versions of an ONNX file."""

    ir_version: int
    opset: int | None  # of the default domain; None when the file imports only others
    ml_opset: int | None  # of ai.onnx.ml; None when the file does not import it
    inputs: tuple[OnnxTensor, ...]  # without those that have an initializer
    overridable_initializers: tuple[OnnxTensor, ...]  # inputs that have a default value
    outputs: tuple[OnnxTensor, ...]
    # Whether every operator is a standard one and the shapes were inferred; behind others only ONNX Runtime knows them.
    is_standard: bool
    external_files: tuple[str, ...] = ()  # in which weights lie, relative to the file's folder
    unknown_operators: tuple[str, ...] = ()  # of domains that ONNX Runtime does not bring, as domain:operator
    problems: tuple[GraphProblem, ...] = ()  # for which ONNX Runtime refuses the graph

    def every_tensor(self) -> tuple[OnnxTensor, ...]:
        """All inputs, initializers that can be overridden, and outputs."""
        return (*self.inputs, *self.overridable_initializers, *self.outputs)


def is_onnx_installed() -> bool:
    """Whether ONNX files can be read; the extra ``onnx`` brings what is needed."""
    return importlib.util.find_spec("onnx") is not None


def read_onnx(path: Path) -> OnnxModel:
    """Read the graph's signature from ``path``; weights kept in other files are not opened.

    Raises:
        OnnxFileError: the file is missing, unreadable, or no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not is_file(path):
        raise OnnxFileError("it is no file")
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise OnnxFileError(error.strerror or str(error)) from error
    except (DecodeError, ValueError) as error:
        raise OnnxFileError(f"it does not parse as protobuf: {error}") from error
    if not model.HasField("graph") or model.ir_version == 0:
        raise OnnxFileError("it parses as protobuf, but holds no graph")
    problems = tuple(islice(dict.fromkeys(graph_problems(model)), _MOST_PROBLEMS))
    # Inference reads what is not there, and has crashed on it: nobody loads such a graph.
    inferred = Inferred() if problems else _inferred(model)
    return _described(model, inferred, (*problems, *_mismatches(inferred, model)))


def _inferred(model: Any) -> Inferred:
    for tensor in model.graph.initializer:
        if _element_count(tensor) > _LARGE_TENSOR:
            tensor.ClearField("raw_data")
    return infer(model)


def _mismatches(inferred: Inferred, model: Any) -> Iterator[GraphProblem]:
    if inferred.mismatch and is_sorted(model.graph):
        yield GraphProblem(kind=ProblemKind.MISMATCH, text=inferred.mismatch)


def _described(model: Any, inferred: Inferred, problems: tuple[GraphProblem, ...]) -> OnnxModel:
    initializers = {tensor.name for tensor in model.graph.initializer}
    domains = {node.domain for node in model.graph.node} | {function.domain for function in model.functions}
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    ml_opsets = [entry.version for entry in model.opset_import if entry.domain == "ai.onnx.ml"]
    inputs = [_tensor(value) for value in model.graph.input]
    return OnnxModel(
        ir_version=model.ir_version,
        opset=max(opsets, default=None),
        ml_opset=max(ml_opsets, default=None),
        inputs=tuple(tensor for tensor in inputs if tensor.name not in initializers),
        # Before IR 4 an initializer had to be listed as an input, and could not be overridden.
        overridable_initializers=tuple(
            tensor for tensor in inputs if tensor.name in initializers and model.ir_version >= 4
        ),
        outputs=tuple(
            _tensor(value) for value in (model.graph.output if inferred.outputs is None else inferred.outputs)
        ),
        is_standard=domains <= set(_STANDARD_DOMAINS) and not model.functions and inferred.outputs is not None,
        external_files=_external_files(model),
        unknown_operators=tuple(sorted(_unknown_operators(model))),
        problems=problems,
    )


def _external_files(model: Any) -> tuple[str, ...]:
    import onnx

    entries = (
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    )
    return tuple(sorted(set(entries)))


def _unknown_operators(model: Any) -> set[str]:
    known = {*_STANDARD_DOMAINS, *_RUNTIME_DOMAINS}
    functions = {(function.domain, function.name) for function in model.functions}
    return {
        f"{node.domain}:{node.op_type}"
        for node in model.graph.node
        if node.domain not in known and (node.domain, node.op_type) not in functions
    }


def _tensor(value: Any) -> OnnxTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        names = {"sequence_type": "sequence", "map_type": "map", "optional_type": "optional", None: "untyped"}
        return OnnxTensor(name=value.name, kind=names.get(kind, "sparse tensor"))
    tensor = value.type.tensor_type
    return OnnxTensor(
        name=value.name,
        kind="tensor",
        element_type=tensor.elem_type,
        shape=tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim),
        has_rank=tensor.HasField("shape"),
    )


def _element_count(tensor: Any) -> int:
    count = 1
    for dim in tensor.dims:
        count *= dim
    return count
