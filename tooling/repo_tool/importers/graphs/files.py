# SPDX-License-Identifier: Apache-2.0
"""An ONNX file with its external data: read, refused where it is unsafe to take along, and copied."""

__all__ = ["OnnxFile", "publish", "read_file"]

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from repo_tool.errors import SourceError
from repo_tool.importers import onnx_graph
from repo_tool.importers.foreign import refusing
from repo_tool.importers.onnx_graph import OnnxModel

_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

_EXTERNAL_KEYS = frozenset({"location", "offset", "length", "checksum"})  # of onnx.proto, TensorProto.external_data
# What is written into the version folder beside the weights, or in the place of the graph.
_OURS = frozenset({onnx_graph.ONNX_FILE, "model.py", "sample.npz", "provenance.json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A parsed file, without its external data, and the files beside it that hold that."""

    path: Path
    model: OnnxModel
    beside: tuple[PurePosixPath, ...]


def read_file(source: Path) -> OnnxFile:
    """The file, once it is known what has to be taken along.

    Raises:
        SourceError: it does not read as ONNX, or its external data is absent or elsewhere.
    """
    model = _parse(source)
    return OnnxFile(path=source, model=model, beside=tuple(_external_files(model, source.parent)))


def _parse(source: Path) -> Any:
    import onnx

    next_step = "copy or export it again; the file may have been cut short"
    with refusing(f"'{source.name}' does not read as ONNX", next_step=next_step):
        model = onnx.load_model(source, load_external_data=False)
    if not model.graph.output:
        raise SourceError(
            f"'{source.name}' does not read as ONNX", cause="it holds no graph with outputs", next_step=next_step
        )
    return model


def publish(file: OnnxFile, model: OnnxModel | None, folder: Path) -> Path:
    """Write ``model.onnx`` and what lies beside it into ``folder``: ``model``, or without one the file byte for byte.

    Raises:
        SourceError: protobuf cannot write the model.
    """
    artifact = folder / onnx_graph.ONNX_FILE
    if model is None:
        _copy(file.path, artifact)
    else:
        with refusing(f"'{file.path.name}' cannot be written anew", next_step="save it with external data"):
            artifact.write_bytes(model.SerializeToString())
    for location in file.beside:
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        _copy(file.path.parent / location, folder / location)
    return artifact


def _copy(source: Path, destination: Path) -> None:
    """Copy inside the kernel, where the file system can by sharing the blocks; nothing passes through memory."""
    with source.open("rb") as taken, destination.open("wb") as given:
        left = source.stat().st_size
        try:
            while left > 0:
                copied = os.copy_file_range(taken.fileno(), given.fileno(), left)
                if copied == 0:
                    break
                left -= copied
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
    if left > 0:
        shutil.copyfile(source, destination)


# --- external data ---------------------------------------------------------------------------------------------------


def _external_files(model: Any, folder: Path) -> list[PurePosixPath]:
    """The files beside the model that hold its weights, relative to ``folder``; every one is safe to copy."""
    _refuse_unknown_keys(model)
    locations = {
        PurePosixPath(entry.value)
        for tensor in _tensors(model)
        for entry in tensor.external_data
        if tensor.data_location == tensor.EXTERNAL and entry.key == "location"
    }
    for location in locations:
        _refuse_unsafe(location, folder)
    return sorted(locations)


def _tensors(model: Any) -> Iterator[Any]:
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_of_node(node)


def _tensors_of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for subgraph in (attribute.g, *attribute.graphs):
            yield from _tensors_of_graph(subgraph)


def _refuse_unknown_keys(model: Any) -> None:
    """Libraries have taken keys that nobody specified for attributes of their own objects."""
    keys = {entry.key for tensor in _tensors(model) for entry in tensor.external_data}
    unknown = sorted(keys - _EXTERNAL_KEYS)
    if unknown:
        raise SourceError(
            f"the model's external data says {', '.join(map(repr, unknown))}, which ONNX does not know",
            cause=f"it knows {', '.join(sorted(_EXTERNAL_KEYS))}",
            next_step="export the model again, or save it as one file",
        )


def _refuse_unsafe(location: PurePosixPath, folder: Path) -> None:
    """Weights may only come from plain files inside the model's own folder."""
    reason = _why_unsafe(location, folder)
    if reason:
        raise SourceError(
            f"the model's external data '{location}' cannot be taken along",
            cause=reason,
            next_step="put the model and the files with its weights into one folder, or save it as one file",
        )


def _why_unsafe(location: PurePosixPath, folder: Path) -> str:
    if location.is_absolute() or "\\" in str(location):
        return "it is an absolute path"
    if location.parts and location.parts[0].lower() in _OURS:
        return "repo-tool writes a file of that name itself"
    if ".." in location.parts:
        return "it points outside the model's folder"
    parts = [folder.joinpath(*location.parts[: count + 1]) for count in range(len(location.parts))]
    if any(part.is_symlink() for part in parts):
        return "it is a symbolic link"
    if not parts or not parts[-1].is_file():
        return "there is no such file beside the model"
    return "it is a hard link to a file elsewhere" if parts[-1].stat().st_nlink > 1 else ""
