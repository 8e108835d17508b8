# SPDX-License-Identifier: Apache-2.0
"""Boosted models as plain values, and their ONNX graph.

The graph is written from what a booster saves of itself, not from its printed dump: thresholds keep every bit,
objectives and early stopping are read instead of guessed, and splits over categories keep their sets.
"""

__all__ = [
    "INPUT",
    "Columns",
    "Forest",
    "Head",
    "Leaf",
    "Linear",
    "Link",
    "Split",
    "Tree",
    "membership",
    "to_onnx",
    "used_thresholds",
]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from repo_tool.importers.onnx_graph import OnnxModel

INPUT = "features"
_OPSET, _ML_OPSET = 17, 3  # what every Triton since 23.10 loads
_IR_VERSION = 8


class Link(Enum):
    """From the sums of the leaves to the answer."""

    IDENTITY = "identity"
    EXPONENTIAL = "exponential"
    SIGMOID = "sigmoid"  # of each target for itself
    SOFTMAX = "softmax"
    STEP = "step"  # 1 above 0, else 0
    SIGNED_SQUARE = "signed square"
    LOG_ONE_PLUS_EXPONENTIAL = "log one plus exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A question to one feature; ``true`` and ``false`` are places in the tree. ``mode`` is one of ONNX's."""

    feature: int
    mode: str
    value: float
    true: int
    false: int
    missing_is_true: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a row gets that ends here, one weight for each of the targets from ``first`` on."""

    weights: tuple[float, ...]
    first: int = 0


Tree = Sequence[Split | Leaf]  # the root is at 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """Trees whose leaves add up."""

    trees: Sequence[Tree]
    base: tuple[float, ...]  # one for each target


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A weighted sum of the features, in which missing ones count nothing."""

    weights: tuple[tuple[float, ...], ...]  # [feature][target]
    base: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How the sums become outputs: ``prediction``, or ``label`` and ``probabilities`` where there are classes."""

    link: Link
    scale: float = 1.0  # of the sums, before the link
    classes: tuple[Any, ...] = ()  # two of them may share one target
    several_labels: bool = False  # each class is a yes or no of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What is done to the features before the first question."""

    width: int
    missing: float | None = None  # a number that stands for missing, beside NaN
    categorical: frozenset[int] = field(default_factory=frozenset)  # their fractions are cut off
    negative_zero: bool = False  # whether a category between -1 and 0 is 0, and not unknown


def membership(
    tree: list[Split | Leaf], at: int, feature: int, values: Sequence[float], *, inside: int, outside: int, missing: int
) -> None:
    """Put the question whether a feature is one of ``values`` at ``tree[at]``, as a chain of equalities.

    All of them share the branch ``inside``; ``missing`` is the one of the two that missing values take.
    """
    if not values:
        sends_missing = missing == inside
        tree[at] = Split(
            feature=feature, mode="BRANCH_LT", value=-np.inf, true=inside, false=outside, missing_is_true=sends_missing
        )
        return
    for place, value in enumerate(values):
        is_last = place == len(values) - 1
        following = outside if is_last else len(tree)
        if not is_last:
            tree.append(Leaf(weights=()))  # a place holder that the next turn fills
        tree[at] = Split(
            feature=feature,
            mode="BRANCH_EQ",
            value=value,
            true=inside,
            false=following,
            missing_is_true=missing == inside,
        )
        at = following


def used_thresholds(forest: Forest) -> dict[int, list[float]]:
    """The values that each feature is compared with, sorted."""
    found: dict[int, set[float]] = {}
    for tree in forest.trees:
        for node in tree:
            if isinstance(node, Split) and np.isfinite(node.value):
                found.setdefault(node.feature, set()).add(node.value)
    return {feature: sorted(values) for feature, values in found.items()}


# --- the graph -------------------------------------------------------------------------------------------------------


class _Graph:
    """Nodes and constants, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        import onnx

        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """A constant tensor; dtype object for strings."""
        import onnx

        name = f"constant_{len(self.constants)}"
        array = np.array(values, dtype=dtype)
        if dtype == "object":
            text = [str(value).encode() for value in array.ravel()]
            tensor = onnx.helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, text)
        else:
            tensor = onnx.numpy_helper.from_array(array, name)
        self.constants.append(tensor)
        return name


def to_onnx(core: Forest | Linear, head: Head, columns: Columns, *, max_opset: int) -> OnnxModel:
    """The graph from ``features`` ``[-1, n]`` to the outputs of ``head``."""
    import onnx

    graph = _Graph()
    features = _prepare(graph, columns)
    sums = _forest(graph, core, features) if isinstance(core, Forest) else _linear(graph, core, features)
    outputs = _classify(graph, sums, len(core.base), head) if head.classes else _regress(graph, sums, core, head)
    inputs = [onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["rows", columns.width])]
    return onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "boosted", inputs, outputs, graph.constants),
        opset_imports=[
            onnx.helper.make_opsetid("", min(_OPSET, max_opset)),
            onnx.helper.make_opsetid("ai.onnx.ml", _ML_OPSET),
        ],
        ir_version=_IR_VERSION,
        producer_name="repo-tool",
    )


def _prepare(graph: _Graph, columns: Columns) -> str:
    features = INPUT
    if columns.missing is not None:
        absent = graph.add("Equal", features, graph.constant(columns.missing))
        features = graph.add("Where", absent, graph.constant(np.nan), features)
    if columns.categorical:
        mask = graph.constant([column in columns.categorical for column in range(columns.width)], "bool")
        whole = graph.add("Floor", features)
        if columns.negative_zero:
            whole = graph.add("Mul", graph.add("Sign", features), graph.add("Floor", graph.add("Abs", features)))
        features = graph.add("Where", mask, whole, features)
    return features


def _forest(graph: _Graph, forest: Forest, features: str) -> str:
    return graph.add(
        "TreeEnsembleRegressor",
        features,
        domain="ai.onnx.ml",
        n_targets=len(forest.base),
        base_values=list(map(float, forest.base)),
        aggregate_function="SUM",
        post_transform="NONE",
        **_tree_attributes(forest.trees),
    )


def _tree_attributes(trees: Sequence[Tree]) -> dict[str, Any]:
    nodes = [row for number, tree in enumerate(trees) for row in _node_rows(number, tree)]
    leaves = [row for number, tree in enumerate(trees) for row in _leaf_rows(number, tree)]
    node_names = (
        "nodes_treeids",
        "nodes_nodeids",
        "nodes_featureids",
        "nodes_modes",
        "nodes_values",
        "nodes_truenodeids",
        "nodes_falsenodeids",
        "nodes_missing_value_tracks_true",
    )
    leaf_names = ("target_treeids", "target_nodeids", "target_ids", "target_weights")
    return {
        **{name: list(values) for name, values in zip(node_names, zip(*nodes, strict=True), strict=True)},
        **{name: list(values) for name, values in zip(leaf_names, zip(*leaves, strict=True), strict=True)},
    }


def _node_rows(number: int, tree: Tree) -> Iterator[tuple[Any, ...]]:
    for place, node in enumerate(tree):
        if isinstance(node, Leaf):
            yield number, place, 0, "LEAF", 0.0, 0, 0, 0
        else:
            missing = int(node.missing_is_true)
            yield number, place, node.feature, node.mode, float(node.value), node.true, node.false, missing


def _leaf_rows(number: int, tree: Tree) -> Iterator[tuple[int, int, int, float]]:
    for place, node in enumerate(tree):
        if isinstance(node, Leaf):
            for target, weight in enumerate(node.weights, start=node.first):
                yield number, place, target, float(weight)


def _linear(graph: _Graph, linear: Linear, features: str) -> str:
    present = graph.add("Where", graph.add("IsNaN", features), graph.constant(0), features)
    return graph.add("Gemm", present, graph.constant(linear.weights), graph.constant(linear.base))


def _linked(graph: _Graph, sums: str, head: Head) -> str:
    if head.scale != 1:
        sums = graph.add("Mul", sums, graph.constant(head.scale))
    return _LINKS[head.link](graph, sums)


_LINKS: dict[Link, Callable[[_Graph, str], str]] = {
    Link.IDENTITY: lambda _, sums: sums,
    Link.EXPONENTIAL: lambda graph, sums: graph.add("Exp", sums),
    Link.SIGMOID: lambda graph, sums: graph.add("Sigmoid", sums),
    Link.SOFTMAX: lambda graph, sums: graph.add("Softmax", sums, axis=1),
    Link.STEP: lambda graph, sums: graph.add("Cast", graph.add("Greater", sums, graph.constant(0)), to=1),
    Link.SIGNED_SQUARE: lambda graph, sums: graph.add("Mul", sums, graph.add("Abs", sums)),
    Link.LOG_ONE_PLUS_EXPONENTIAL: lambda graph, sums: graph.add("Softplus", sums),
}


def _regress(graph: _Graph, sums: str, core: Forest | Linear, head: Head) -> list[Any]:
    import onnx

    graph.add("Identity", _linked(graph, sums, head), name="prediction")
    return [onnx.helper.make_tensor_value_info("prediction", onnx.TensorProto.FLOAT, ["rows", len(core.base)])]


def _classify(graph: _Graph, sums: str, targets: int, head: Head) -> list[Any]:
    import onnx

    likely = _linked(graph, sums, head)
    if head.several_labels:
        chosen = graph.add("Cast", graph.add("Greater", likely, graph.constant(0.5)), to=onnx.TensorProto.INT64)
        graph.add("Identity", chosen, name="label")
        shape: list[str | int] = ["rows", len(head.classes)]
        kind = onnx.TensorProto.INT64
    else:
        shape, kind = ["rows"], _label(graph, likely, targets, head.classes)
    if targets == 1 and not head.several_labels:
        likely = graph.add("Concat", graph.add("Sub", graph.constant(1), likely), likely, axis=1)
    graph.add("Identity", likely, name="probabilities")
    return [
        onnx.helper.make_tensor_value_info("label", kind, shape),
        onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["rows", len(head.classes)]),
    ]


def _label(graph: _Graph, likely: str, targets: int, classes: Sequence[Any]) -> int:
    """The ``label`` output; returns its element type."""
    import onnx

    if targets == 1:
        above = graph.add("Cast", graph.add("Greater", likely, graph.constant(0.5)), to=onnx.TensorProto.INT64)
        chosen = graph.add("Squeeze", above, graph.constant([1], "int64"))
    else:
        chosen = graph.add("ArgMax", likely, axis=1, keepdims=0)
    if tuple(classes) == tuple(range(len(classes))):
        graph.add("Identity", chosen, name="label")
        return int(onnx.TensorProto.INT64)
    is_text = isinstance(classes[0], str)
    graph.add("Gather", graph.constant(classes, "object" if is_text else "int64"), chosen, name="label")
    return int(onnx.TensorProto.STRING if is_text else onnx.TensorProto.INT64)
