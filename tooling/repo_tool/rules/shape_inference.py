# SPDX-License-Identifier: Apache-2.0
"""ONNX's own shape inference on files that nobody has vouched for.

It follows values through a graph, so that a file of a hundred bytes can ask it for hours and for all memory; a graph
that could is inferred in a child process with limits, which a crash does not leave either.
"""

__all__ = ["inferred_outputs"]

import os
import resource
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

_MOST_SECONDS = 3.0
_MOST_BYTES = 4 * 2**30
_MOST_VALUES = 100_000  # followed through a graph; shapes have a handful
_GROWING = frozenset({"ConstantOfShape", "Expand", "Loop", "Range", "Scan", "SequenceMap", "Tile"})


def inferred_outputs(model: Any) -> Sequence[Any] | None:
    """The graph's outputs with refined shapes; None where inference fails, or does not come to an end in time."""
    return _apart(model) if _may_run_away(model) else _inferred(model)


def _inferred(model: Any) -> Sequence[Any] | None:
    import onnx

    try:
        outputs: Sequence[Any] = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    # InferenceError is a RuntimeError; too large a message is a ValueError; a function that calls itself is the last.
    except (ValueError, RuntimeError, onnx.checker.ValidationError):
        return None
    return outputs


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


def _apart(model: Any) -> Sequence[Any] | None:
    """The same in a forked child, so that only as much time and memory goes as is allowed."""
    import onnx

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
    return onnx.GraphProto.FromString(answer).output if answer else None


def _infer_and_leave(model: Any, writing: int) -> None:
    """Runs in the child, which never returns to what the parent was doing."""
    import onnx

    try:
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + _MOST_BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        outputs = _inferred(model)
        if outputs is not None:
            answer = onnx.GraphProto(name="outputs", output=outputs).SerializeToString()
            with os.fdopen(writing, "wb") as stream:
                stream.write(answer)
    except (MemoryError, OSError, ValueError):
        os._exit(1)
    finally:
        os._exit(0)


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
