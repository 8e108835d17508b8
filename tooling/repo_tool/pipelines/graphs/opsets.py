# SPDX-License-Identifier: Apache-2.0
"""One opset for graphs that were written in several: the newest of them, which the servers of its model load anyway.

A graph is said to be of another opset where each of its operators is the same in both; only else it is converted, by
onnx and in a process of its own, because the converter can crash on a graph that nobody has vouched for.
"""

__all__ = ["declared_opsets", "in_opset", "is_sayable"]

from collections.abc import Mapping
from typing import Any

from repo_tool.pipelines.graphs import worker_process
from repo_tool.pipelines.graphs.pieces import OnnxModel, Piece, all_nodes


def declared_opsets(model: OnnxModel) -> dict[str, int]:
    """The opsets by domain; that of ONNX itself is ``""``."""
    return {("" if entry.domain == "ai.onnx" else entry.domain): int(entry.version) for entry in model.opset_import}


def in_opset(piece: Piece, wanted: Mapping[str, int]) -> OnnxModel:
    """The piece's graph in the opsets wanted, of those domains that it uses.

    Raises:
        NotImplementedError: it cannot be said in them.
    """
    declared = declared_opsets(piece.model)
    changed = {domain: version for domain, version in wanted.items() if declared.get(domain, version) != version}
    if not changed:
        return piece.model
    if _is_the_same(piece.model, changed):
        _relabel(piece.model, changed)
        return piece.model
    return _converted(piece, changed)


def is_sayable(model: OnnxModel, opset: int) -> bool:
    """Whether each of its operators is the same in that opset of ONNX."""
    return _is_the_same(model, {"": opset})


def _is_the_same(model: OnnxModel, changed: Mapping[str, int]) -> bool:
    own = {(function.domain, function.name) for function in model.functions}
    for holder, nodes in ((model, model.graph), *((function, function) for function in model.functions)):
        declared = declared_opsets(holder)
        for node in all_nodes(nodes):
            domain = "" if node.domain == "ai.onnx" else node.domain
            if domain not in changed or (node.domain, node.op_type) in own:
                continue
            if not _same_operator(node.op_type, domain, declared.get(domain, 0), changed[domain]):
                return False
    return True


def _same_operator(operator: str, domain: str, before: int, after: int) -> bool:
    return before == after or _since(operator, domain, before) == _since(operator, domain, after) != 0


def _since(operator: str, domain: str, version: int) -> int:
    """The opset in which the operator got the definition that it has in ``version``; 0 where it has none."""
    from onnx import defs

    newest = {"": defs.onnx_opset_version(), "ai.onnx.ml": defs.onnx_ml_opset_version()}
    if not 1 <= version <= newest.get(domain, 0):
        return 0
    try:
        found = defs.get_schema(operator, version, domain)
    except defs.SchemaError:
        return 0
    return 0 if found.deprecated else int(found.since_version)


def _relabel(model: OnnxModel, changed: Mapping[str, int]) -> None:
    for holder in (model, *model.functions):
        for entry in holder.opset_import:
            domain = "" if entry.domain == "ai.onnx" else entry.domain
            entry.version = changed.get(domain, entry.version)


def _converted(piece: Piece, changed: Mapping[str, int]) -> Any:
    before = declared_opsets(piece.model)
    words = ", ".join(f"{domain or 'ai.onnx'} {before[domain]}, not {to}" for domain, to in changed.items())
    if set(changed) != {""} or piece.model.functions or piece.files:
        raise NotImplementedError(
            f"{piece.title} is of opset {words}, and onnx converts no graph with functions, external data "
            "or operators of other domains"
        )
    try:
        return worker_process.convert(piece.model, changed[""])
    except worker_process.WorkerError as error:
        raise NotImplementedError(f"{piece.title} is of opset {words}, and onnx cannot convert it: {error}") from error
