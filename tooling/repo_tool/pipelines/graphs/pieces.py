# SPDX-License-Identifier: Apache-2.0
"""What is put together to one ONNX graph: the arithmetic of a step, or a model of the repository."""

__all__ = ["OnnxModel", "Piece", "all_nodes", "every_graph"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OnnxModel = Any  # onnx.ModelProto


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A graph of our own to change, and which of its inputs and outputs is which wire.

    ``reshaped`` holds the shapes of one row where Triton's is another than the graph's: of an input the one that the
    graph takes, of an output the one that Triton gives.
    """

    title: str  # as messages call it: model 'digits'
    model: OnnxModel
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    reshaped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)  # its external data, by location


def every_graph(model: OnnxModel) -> Iterator[Any]:
    """The main graph and the bodies of the model's own functions, both of which hold nodes."""
    yield model.graph
    yield from model.functions


def all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph or function, and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inside in (attribute.g, *attribute.graphs):
                yield from all_nodes(inside)
