# SPDX-License-Identifier: Apache-2.0
"""SavedModel folders: whether the graph only computes, or also reads, writes, or calls what is not TensorFlow's."""

__all__ = ["code_in_saved_model"]

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers.foreign import refusing

_DAMAGED = "copy or save it again; the file may have been cut short"

# Operators that reach outside the graph: files, datasets, summaries, Python, other devices and machines.
_REACHES_OUT = re.compile(
    r".*(File|Dataset|Iterator|Reader|PyFunc|Summary|Checkpoint|Record|Debug|Rpc|Tpu|TPU|Xla|Nccl|Collective|Send|Recv"
    r"|Barrier|Session|Dump|Save|Restore|Unbatch|Remote|Kafka|BigQuery|SQL|Generator|Print|Audio\w*Summary|Abort).*"
    r"|Save|SaveV2|Restore|RestoreV2|RestoreSlice|SymbolicGradient|Batch(Function|FFT)?|Print.*"
    r"|ImmutableConst|(Encode|Decode)Proto\w*|GenerateVocabRemapping|LoadAndRemapMatrix"  # files by an attribute
)
_FILES = re.compile("file|memory_region|descriptor_source|(^|_)(path|uri|url|address)($|_)", re.IGNORECASE)
_READ_OR_WRITTEN_BY_LOADING = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"})
_COMPUTING_STATEFUL = re.compile(
    r"\w*VarHandleOp|VarIsInitializedOp|(Read|Assign|AssignAdd|AssignSub|Destroy|Resource)\w*Variable\w*|Variable(V2)?"
    r"|Resource(Gather|GatherNd|Scatter\w+|StridedSliceAssign|Apply\w+)|AssignVariableOp"
    r"|(Stateful)?PartitionedCall|(Stateless)?(If|While|Case)"
    r"|(Mutable)?(Anonymous)?(Mutable)?(HashTable|DenseHashTable|HashTableOfTensors)(V2)?|Anonymous\w*HashTable\w*"
    r"|(InitializeTable|LookupTable\w+)(V2)?|Random\w+|TruncatedNormal|Multinomial|ParameterizedTruncatedNormal"
    r"|Stateful(Random\w+|Uniform\w*|StandardNormal\w*|TruncatedNormal)|Rng\w+|Assert|NoOp|Placeholder\w*|Stack\w*"
    r"|TensorArray\w*|TemporaryVariable|DestroyTemporaryVariable|DisableCopyOnRead"
    r"|MutexLock|ConsumeMutexLock|DecodeImage|CudnnRNN\w*"
)


def code_in_saved_model(folder: Path) -> str:
    """Which operators do more than compute, in words; "" when there are none.

    Raises:
        SourceError: damaged, or it takes files from outside its folder.
    """
    _refuse_links(folder)
    if (folder / "saved_model.cpb").exists():
        return "its graph is in pieces (saved_model.cpb), which are not checked"
    with needs_extra("tensorflow"):
        from tensorflow.core.protobuf import saved_model_pb2
        from tensorflow.python.framework import op_def_registry
    found = saved_model_pb2.SavedModel()
    with refusing(f"'{folder.name}' does not load as a SavedModel", next_step=_DAMAGED):
        found.ParseFromString((folder / "saved_model.pb").read_bytes())
    for graph in found.meta_graphs:
        code = _code_in_graph(graph, op_def_registry)
        if code:
            return code
    return ""


def _refuse_links(folder: Path) -> None:
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise SourceError(
                f"'{folder.name}' holds a link to outside of itself: {path.relative_to(folder)}",
                cause="the file that it points to would be published with the model",
                next_step="copy the folder with its files: cp -rL",
            )
        if not (path.is_file() or path.is_dir()):
            raise SourceError(
                f"'{folder.name}' holds what is neither a file nor a folder: {path.relative_to(folder)}",
                cause="reading a pipe or a device may never end",
                next_step="save the model again",
            )


def _code_in_graph(graph: Any, registry: Any) -> str:
    for asset in graph.asset_file_def:
        place = PurePosixPath(asset.filename)
        if place.is_absolute() or ".." in place.parts:
            return f"it reads the file '{asset.filename}' outside of its folder"
    loading = _loading_functions(graph)
    for operator, function in _operators(graph.graph_def):
        if operator in _READ_OR_WRITTEN_BY_LOADING and function in loading:
            continue
        code = _why(operator, registry.get(operator))
        if code:
            return f"it uses the operator {operator}, which {code}"
    return ""


def _operators(graph: Any) -> Iterator[tuple[str, str]]:
    own = {function.signature.name for function in graph.library.function}
    yield from ((node.op, "") for node in graph.node if node.op not in own)
    for function in graph.library.function:
        yield from ((node.op, function.signature.name) for node in function.node_def if node.op not in own)


def _why(operator: str, definition: Any) -> str:
    if definition is None:
        return "is not TensorFlow's own"
    if _COMPUTING_STATEFUL.fullmatch(operator):
        return ""
    if _REACHES_OUT.fullmatch(operator) or _takes_files(definition):
        return "reads, writes or calls something outside of the graph"
    return "keeps a state that is not known to stay inside the graph" if definition.is_stateful else ""


def _takes_files(definition: Any) -> bool:
    """Whether an operator that no table knows is told of files by one of its inputs or attributes."""
    return any(_FILES.search(entry.name) for entry in (*definition.input_arg, *definition.attr))


# --- what saves and restores the variables ---------------------------------------------------------------------------


def _loading_functions(graph: Any) -> frozenset[str]:
    """Functions that nothing but the graph's own saver reaches: they read and write the folder's variables only."""
    nodes = {node.name: node for node in graph.graph_def.node}
    saver = {graph.saver_def.save_tensor_name.partition(":")[0], graph.saver_def.restore_op_name}
    called_by_saver = {name for node in saver & set(nodes) for name in _called(nodes[node])}
    reached = _reached_by_signatures(graph, nodes)
    called_otherwise = {name for node in nodes.values() if node.name not in saver for name in _called(node)}
    called_otherwise |= {
        name for function in graph.graph_def.library.function for node in function.node_def for name in _called(node)
    }
    return frozenset() if reached & saver else frozenset(called_by_saver - called_otherwise)


def _called(node: Any) -> Iterator[str]:
    yield node.op
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def _reached_by_signatures(graph: Any, nodes: Mapping[str, Any]) -> set[str]:
    waiting = [tensor.name for signature in graph.signature_def.values() for tensor in signature.outputs.values()]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name not in reached and name in nodes:
            reached.add(name)
            waiting.extend(nodes[name].input)
    return reached
