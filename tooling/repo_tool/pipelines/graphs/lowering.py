# SPDX-License-Identifier: Apache-2.0
"""An arithmetic step as an ONNX graph, built with onnxscript from what the step tells."""

__all__ = ["OPSET", "is_arithmetic", "lowered"]

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np

from repo_tool.datatypes import DataType
from repo_tool.errors import needs_extra
from repo_tool.pipelines.graphs.naming import BATCH
from repo_tool.pipelines.graphs.pieces import Piece
from repo_tool.pipelines.stages import StepStage
from repo_tool.pipelines.wire import Wire

OPSET = 18  # the oldest that steps are written in; every release of the table loads it
_IR_VERSION = 8  # read by every ONNX Runtime since 1.10
_EXTRA = "pipelines"
_NO_WIRES = (DataType.BYTES, DataType.BF16)


def is_arithmetic(stage: StepStage, wires: Mapping[str, Wire]) -> str | None:
    """None where the step has a graph, with its parameters and for such wires; else the reason why not."""
    reason = _at_a_glance(stage, wires)
    if reason is not None:
        return reason
    try:
        lowered(stage, wires, opset=OPSET)
    except NotImplementedError as error:
        return str(error)
    return None


def _at_a_glance(stage: StepStage, wires: Mapping[str, Wire]) -> str | None:
    """A reason that can be seen without building the graph; most steps that have none have such a one."""
    if getattr(stage.step.code, "graph", None) is None:
        return "it is not arithmetic"
    for tensor, wire in stage.inputs.items():
        if wires[wire].datatype in _NO_WIRES:
            # The C++ backend cuts strings at a zero byte, and ONNX's strings are UTF-8: bytes are neither.
            return f"'{tensor}' is {wires[wire].datatype.wire_name}, which a graph cannot take as it is"
    if importlib.util.find_spec("onnxscript") is None:
        return f"onnxscript, which builds graphs, is not installed: pip install 'triton-repo-tool[{_EXTRA}]'"
    return None


def lowered(stage: StepStage, wires: Mapping[str, Wire], *, opset: int, rows: int | None = None) -> Piece:
    """The step's arithmetic in that opset, 18 or newer.

    Args:
        stage: the step.
        wires: what it reads and writes.
        opset: of ONNX.
        rows: the first dimension of every tensor where the pipeline does not batch; None or -1: any.

    Raises:
        NotImplementedError: it has none, with the reason.
    """
    with needs_extra(_EXTRA):
        import onnx_ir
        from onnxscript import GraphBuilder
    read = {tensor: wires[wire] for tensor, wire in stage.inputs.items()}
    inputs = {tensor: _value(tensor, wire, rows) for tensor, wire in read.items()}
    graph = onnx_ir.Graph(
        inputs=list(inputs.values()), outputs=[], nodes=[], name=stage.step.name, opset_imports={"": opset}
    )
    operators = _Operators(GraphBuilder(graph))
    answers = stage.step.graph(operators, read, inputs)
    for tensor, wire in stage.outputs.items():
        graph.outputs.append(_output(operators, answers[tensor], tensor, _value(tensor, wires[wire], rows)))
    model = onnx_ir.to_proto(onnx_ir.Model(graph, ir_version=_IR_VERSION))
    _forget_notes(model)
    outputs = {_own_name(tensor): wire for tensor, wire in stage.outputs.items()}
    return Piece(title=f"step '{stage.step.name}'", model=model, inputs=stage.inputs, outputs=outputs)


class _Operators:
    """What a step gets as ``op``: onnxscript's operators, which also take lists of text and numpy arrays."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self._constants = 0

    @property
    def builder(self) -> Any:
        """Onnxscript's own, which builds inner graphs for Loop and If."""
        return self._builder

    def __getattr__(self, operator: str) -> Any:
        make = getattr(self._builder.op, operator)
        return lambda *inputs, **attributes: make(*map(self._as_value, inputs), **attributes)

    def _as_value(self, given: Any) -> Any:
        import onnx_ir

        # onnx_ir asks for numpy 2 to make a tensor of text, and the server's Python needs numpy 1.
        if isinstance(given, list) and given and isinstance(given[0], str):
            texts = [text.encode() for text in given]
            return self._constant(onnx_ir.StringTensor(texts, shape=onnx_ir.Shape([len(texts)])))
        if isinstance(given, np.ndarray | np.generic):
            return self._constant(onnx_ir.tensor(np.asarray(given)))
        return given

    def _constant(self, tensor: Any) -> Any:
        self._constants += 1
        return self._builder.initializer(tensor, name=f"constant_of_step_{self._constants}")


def _value(name: str, wire: Wire, rows: int | None) -> Any:
    import onnx_ir

    return onnx_ir.val(name, onnx_ir.DataType(wire.datatype.value.onnx_element_type), _shape(name, wire, rows))


def _shape(name: str, wire: Wire, rows: int | None) -> list[int | str]:
    """With a name for each free dimension; the first one counts the rows."""
    lead = BATCH if rows is None or rows < 0 else rows
    return [lead, *(size if size >= 0 else f"{name}_{axis}" for axis, size in enumerate(wire.dims, start=1))]


def _own_name(output: str) -> str:
    """A step may call an input and an output the same, a graph may not."""
    return f"out/{output}"


def _output(operators: "_Operators", answer: Any, tensor: str, declared: Any) -> Any:
    """The value under its own name; one that is an input as well, or another output, is copied."""
    value = operators.Identity(answer) if answer.producer() is None or answer.is_graph_output() else answer
    value.name, value.type, value.shape = _own_name(tensor), declared.type, declared.shape
    return value


def _forget_notes(model: Any) -> None:
    """What the builder notes down of scopes, and the types of values between, which every reader infers."""
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
