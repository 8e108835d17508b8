# SPDX-License-Identifier: Apache-2.0
"""Names that several graphs can have together: those of wires for what joins them, a prefix for all others."""

__all__ = ["BATCH", "function_key", "rename_functions", "rename_values"]

from collections.abc import Callable, Mapping
from typing import Any

from repo_tool.pipelines.graphs.pieces import OnnxModel, all_nodes, every_graph

BATCH = "batch"  # what the first dimension is called in all graphs
_Name = Callable[[str], str]


def rename_values(model: OnnxModel, joints: Mapping[str, str], *, prefix: str) -> None:
    """Call the values in ``joints`` as it says, and put ``prefix`` before the names of all others, and of nodes."""

    def named(name: str) -> str:
        return joints.get(name, f"{prefix}{name}" if name else "")

    _rename_graph(model.graph, named, prefix)
    _rename_sizes(model.graph, _batch_name(model.graph), prefix)


def _rename_graph(graph: Any, named: _Name, prefix: str) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = named(value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = named(sparse.values.name)
        sparse.indices.name = named(sparse.indices.name)
    for note in graph.quantization_annotation:
        note.tensor_name = named(note.tensor_name)
        for parameter in note.quant_parameter_tensor_names:
            parameter.value = named(parameter.value)
    for node in graph.node:
        node.name = f"{prefix}{node.name}" if node.name else ""
        node.input[:] = map(named, node.input)
        node.output[:] = map(named, node.output)
        for attribute in node.attribute:
            for inside in (attribute.g, *attribute.graphs):  # which see the values around them
                _rename_graph(inside, named, prefix)


def _batch_name(graph: Any) -> str:
    """What the model calls its first dimension; "" where it says nothing."""
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_param:
            return str(dims[0].dim_param)
    return ""


def _rename_sizes(graph: Any, batch: str, prefix: str) -> None:
    """Two models may call different sizes alike, and ONNX Runtime plans memory by the names."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = BATCH if dim.dim_param == batch else f"{prefix}{dim.dim_param}"
    for node in graph.node:
        for attribute in node.attribute:
            for inside in (attribute.g, *attribute.graphs):
                _rename_sizes(inside, batch, prefix)


def rename_functions(model: OnnxModel, taken: Mapping[tuple[str, str, str], bytes], *, prefix: str) -> None:
    """Move the model's own functions to a domain of their own where another model has others under their names."""
    clashing = {
        function.domain
        for function in model.functions
        if taken.get(function_key(function), function.SerializeToString()) != function.SerializeToString()
    }
    own = {function_key(function) for function in model.functions if function.domain in clashing}
    for graph in every_graph(model):
        for node in all_nodes(graph):
            if (node.domain, node.op_type, _overload(node)) in own:
                node.domain = f"{prefix}{node.domain}"
    for function in model.functions:
        if function.domain in clashing:
            function.domain = f"{prefix}{function.domain}"
    for holder in (model, *model.functions):
        for entry in [entry for entry in holder.opset_import if entry.domain in clashing]:
            holder.opset_import.add(domain=f"{prefix}{entry.domain}", version=entry.version)


def function_key(function: Any) -> tuple[str, str, str]:
    """By what nodes call a function of the model's own."""
    return function.domain, function.name, _overload(function)


def _overload(holder: Any) -> str:
    return str(getattr(holder, "overload", ""))
