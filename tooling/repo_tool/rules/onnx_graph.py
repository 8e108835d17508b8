# SPDX-License-Identifier: Apache-2.0
"""What in an ONNX graph keeps ONNX Runtime from loading it.

ONNX's own checker wants more than ONNX Runtime does: nodes in order, a name for the graph, unique initializers, no
operators but the standard's. Here are only those of its demands that ONNX Runtime makes too; ``tests/conformance``
holds them against it.
"""

__all__ = ["GraphProblem", "ProblemKind", "graph_problems", "is_sorted"]

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from itertools import chain
from typing import Any

_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}  # the second is another name of the first
# In the standard's domain ONNX Runtime has more operators than the standard, and some of them in versions of its own;
# a Constant is an initializer to it before it looks at the nodes.
_OF_ONNX_RUNTIME = frozenset({
    "ATen", "Affine", "Constant", "ConstantFill", "Crop", "DisentangledAttention_TRT", "DynamicSlice",
    "EfficientNMS_TRT", "GRUUnit", "GivenTensorFill", "ImageScaler", "LayerNormalization",
    "MeanVarianceNormalization", "MemcpyFromHost", "MemcpyToHost", "MultilevelCropAndResize_TRT",
    "ParametricSoftplus", "PyramidROIAlign_TRT", "RMSNormalization", "Scale", "ScaledTanh",
    "SimplifiedLayerNormalization", "ThresholdedRelu",
})  # fmt: skip


class ProblemKind(Enum):
    """What a problem is about; each is a rule of its own."""

    OPERATOR = "operator"
    NODE = "node"
    UNDEFINED = "undefined"
    CYCLE = "cycle"
    DUPLICATE = "duplicate"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphProblem:
    """Something for which ONNX Runtime refuses the graph."""

    kind: ProblemKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schema:
    """What the standard says of an operator; the numbers count inputs and outputs."""

    attributes: Mapping[str, int]  # onnx.AttributeProto.AttributeType
    required: frozenset[str]
    needed: tuple[int, ...]  # inputs that may not be left out, by their place
    inputs: tuple[int, int]
    outputs: tuple[int, int]


def graph_problems(model: Any) -> Iterator[GraphProblem]:
    """All but mismatches of types and shapes, which only inference finds."""
    yield from _problems_of_nodes(model)
    yield from _undefined(model.graph, frozenset())
    yield from _duplicates(model.graph)
    if _is_cyclic(model.graph):
        yield GraphProblem(kind=ProblemKind.CYCLE, text="nodes of the graph read from one another in a circle")


def is_sorted(graph: Any) -> bool:
    """Whether each node comes after those that it reads from, as ONNX wants and ONNX Runtime does not."""
    made_later = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if not made_later.isdisjoint(_reads(node)):
            return False
        made_later.difference_update(node.output)
    return True


def _problems_of_nodes(model: Any) -> Iterator[GraphProblem]:
    opsets = _known_opsets(model)
    functions = {(function.domain, function.name) for function in model.functions}
    for node in _every_node(model.graph):
        version = opsets.get(_DOMAINS.get(node.domain, node.domain))
        if version is None or (node.domain, node.op_type) in functions:
            continue
        if node.op_type not in _OF_ONNX_RUNTIME:
            yield from _against_schema(node, _DOMAINS[node.domain], version)


def _known_opsets(model: Any) -> dict[str, int]:
    """The opsets of the standard's domains that the installed onnx knows; ONNX Runtime guesses those not imported."""
    from onnx import defs

    newest = {"": defs.onnx_opset_version(), "ai.onnx.ml": defs.onnx_ml_opset_version()}
    named: dict[str, set[int]] = {domain: set() for domain in newest}
    for entry in model.opset_import:
        if entry.domain in _DOMAINS:
            named[_DOMAINS[entry.domain]].add(entry.version)
    return {
        domain: min(versions)
        for domain, versions in named.items()
        if len(versions) == 1 and 1 <= min(versions) <= newest[domain]
    }


def _every_node(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _every_node(inner)


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


@cache
def _schema(operator: str, domain: str, version: int) -> _Schema | None:
    """None where the operator is not in the opset, no longer or not yet."""
    from onnx import defs

    try:
        found = defs.get_schema(operator, version, domain)
    except defs.SchemaError:
        return None
    if found.deprecated:
        return None
    attributes = found.attributes
    return _Schema(
        attributes={name: int(attribute.type.value) for name, attribute in attributes.items()},
        required=frozenset(name for name, attribute in attributes.items() if attribute.required),
        needed=tuple(
            place
            for place, given in enumerate(found.inputs)
            if given.option is defs.OpSchema.FormalParameterOption.Single
        ),
        inputs=(found.min_input, found.max_input),
        outputs=(found.min_output, found.max_output),
    )


def _against_schema(node: Any, domain: str, version: int) -> Iterator[GraphProblem]:
    schema = _schema(node.op_type, domain, version)
    if schema is None:
        opset = f"opset {version} of {domain or 'ai.onnx'}"
        yield GraphProblem(kind=ProblemKind.OPERATOR, text=f"the operator {node.op_type} is not in {opset}")
        return
    found = partial(GraphProblem, kind=ProblemKind.NODE)
    for text in chain(
        _attribute_problems(node, schema),
        _empty_inputs(node.input, schema.needed),
        _count_problem(node.input, "input", schema.inputs),
        _count_problem(node.output, "output", schema.outputs),
    ):
        yield found(text=f"{_described(node)} {text}")


def _described(node: Any) -> str:
    return f"the {node.op_type} '{node.name}'" if node.name else f"the {node.op_type} that makes '{_made(node)}'"


def _made(node: Any) -> str:
    return next(filter(None, node.output), "")


def _attribute_problems(node: Any, schema: _Schema) -> Iterator[str]:
    names = Counter(attribute.name for attribute in node.attribute)
    for attribute in node.attribute:
        wanted = schema.attributes.get(attribute.name)
        if wanted is None and not attribute.name.startswith("__"):  # which are nobody's business
            yield f"has an attribute '{attribute.name}', which its operator does not have"
        elif wanted is not None and attribute.type not in (0, wanted):  # 0: IR version 1 did not say
            yield f"has an attribute '{attribute.name}' of another type than its operator's"
    yield from (f"has the attribute '{name}' {times} times" for name, times in names.items() if times > 1)
    yield from (f"lacks the attribute '{name}'" for name in sorted(schema.required - names.keys()))


def _empty_inputs(names: Any, needed: tuple[int, ...]) -> Iterator[str]:
    for place in needed:
        if place < len(names) and not names[place]:
            yield f"lacks its input {place}"


def _count_problem(names: Any, kind: str, limits: tuple[int, int]) -> Iterator[str]:
    """Empty names at the end stand for what is left out, and may be too many."""
    fewest, most = limits
    given = list(names)
    while given and not given[-1]:
        given.pop()
    if len(names) < fewest or len(given) > most:
        wanted = f"{fewest}" if fewest == most else f"at least {fewest}" if most > 2**30 else f"{fewest} to {most}"
        yield f"has {len(given)} {kind}s, and its operator takes {wanted}"


def _undefined(graph: Any, outer: frozenset[str]) -> Iterator[GraphProblem]:
    """Names that are read and that nothing makes."""
    made = set(_given(graph)).union(chain.from_iterable(node.output for node in graph.node))
    known = outer | made
    found = partial(GraphProblem, kind=ProblemKind.UNDEFINED)
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            if name and name not in known:
                yield found(text=f"{_described(node)} reads '{name}', which nothing in the graph makes")
        for inner in _subgraphs(node):
            yield from _undefined(inner, known)
    for output in graph.output:
        if output.name not in made:  # a subgraph cannot hand on what is outside of it
            yield found(text=f"the output '{output.name}' is made by no node of its graph")


def _given(graph: Any) -> Iterator[str]:
    """What a graph has before any node runs."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)


def _duplicates(graph: Any) -> Iterator[GraphProblem]:
    outputs = Counter(name for node in graph.node for name in node.output if name)
    inputs = Counter(value.name for value in graph.input)
    for name in set(_given(graph)) & outputs.keys():
        outputs[name] += 1
    found = partial(GraphProblem, kind=ProblemKind.DUPLICATE)
    for name, times in chain(sorted(outputs.items()), sorted(inputs.items())):
        if times > 1:
            yield found(text=f"{times} inputs, initializers or outputs of nodes are called '{name}'")
    for name, times in sorted(Counter(node.name for node in graph.node if node.name).items()):
        if times > 1:
            yield found(text=f"{times} nodes are called '{name}'")
    for node in graph.node:
        for inner in _subgraphs(node):
            yield from _duplicates(inner)


def _is_cyclic(graph: Any) -> bool:
    """Whether nodes are left once all have been taken away that read from none of the others."""
    if is_sorted(graph):
        return any(_is_cyclic(inner) for node in graph.node for inner in _subgraphs(node))
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    readers: dict[int, list[int]] = {}
    waits = []
    for index, node in enumerate(graph.node):
        makers = {maker[name] for name in _reads(node) if name in maker}
        waits.append(len(makers))
        for made_by in makers:
            readers.setdefault(made_by, []).append(index)
    return _left_waiting(waits, readers)


def _left_waiting(waits: list[int], readers: Mapping[int, list[int]]) -> bool:
    ready = [index for index, count in enumerate(waits) if count == 0]
    done = 0
    while ready:
        done += 1
        for reader in readers.get(ready.pop(), ()):
            waits[reader] -= 1
            if waits[reader] == 0:
                ready.append(reader)
    return done < len(waits)


def _reads(node: Any) -> set[str]:
    """What a node takes from the graph that it is in, its subgraphs included."""
    names = {name for name in node.input if name}
    for inner in _subgraphs(node):
        own = set(_given(inner)).union(chain.from_iterable(each.output for each in inner.node))
        names |= {name for each in inner.node for name in _reads(each)} - own
    return names
