# SPDX-License-Identifier: Apache-2.0
"""A model of the repository as a piece of a larger graph: its file read as data, its weights left where they are."""

__all__ = ["member_piece", "why_apart"]

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.errors import needs_extra
from repo_tool.pipelines.graphs.pieces import OnnxModel, Piece, all_nodes, every_graph
from repo_tool.pipelines.stages import ModelStage
from repo_tool.repository.layout import ModelRepository

_BACKENDS = ("onnxruntime",)
_PLATFORMS = ("", "onnxruntime_onnx")
_FILE = "model.onnx"

# What a model may have that a graph around it would not, by the field of its configuration.
_OF_THE_SERVER = {
    "sequence_batching": "its requests are sequences",
    "decoupled": "it answers a request several times",
    "batch_inputs": "Triton makes tensors for it from the batch",
    "batch_outputs": "Triton cuts its outputs in a way of its own",
    "op_library_filenames": "its operators come from a library of its own",
    "cc_model_filenames": "it has a file for each kind of GPU",
    "repository_agents": "a repository agent prepares its files",
    "runtime": "it is run by a library of its own",
}


def why_apart(config: ModelConfig) -> str | None:
    """Why a model cannot be part of a larger graph, as far as its configuration tells; None where it can."""
    if config.backend not in _BACKENDS and config.platform not in _PLATFORMS[1:]:
        return f"it is no ONNX model but one of the backend '{config.backend or config.platform}'"
    for field, reason in _OF_THE_SERVER.items():
        if getattr(config, field):
            return reason
    for tensor in config.inputs:
        if tensor.optional or tensor.allow_ragged_batch:
            return f"its input '{tensor.name}' is {'optional' if tensor.optional else 'ragged'}"
        if tensor.is_shape_tensor or tensor.is_non_linear_format_io:
            return f"its input '{tensor.name}' is laid out for TensorRT"
    return None


def member_piece(stage: ModelStage, repository: ModelRepository) -> Piece:
    """The model's graph, with what of it is not the server's but the graph's own.

    Raises:
        NotImplementedError: it cannot be part of a larger graph, with the reason.
    """
    name, config = stage.config.name, stage.config
    title = f"model '{name}'"
    reason = why_apart(config)
    if reason is not None:
        raise NotImplementedError(f"{title}: {reason}")
    path = _artifact(repository.existing_model(name).version_path(stage.version), config)
    model = _read(path, title)
    _refuse_the_unusual(model, title)
    return Piece(
        title=title,
        model=model,
        inputs=stage.inputs,
        outputs=stage.outputs,
        reshaped={
            **{tensor.name: _whole(config, tensor.reshape) for tensor in config.inputs if tensor.reshape is not None},
            **{tensor.name: _whole(config, tensor.dims) for tensor in _reshaped_outputs(config)},
        },
        files=_external_files(model, path.parent, title),
    )


def _reshaped_outputs(config: ModelConfig) -> Iterator[ModelTensor]:
    return (tensor for tensor in config.outputs if tensor.reshape is not None)


def _whole(config: ModelConfig, shape: tuple[int, ...]) -> tuple[int, ...]:
    """With the batch dimension, which 0 leaves as it is."""
    return (0, *shape) if config.max_batch_size > 0 else shape


def _artifact(folder: Path, config: ModelConfig) -> Path:
    path = folder / (config.default_model_filename or _FILE)
    return path / _FILE if path.is_dir() else path


def _read(path: Path, title: str) -> OnnxModel:
    with needs_extra("onnx"):
        import onnx
        from google.protobuf.message import DecodeError
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise NotImplementedError(f"{title}: its file cannot be read ({error})") from error
    if not model.graph.output:
        raise NotImplementedError(f"{title}: its file holds no graph with outputs")
    return model


def _refuse_the_unusual(model: OnnxModel, title: str) -> None:
    if len(getattr(model, "configuration", ())):
        raise NotImplementedError(f"{title}: its graph is spread over several devices")
    declared = [entry.domain for entry in model.opset_import]
    if len(set(declared)) < len(declared):
        raise NotImplementedError(f"{title}: its file names an opset twice")


# --- external data ---------------------------------------------------------------------------------------------------


def _external_files(model: OnnxModel, folder: Path, title: str) -> dict[str, Path]:
    found = {}
    for tensor in external_tensors(model):
        location = _location(tensor)
        path = PurePosixPath(location)
        if not location or path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
            raise NotImplementedError(
                f"{title}: there is no file '{location}' in its version folder, as its graph says"
            )
        found[location] = (folder / path).resolve()
    return found


def external_tensors(model: OnnxModel) -> Iterator[Any]:
    """The tensors of all graphs whose values lie in another file."""
    for tensor in _tensors(model):
        if tensor.data_location == tensor.EXTERNAL:
            yield tensor


def move_external_data(model: OnnxModel, folder: str) -> None:
    """Say that the files lie in ``folder``, a path within the version folder."""
    for tensor in external_tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = f"{folder}/{entry.value}"


def _location(tensor: Any) -> str:
    return next((str(entry.value) for entry in tensor.external_data if entry.key == "location"), "")


def _tensors(model: OnnxModel) -> Iterator[Any]:
    yield from _initializers(model.graph)
    for graph in every_graph(model):
        for node in all_nodes(graph):
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                for inside in (attribute.g, *attribute.graphs):
                    yield from _initializers(inside)


def _initializers(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
