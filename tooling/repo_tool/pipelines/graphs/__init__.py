# SPDX-License-Identifier: Apache-2.0
"""Arithmetic steps and the ONNX models beside them as one ONNX graph, served as the models were."""

from repo_tool.pipelines.graphs.compiled_graph import compiled_graph
from repo_tool.pipelines.graphs.lowering import is_arithmetic
from repo_tool.pipelines.graphs.members import why_apart
from repo_tool.pipelines.graphs.merging import GraphModel, graph_model
from repo_tool.pipelines.graphs.settings import merged_config, merged_variants

__all__ = [
    "GraphModel",
    "compiled_graph",
    "graph_model",
    "is_arithmetic",
    "merged_config",
    "merged_variants",
    "why_apart",
]
