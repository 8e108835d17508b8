# SPDX-License-Identifier: Apache-2.0
"""A graph that ONNX Runtime does not take, in words that it knows: an older opset, or operators spelled out."""

__all__ = ["Rewritten", "lowered", "newer_operators", "newest_known", "spelled_out"]

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportRequest
from repo_tool.importers.foreign import refusing
from repo_tool.importers.onnx_graph import OnnxModel

_ONNX_DOMAINS = ("", "ai.onnx")
_ROUNDS = 4  # operators spelled out may be made of others that have to be spelled out

Operators = frozenset[tuple[str, str]]  # (domain, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """The graph in other words."""

    model: OnnxModel
    note: str
    exact: bool  # by the specification alone; if not, the answers have to be compared


def lowered(read: Callable[[], OnnxModel], request: ImportRequest) -> Iterator[Rewritten]:
    """In the opset that the release loads, the surest way first; ``read`` gives the graph afresh each time."""
    model = read()
    limits = onnx_graph.newer_opsets(model, request)
    if not limits:
        return
    words = ", ".join(f"{_declared(model)[domain]} to {most}" for domain, most in limits.items())
    note = f"opset lowered from {words}, the newest that {request.target} loads"
    if not _changed(model, limits):
        yield Rewritten(model=_relabelled(model, limits), note=note, exact=True)
        return
    converted = _converted(model, limits)
    if converted is not None:
        yield Rewritten(model=converted, note=note, exact=False)
    if _is_written_in(model, limits):
        yield Rewritten(model=_relabelled(model, limits), note=note, exact=False)


def spelled_out(read: Callable[[], OnnxModel], request: ImportRequest, words: str) -> Iterator[Rewritten]:
    """With what ONNX defines an operator to be in its place; then also with those that this brought in.

    Args:
        read: gives the graph afresh each time.
        request: what it has to fit.
        words: of ONNX Runtime; operators that they name count as ones that it lacks.
    """
    model = read()
    limits = onnx_graph.newer_opsets(model, request)
    known, wanted = _operators(model), _definable(model, limits, words)
    for _ in range(_ROUNDS):
        inlined = _inlined(model, wanted) if wanted else None
        if inlined is None:
            return
        if _is_written_in(inlined, limits):
            names = ", ".join(sorted(name for _, name in wanted))
            note = f"{names} spelled out in the operators that ONNX defines it by"
            yield Rewritten(model=_relabelled(inlined, limits), note=note, exact=False)
        made_of = _defined(inlined) - known
        if not made_of:
            return
        wanted |= made_of


def newer_operators(model: OnnxModel, request: ImportRequest) -> tuple[str, ...]:
    """Names of the operators that are other ones, or none at all, in the opset that the release loads."""
    return tuple(sorted(name for _, name in _changed(model, onnx_graph.newer_opsets(model, request))))


# --- an older opset --------------------------------------------------------------------------------------------------


def _declared(model: OnnxModel) -> dict[str, int]:
    return {entry.domain or "ai.onnx": int(entry.version) for entry in model.opset_import}


def _scopes(model: OnnxModel) -> Iterator[tuple[Any, dict[str, int]]]:
    """Every node with the opsets that it is written in: a function of the model's own has its own."""
    own = {(function.domain, function.name) for function in model.functions}
    opsets = _declared(model)
    yield from ((node, opsets) for node in onnx_graph.all_nodes(model.graph) if (node.domain, node.op_type) not in own)
    for function in model.functions:
        opsets = _declared(function)
        yield from ((node, opsets) for node in onnx_graph.all_nodes(function) if (node.domain, node.op_type) not in own)


def _schema(node: Any, opsets: Mapping[str, int]) -> Any:
    """The operator's definition in these opsets; None when there is none."""
    import onnx

    version = opsets.get(node.domain or "ai.onnx")
    domain = "" if node.domain in _ONNX_DOMAINS else node.domain
    if version is None or version > newest_known(domain):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None


@cache
def newest_known(domain: str) -> int:
    """The last opset that the installed onnx has; of a later one it would give out its own last definitions."""
    import onnx

    schemas = onnx.defs.get_all_schemas_with_history()
    return max((schema.since_version for schema in schemas if schema.domain == domain), default=0)


def _changed(model: OnnxModel, limits: Mapping[str, int]) -> Operators:
    """Operators whose definition is not the one that the older opsets have."""
    changed = set()
    for node, opsets in _scopes(model):
        before, after = _schema(node, opsets), _schema(node, _lowered(opsets, limits))
        if (node.domain or "ai.onnx") in limits and (
            before is None or after is None or before.since_version != after.since_version
        ):
            changed.add((node.domain, node.op_type))
    return frozenset(changed)


def _lowered(opsets: Mapping[str, int], limits: Mapping[str, int]) -> dict[str, int]:
    return {domain: min(version, limits.get(domain, version)) for domain, version in opsets.items()}


def _is_written_in(model: OnnxModel, limits: Mapping[str, int]) -> bool:
    """Whether the older operators have every attribute and as many inputs and outputs as are used."""
    return all(
        _takes(_schema(node, _lowered(opsets, limits)), node)
        for node, opsets in _scopes(model)
        if (node.domain or "ai.onnx") in limits
    )


def _takes(schema: Any, node: Any) -> bool:
    return (
        schema is not None
        and {attribute.name for attribute in node.attribute} <= set(schema.attributes)
        and len(node.input) <= schema.max_input
        and len(node.output) <= schema.max_output
    )


def _relabelled(model: OnnxModel, limits: Mapping[str, int]) -> OnnxModel:
    changed = type(model)()
    changed.CopyFrom(model)
    for entry in (*changed.opset_import, *(entry for function in changed.functions for entry in function.opset_import)):
        entry.version = min(entry.version, limits.get(entry.domain or "ai.onnx", entry.version))
    return changed


def _converted(model: OnnxModel, limits: Mapping[str, int]) -> OnnxModel | None:
    """By onnx's own converter; it loses functions, and does not know external data nor other domains."""
    import onnx.version_converter

    external = any(tensor.data_location == tensor.EXTERNAL for tensor in model.graph.initializer)
    if model.functions or external or set(limits) != {"ai.onnx"}:
        return None
    try:
        with refusing("not convertible", next_step=""):
            return onnx.version_converter.convert_version(model, limits["ai.onnx"])
    except SourceError:
        return None


# --- operators spelled out -------------------------------------------------------------------------------------------


def _operators(model: OnnxModel) -> Operators:
    return frozenset((node.domain, node.op_type) for node, _ in _scopes(model))


def _defined(model: OnnxModel) -> Operators:
    """The operators that ONNX defines by others."""
    found = set()
    for node, opsets in _scopes(model):
        schema = _schema(node, opsets)
        if schema is not None and (schema.has_function or schema.has_context_dependent_function):
            found.add((node.domain, node.op_type))
    return frozenset(found)


def _definable(model: OnnxModel, limits: Mapping[str, int], words: str) -> Operators:
    """Of those, what an older opset or ONNX Runtime has not; what it named itself counts too."""
    newer = _changed(model, limits)
    return frozenset(
        (domain, name)
        for domain, name in _defined(model)
        if (domain, name) in newer or domain not in (*_ONNX_DOMAINS, "ai.onnx.ml") or re.search(rf"\b{name}\b", words)
    )


def _inlined(model: OnnxModel, operators: Operators) -> OnnxModel | None:
    import onnx.inliner

    current = model
    try:
        with refusing("not to be spelled out", next_step=""):
            for _ in range(_ROUNDS):
                left = sorted(operators & _operators(current))
                if not left:
                    break
                typed = _in_full(current, operators)
                current = onnx.inliner.inline_selected_functions(typed, left, inline_schema_functions=True)
    except SourceError:
        return None
    del current.graph.value_info[:]  # names that are gone, and what every reader infers
    if operators & _operators(current):
        return None
    _forget_unused_domains(current)
    return current


def _in_full(model: OnnxModel, operators: Operators) -> OnnxModel:
    """The model with all written down that onnx's inliner asks for: types, weights' too, and attributes left out."""
    import onnx

    typed = onnx.shape_inference.infer_shapes(model)
    inputs = {value.name for value in typed.graph.input}
    for tensor in typed.graph.initializer:
        if tensor.name not in inputs:
            kind = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            typed.graph.value_info.append(kind)
    # An input that is left out is called "", and the inliner asks for its type too; any will do.
    typed.graph.value_info.append(onnx.helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, None))
    for node, opsets in _scopes(typed):
        if (node.domain, node.op_type) in operators:
            _write_defaults(node, _schema(node, opsets))
    return typed


def _write_defaults(node: Any, schema: Any) -> None:
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items() if schema is not None else ():
        if name not in given and attribute.default_value.type:
            node.attribute.add().CopyFrom(attribute.default_value)


def _forget_unused_domains(model: OnnxModel) -> None:
    used = {node.domain or "ai.onnx" for node, _ in _scopes(model)} | {function.domain for function in model.functions}
    kept = [entry for entry in model.opset_import if (entry.domain or "ai.onnx") in used | {"ai.onnx"}]
    imports = [(entry.domain, entry.version) for entry in kept]
    del model.opset_import[:]
    for domain, version in imports:
        model.opset_import.add(domain=domain, version=version)
