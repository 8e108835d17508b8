# SPDX-License-Identifier: Apache-2.0
"""The signatures of a TensorFlow SavedModel, read from ``saved_model.pb`` without TensorFlow.

Only the few messages of TensorFlow that tell of signatures are declared here, by their field numbers; the graph itself
is skipped over. Nothing in it is run.
"""

__all__ = ["read_saved_model"]

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, cast

from repo_tool.datatypes import DataType
from repo_tool.rules.file_kinds import is_file
from repo_tool.rules.model_signatures import FileTensor, ModelFileError, ModelFileSignature, NoSuchSignatureError

_LARGEST_FILE = 2**31 - 1  # of a protobuf message
_DEFAULT_SIGNATURE = "serving_default"
_DEFAULT_TAG = "serve"
# tensorflow/core/framework/types.proto
_TYPES = {
    1: ("float32", DataType.FP32), 2: ("float64", DataType.FP64), 3: ("int32", DataType.INT32),
    4: ("uint8", DataType.UINT8), 5: ("int16", DataType.INT16), 6: ("int8", DataType.INT8),
    7: ("string", DataType.BYTES), 9: ("int64", DataType.INT64), 10: ("bool", DataType.BOOL),
    17: ("uint16", DataType.UINT16), 19: ("float16", DataType.FP16), 22: ("uint32", DataType.UINT32),
    23: ("uint64", DataType.UINT64), 14: ("bfloat16", None), 8: ("complex64", None), 18: ("complex128", None),
}  # fmt: skip


def read_saved_model(folder: Path, *, tag: str = "", signature: str = "") -> ModelFileSignature:
    """The inputs and outputs of a signature; "" is what Triton takes where the configuration names none.

    Raises:
        ModelFileError: it is no SavedModel.
        NoSuchSignatureError: it has no such tag or signature.
    """
    path = folder / "saved_model.pb"
    if any(is_file(folder / f"saved_model.{other}") for other in ("cpb", "pbtxt")):
        return ModelFileSignature(framework="SavedModel", inputs=None, outputs=None)
    if not is_file(path):
        raise ModelFileError(f"there is no saved_model.pb in {folder.name}/")
    graph = _graph(_message(path), tag)
    if graph is None:
        return ModelFileSignature(framework="SavedModel", inputs=None, outputs=None)
    known = {name: found for name, found in graph.signature_def.items() if not name.startswith("__saved_model")}
    found = known.get(signature or _DEFAULT_SIGNATURE)
    if found is None and signature:
        raise NoSuchSignatureError(f"it has no signature '{signature}' (it has: {', '.join(sorted(known)) or 'none'})")
    if found is None:  # NVIDIA's backend takes one of those that are there
        return ModelFileSignature(framework="SavedModel", inputs=None, outputs=None)
    return ModelFileSignature(
        framework="SavedModel", inputs=_tensors(found.inputs.items()), outputs=_tensors(found.outputs.items())
    )


def _message(path: Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ModelFileError("saved_model.pb is too large for protobuf")
        message = _saved_model_class().FromString(path.read_bytes())
    except DecodeError as error:
        raise ModelFileError("saved_model.pb does not parse as protobuf") from error
    except OSError as error:
        raise ModelFileError(error.strerror or str(error)) from error
    if not message.meta_graphs:
        raise ModelFileError("saved_model.pb holds no graph")
    return message


def _graph(message: Any, tag: str) -> Any:
    tagged = [graph for graph in message.meta_graphs if (tag or _DEFAULT_TAG) in graph.meta_info_def.tags]
    if not tagged and tag:
        tags = sorted({each for graph in message.meta_graphs for each in graph.meta_info_def.tags})
        raise NoSuchSignatureError(f"it has no graph tagged '{tag}' (it has: {', '.join(tags) or 'none'})")
    return tagged[0] if tagged else None


def _tensors(entries: Iterable[tuple[str, Any]]) -> tuple[FileTensor, ...]:
    return tuple(_tensor(name, info) for name, info in sorted(entries, key=lambda entry: entry[0]))


def _tensor(name: str, info: Any) -> FileTensor:
    type_name, datatype = _TYPES.get(info.dtype, (f"type {info.dtype}", None))
    is_known = info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank
    shape = tuple(max(dim.size, -1) for dim in info.tensor_shape.dim) if is_known else None
    return FileTensor(name=name, datatype=datatype, type_name=type_name, shape=shape)


@cache
def _saved_model_class() -> Any:
    """A message class that reads the signatures and skips all else."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="saved_model_signatures.proto", package="signatures", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, is_repeated) in fields.items():
            entry = message.field.add(name=field, number=number, label=3 if is_repeated else 1)
            if kind in _PLAIN_KINDS:
                entry.type = cast(Any, _PLAIN_KINDS[kind])
            else:
                entry.type, entry.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".signatures.{kind}"
        if set(fields) == {"key", "value"}:
            message.options.map_entry = True
    _nest_map_entries(file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("signatures.SavedModel"))


def _nest_map_entries(file: Any) -> None:
    """Put each map's entry into the message whose field it is, where protobuf wants it."""
    entries = {message.name: message for message in file.message_type if message.options.map_entry}
    for message in file.message_type:
        for field in message.field:
            name = field.type_name.rpartition(".")[2]
            if name in entries:
                message.nested_type.add().CopyFrom(entries[name])
                field.type_name = f".signatures.{message.name}.{name}"
    kept = [message for message in file.message_type if not message.options.map_entry]
    del file.message_type[:]
    file.message_type.extend(kept)


_PLAIN_KINDS = {"bytes": 12, "int32": 5, "int64": 3, "string": 9, "bool": 8}  # FieldDescriptorProto.Type
# name: (number, kind, repeated), from tensorflow/core/protobuf/{saved_model,meta_graph}.proto and tensor_shape.proto
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Dim": {"size": (1, "int64", False)},
    "TensorShape": {"dim": (2, "Dim", True), "unknown_rank": (3, "bool", False)},
    "TensorInfo": {"dtype": (2, "int32", False), "tensor_shape": (3, "TensorShape", False)},
    "InputsEntry": {"key": (1, "string", False), "value": (2, "TensorInfo", False)},
    "OutputsEntry": {"key": (1, "string", False), "value": (2, "TensorInfo", False)},
    "SignatureDef": {"inputs": (1, "InputsEntry", True), "outputs": (2, "OutputsEntry", True)},
    "SignatureDefEntry": {"key": (1, "string", False), "value": (2, "SignatureDef", False)},
    "MetaInfoDef": {"tags": (4, "string", True)},
    "MetaGraph": {"meta_info_def": (1, "MetaInfoDef", False), "signature_def": (5, "SignatureDefEntry", True)},
    "SavedModel": {"meta_graphs": (2, "MetaGraph", True)},
}
