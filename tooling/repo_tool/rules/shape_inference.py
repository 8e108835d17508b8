# SPDX-License-Identifier: Apache-2.0
"""ONNX's own shape inference on files that nobody has vouched for.

It follows values through a graph, so that a file of a hundred bytes can ask it for hours and for all memory; a graph
that could is inferred in a child process with limits, which a crash does not leave either.
"""

__all__ = ["Inferred", "infer"]

import os
import re
import resource
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from repo_tool.rules.onnx_graph import is_sorted

_MOST_SECONDS = 3.0
_MOST_BYTES = 4 * 2**30
_MOST_VALUES = 100_000  # followed through a graph; shapes have a handful
_INFERRED_DOMAINS = frozenset({"", "ai.onnx.ml"})  # of others the outputs stay without types
_GROWING = frozenset({"ConstantOfShape", "Expand", "Loop", "Range", "Scan", "SequenceMap", "Tile"})


# Words of mismatches that ONNX Runtime does not mind, or does not see: it only warns where a declared shape is not the
# inferred one, takes the nodes in any order, knows weights in other files, and imports domains that are not.
_HARMLESS = re.compile(
    r"existing shape|existing dim|instead is null|external|opset import|No Op registered|op_type:Constant\b",
    re.IGNORECASE,
)
# Words of those that it refuses; of others it depends on which release of ONNX is asked, and newer ones are stricter.
_REFUSED = re.compile(
    r"inconsistent type|unsupported type|existing elem type|Mismatched tensor element type|same element type"
    r"|Incompatible dimensions|Dimension mismatch in unification|Can't merge shape info|must be in \[|attribute perm"
    r"|Number of spatial dimensions|Dimension of input \d+ must be 1|expected to have rank|must have same rank"
)
_WITHIN_SUBGRAPH = re.compile(r"op_type:(If|Loop|Scan|SequenceMap)\b")
_LEADS = re.compile(r"\[\w+\] |Inference error\(s\): |\s+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """What inference says of a graph; an empty one where it does not come to an end in time."""

    outputs: Sequence[Any] | None = None  # with refined shapes; None where inference fails
    mismatch: str = ""  # of types or shapes, for which ONNX Runtime refuses the graph; "" where there is none


def infer(model: Any) -> Inferred:
    """The graph's outputs with refined shapes, and whether the types and shapes within it fit together."""
    return _apart(model) if _may_run_away(model) or _may_crash(model) else _inferred(model)


def _inferred(model: Any) -> Inferred:
    strictly, error = _try(model, data_prop=True, check_type=True, strict_mode=True)
    if not error:
        return Inferred(outputs=strictly)
    outputs, _ = _try(model, data_prop=True)
    return Inferred(outputs=outputs, mismatch="" if _is_harmless(error) else _mismatch(model))


def _mismatch(model: Any) -> str:
    """The first for which ONNX Runtime refuses the graph, "" where there is none."""
    seen = type(model)()
    seen.CopyFrom(model)
    _forget_types_of_constants(seen.graph)
    _forget_defaults(seen.graph)
    # Not what rests on the values that inference follows: ONNX Runtime follows fewer.
    _, error = _try(seen, check_type=True, strict_mode=True)
    if _is_harmless(error):
        return ""
    return next((_LEADS.sub("", line) for line in error.splitlines() if _REFUSED.search(line)), "")


def _forget_types_of_constants(graph: Any) -> None:
    """ONNX Runtime makes initializers of them, and does not look at what else is declared."""
    constants = {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    constants.update(tensor.name for tensor in graph.initializer)
    kept = [value for value in graph.value_info if value.name not in constants]
    if len(kept) < len(graph.value_info):
        del graph.value_info[:]
        graph.value_info.extend(kept)


def _forget_defaults(graph: Any) -> None:
    """ONNX Runtime takes no value from an initializer that a request may override."""
    inputs = {value.name for value in graph.input}
    kept = [tensor for tensor in graph.initializer if tensor.name not in inputs]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _try(model: Any, **options: bool) -> tuple[Sequence[Any] | None, str]:
    """The outputs, or why there are none."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, **options).graph.output, ""
    except onnx.shape_inference.InferenceError as error:
        return None, str(error)
    # Too large a message is a ValueError, a function that calls itself the last; other RuntimeErrors are a bug of onnx.
    except (ValueError, RuntimeError, onnx.checker.ValidationError):
        return None, "external"


def _is_harmless(error: str) -> bool:
    if _HARMLESS.search(error):
        return True
    # An error in the body of an operator that is defined as a function may be one of that body.
    return error.count("Inference error(s)") > 1 and not _WITHIN_SUBGRAPH.search(error)


def _may_run_away(model: Any) -> bool:
    if model.functions or any(node.op_type in _GROWING for node in _nodes(model.graph)):
        return True
    sizes = {tensor.name: _element_count(tensor) for tensor in model.graph.initializer}
    for node in _nodes(model.graph):
        known = [sizes.get(name, 1) for name in node.input]
        size = sum(known) if node.op_type == "Concat" else max(known, default=1)
        if node.op_type == "Concat" and size > _MOST_VALUES:
            return True
        sizes.update(dict.fromkeys(node.output, size))
    return False


def _may_crash(model: Any) -> bool:
    """Whether some value has no type when inference comes to it, which not every operator looks at before it reads."""
    if any(value.type.WhichOneof("value") is None for value in model.graph.input):
        return True
    return any(node.domain not in _INFERRED_DOMAINS for node in _nodes(model.graph)) or not is_sorted(model.graph)


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of those within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
            for inner in attribute.graphs:
                yield from _nodes(inner)


def _element_count(tensor: Any) -> int:
    count = 1
    for dim in tensor.dims:
        count *= max(dim, 0)
    return min(count, _MOST_VALUES)  # weights are no shapes: only what Concat makes of them may grow


def _apart(model: Any) -> Inferred:
    """The same in a forked child, so that only as much time and memory goes as is allowed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _infer_and_leave(model, writing)
    os.close(writing)
    try:
        answer = _read_all(reading)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _unpacked(answer) if answer else Inferred()


def _infer_and_leave(model: Any, writing: int) -> None:
    """Runs in the child, which never returns to what the parent was doing."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _MOST_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answer = _packed(_inferred(model))
        with os.fdopen(writing, "wb") as stream:
            stream.write(answer)
    except (MemoryError, OSError, ValueError):
        os._exit(1)
    finally:
        os._exit(0)


def _packed(inferred: Inferred) -> bytes:
    """As a graph of that name, with the mismatch for its documentation."""
    import onnx

    name = "failed" if inferred.outputs is None else "inferred"
    packed = onnx.GraphProto(name=name, doc_string=inferred.mismatch, output=inferred.outputs or ())
    return bytes(packed.SerializeToString())


def _unpacked(answer: bytes) -> Inferred:
    import onnx

    packed = onnx.GraphProto.FromString(answer)
    return Inferred(outputs=None if packed.name == "failed" else packed.output, mismatch=packed.doc_string)


def _address_space() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 # a line of the kernel's
        return int(file.read().split()[0]) * resource.getpagesize()


def _read_all(reading: int) -> bytes:
    """What the child writes until it ends; nothing where it takes too long."""
    deadline = time.monotonic() + _MOST_SECONDS
    parts: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([reading], [], [], left)
        if not ready:
            break
        part = os.read(reading, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return b""
