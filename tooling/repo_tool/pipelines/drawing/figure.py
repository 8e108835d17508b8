# SPDX-License-Identifier: Apache-2.0
"""What a picture of a pipeline shows, before anything has a place: nodes in nested boxes, and edges between nodes."""

__all__ = ["Box", "BoxKind", "Edge", "Figure", "Item", "Node", "NodeKind"]

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Union


class NodeKind(Enum):
    """What a node stands for; the values are the classes of the style sheet."""

    INPUT = "input"
    OUTPUT = "output"
    WIRE = "wire"
    STEP = "step"
    MODEL = "model"
    CONDITION = "condition"


class BoxKind(Enum):
    """What a box stands for: a Triton model by what runs in it, or a block of the pipeline."""

    GRAPH = "graph"
    PYTHON = "python"
    CONTROL = "control"
    MEMBER = "member"
    BLOCK = "block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A stage, a wire, or an end of the pipeline; ``identity`` is unique in the figure."""

    identity: str
    kind: NodeKind
    title: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What runs together; ``tag`` says how in a word or two, ``reason`` why in a sentence."""

    identity: str
    kind: BoxKind
    title: str
    tag: str = ""
    reason: str = ""
    items: tuple["Item", ...]

    def nodes(self) -> Iterator[Node]:
        """Every node in it, however deep."""
        return _nodes(self.items)


Item = Union[Node, Box]  # noqa: UP007 - a string in it names what comes later


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An arrow between two nodes, by their identities."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A whole picture."""

    title: str
    description: str = ""
    items: tuple[Item, ...]
    edges: tuple[Edge, ...]

    def nodes(self) -> Iterator[Node]:
        """Every node in it, however deep."""
        return _nodes(self.items)


def _nodes(items: tuple[Item, ...]) -> Iterator[Node]:
    for item in items:
        yield from (item,) if isinstance(item, Node) else _nodes(item.items)
