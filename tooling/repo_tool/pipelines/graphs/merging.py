# SPDX-License-Identifier: Apache-2.0
"""Steps and models put together to one ONNX graph, whose inputs and outputs are called like the wires."""

__all__ = ["GraphModel", "graph_model", "merge"]

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from repo_tool.pipelines.graphs import worker_process
from repo_tool.pipelines.graphs.lowering import OPSET, lowered
from repo_tool.pipelines.graphs.members import member_piece, move_external_data
from repo_tool.pipelines.graphs.naming import BATCH, function_key, rename_functions, rename_values
from repo_tool.pipelines.graphs.opsets import declared_opsets, in_opset, is_sayable
from repo_tool.pipelines.graphs.pieces import OnnxModel, Piece, all_nodes, every_graph
from repo_tool.pipelines.graphs.worker_process import Loaded
from repo_tool.pipelines.placement import Part
from repo_tool.pipelines.stages import ModelStage, StepStage
from repo_tool.pipelines.wire import Wire
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelRepository

_FILE = "model.onnx"
_WEIGHTS = "weights"  # the folder of external data, beside the graph
_OLDEST_IR = 8  # from 4 on weights need not be inputs too; 8 is read by every ONNX Runtime since 1.10
_LARGEST_PROTOBUF = 2**31 - 2**24  # bytes; protobuf refuses 2 GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphModel:
    """One ONNX graph that ONNX Runtime has loaded, and what that says of it."""

    files: Mapping[str, bytes | Path]  # of the version folder: the graph, and files of weights to link or copy
    opset: int
    ir_version: int
    loaded: Loaded
    operators: frozenset[tuple[str, str]]  # (domain, name) of all that it uses
    notes: tuple[str, ...] = ()  # what was changed in a model on the way


def graph_model(
    part: Part, wires: Mapping[str, Wire], repository: ModelRepository, *, release: Release | None = None
) -> GraphModel:
    """The part's stages as one graph, held to onnx's checker and loaded into ONNX Runtime.

    Raises:
        NotImplementedError: they cannot be one graph, with the reason.
    """
    pieces, notes = _in_one_opset(part, wires, repository, release)
    merged, files = merge(part, wires, pieces)
    content = _serialized(merged)
    loaded = _loaded(content, files, repository)
    _refuse_other_shapes(loaded, part, wires)
    return GraphModel(
        files={_FILE: content, **files},
        opset=declared_opsets(merged).get("", 0),
        ir_version=int(merged.ir_version),
        loaded=loaded,
        operators=frozenset(_operators(merged)),
        notes=notes,
    )


# --- opsets ----------------------------------------------------------------------------------------------------------


def _in_one_opset(
    part: Part, wires: Mapping[str, Wire], repository: ModelRepository, release: Release | None
) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
    """Every stage as a piece, all in the newest opsets among the models; steps are written in those."""
    members = {
        index: member_piece(stage, repository)
        for index, stage in enumerate(part.stages)
        if isinstance(stage, ModelStage)
    }
    _fits(members.values(), release)
    wanted = _newest(member.model for member in members.values())
    opset = wanted.setdefault("", OPSET)
    steps = {
        index: lowered(stage, wires, opset=max(opset, OPSET), rows=part.rows)
        for index, stage in enumerate(part.stages)
        if isinstance(stage, StepStage)
    }
    if not all(is_sayable(step.model, opset) for step in steps.values()):
        wanted[""] = max(opset, OPSET)
    pieces = [piece for _, piece in sorted({**members, **steps}.items())]
    wanted = {**_newest(piece.model for piece in pieces), "": wanted[""]}
    notes = [note for member in members.values() for note in _raised(member, wanted)]
    return tuple(replace(piece, model=in_opset(piece, wanted)) for piece in pieces), tuple(notes)


def _newest(models: Iterable[OnnxModel]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for model in models:
        for domain, version in declared_opsets(model).items():
            newest[domain] = max(version, newest.get(domain, 0))
    return newest


def _raised(member: Piece, wanted: Mapping[str, int]) -> Iterator[str]:
    for domain, version in declared_opsets(member.model).items():
        if wanted[domain] != version:
            yield f"{member.title}: opset of {domain or 'ai.onnx'} raised from {version} to {wanted[domain]}"


def _fits(members: Iterable[Piece], release: Release | None) -> None:
    """Only a model of the repository can be newer than the release: steps are written in the oldest opset that can."""
    if release is None or release.max_onnx_opset is None or release.max_onnx_ir is None:
        return
    for piece in members:
        opset, ir = declared_opsets(piece.model).get("", 0), piece.model.ir_version
        if opset > release.max_onnx_opset or ir > release.max_onnx_ir:
            newer = f"opset {opset} or IR version {ir} is newer than Triton {release.name} loads"
            raise NotImplementedError(f"{piece.title}: its {newer}")


# --- one graph -------------------------------------------------------------------------------------------------------


def merge(part: Part, wires: Mapping[str, Wire], pieces: Sequence[Piece]) -> tuple[OnnxModel, dict[str, bytes | Path]]:
    """All pieces in the model of the largest, so that the most of the weights are never copied."""
    values: dict[str, list[Any]] = {}  # declarations of wires, by name
    functions: dict[tuple[str, str, str], bytes] = {}
    nodes: list[Any] = []
    files: dict[str, bytes | Path] = {}
    for index, (piece, prefix) in enumerate(zip(pieces, _prefixes(part, wires), strict=True)):
        folder = f"{_WEIGHTS}/{index}"
        move_external_data(piece.model, folder)
        files |= {f"{folder}/{location}": path for location, path in piece.files.items()}
        rename_functions(piece.model, functions, prefix=prefix)
        functions |= {function_key(function): function.SerializeToString() for function in piece.model.functions}
        nodes += _joined(piece, _needed(part, index), prefix)
        _note_values(piece, values)
    merged = max(pieces, key=lambda piece: piece.model.ByteSize()).model
    _gather(merged, [piece.model for piece in pieces])
    _put(merged.graph.node, nodes)
    _declare(merged.graph, part, wires, values)
    merged.graph.name = part.name
    return merged, files


def _prefixes(part: Part, wires: Mapping[str, Wire]) -> Iterator[str]:
    """Before the names of a stage's own values; no wire starts like one."""
    for index, stage in enumerate(part.stages):
        prefix = f"{index}_{stage.name}/"
        while any(wire.startswith(prefix) for wire in wires):
            prefix = f"_{prefix}"
        yield prefix


def _needed(part: Part, index: int) -> set[str]:
    """The wires that somebody reads after this stage."""
    return {wire for stage in part.stages[index + 1 :] for wire in stage.inputs.values()} | set(part.writes)


def _joined(piece: Piece, needed: set[str], prefix: str) -> list[Any]:
    """The piece's nodes, its inputs and outputs called like the wires, with a node between where that cannot be."""
    inputs, outputs = _names(piece.model.graph.input), _names(piece.model.graph.output)
    missing = [name for name in piece.inputs if name not in inputs] + [
        name for name in piece.outputs if name not in outputs
    ]
    if missing:
        raise NotImplementedError(f"{piece.title}: its graph has no tensor '{missing[0]}'")
    joints = {name: wire for name, wire in piece.inputs.items() if name not in piece.reshaped}
    before = [name for name in piece.inputs if name in piece.reshaped]
    read = {name: wire for name, wire in piece.outputs.items() if wire in needed}
    after = [name for name in read if name in piece.reshaped or name in piece.inputs]
    joints |= {name: wire for name, wire in read.items() if name not in after}
    rename_values(piece.model, joints, prefix=prefix)
    make = partial(_between, piece, prefix)
    return [
        *(make(piece.inputs[name], f"{prefix}{name}", name) for name in before),
        *piece.model.graph.node,
        *(make(joints.get(name, f"{prefix}{name}"), read[name], name) for name in after),
    ]


def _between(piece: Piece, prefix: str, source: str, target: str, name: str) -> Any:
    """A node that hands a value on, in the shape that is wanted."""
    import onnx

    shape = piece.reshaped.get(name)
    if shape is None:
        return onnx.helper.make_node("Identity", [source], [target], name=f"{prefix}hand on {name}")
    if shape.count(-1) > 1:
        raise NotImplementedError(f"{piece.title}: it reshapes '{name}' to {list(shape)}, with more than one free size")
    sizes = f"{prefix}shape of {name}"
    piece.model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(shape, dtype=np.int64), sizes))
    return onnx.helper.make_node("Reshape", [source, sizes], [target], name=f"{prefix}reshape {name}")


def _names(values: Iterable[Any]) -> set[str]:
    return {str(value.name) for value in values}


def _note_values(piece: Piece, values: dict[str, list[Any]]) -> None:
    """How the piece itself declares the wires that it reads or writes as they are."""
    for value in (*piece.model.graph.input, *piece.model.graph.output):
        values.setdefault(value.name, []).append(value)


def _gather(merged: OnnxModel, models: Sequence[OnnxModel]) -> None:
    """All but nodes, inputs and outputs of the others into the one."""
    known = {function_key(function) for function in merged.functions}
    for model in models:
        if model is merged:
            continue
        for name in ("initializer", "sparse_initializer", "value_info", "quantization_annotation"):
            getattr(merged.graph, name).extend(getattr(model.graph, name))
        merged.functions.extend(function for function in model.functions if function_key(function) not in known)
        known |= {function_key(function) for function in model.functions}
    imports = _newest(models)
    notes = {entry.key: entry.value for model in models for entry in model.metadata_props}
    merged.ir_version = max(_OLDEST_IR, *(model.ir_version for model in models))
    for field in ("opset_import", "metadata_props", "training_info"):
        merged.ClearField(field)
    for domain, version in imports.items():
        merged.opset_import.add(domain=domain, version=version)
    for key, value in notes.items():
        merged.metadata_props.add(key=key, value=value)
    merged.producer_name, merged.producer_version, merged.doc_string = "repo-tool", "", ""


def _declare(graph: Any, part: Part, wires: Mapping[str, Wire], values: Mapping[str, list[Any]]) -> None:
    """The part's wires as inputs and outputs; inputs that were weights too are weights from now on."""
    inputs = [_declaration(wire, wires[wire], part, values.get(wire, ())) for wire in part.reads]
    outputs = [_declaration(wire, wires[wire], part, values.get(wire, ())) for wire in part.writes]
    between = [value for value in graph.value_info if value.name not in {*part.reads, *part.writes}]
    _put(graph.input, inputs)
    _put(graph.output, outputs)
    _put(graph.value_info, between)


def _put(field: Any, messages: Sequence[Any]) -> None:
    """In place of what a repeated field holds, which some of the messages may be."""
    copies = []
    for message in messages:
        copies.append(type(message)())
        copies[-1].CopyFrom(message)
    del field[:]
    field.extend(copies)


def _declaration(name: str, wire: Wire, part: Part, values: Sequence[Any]) -> Any:
    """As the only piece that declares it does, else as the wire is."""
    import onnx

    if len(values) == 1:
        return values[0]
    sizes = [size if size >= 0 else f"{name}_{axis}" for axis, size in enumerate(wire.dims, start=1)]
    rows = BATCH if part.rows is None or part.rows < 0 else part.rows
    return onnx.helper.make_tensor_value_info(name, wire.datatype.value.onnx_element_type, [rows, *sizes])


def _operators(model: OnnxModel) -> Iterator[tuple[str, str]]:
    for graph in every_graph(model):
        for node in all_nodes(graph):
            yield str(node.domain), str(node.op_type)


# --- loaded ----------------------------------------------------------------------------------------------------------


def _serialized(model: OnnxModel) -> bytes:
    if model.ByteSize() > _LARGEST_PROTOBUF:
        raise NotImplementedError("together their weights are more than one ONNX file can hold (2 GiB)")
    content: bytes = model.SerializeToString()
    return content


def _loaded(content: bytes, files: Mapping[str, bytes | Path], repository: ModelRepository) -> Loaded:
    with _scratch(repository, near=bool(files)) as folder:
        (folder / _FILE).write_bytes(content)
        for location, source in files.items():
            (folder / location).parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(Path(str(source)), folder / location)
        try:
            return worker_process.load(folder)
        except worker_process.WorkerError as error:
            raise NotImplementedError(f"ONNX Runtime does not load them as one graph: {error}") from error


@contextmanager
def _scratch(repository: ModelRepository, *, near: bool) -> Iterator[Path]:
    """A folder that is gone afterwards; on the repository's own file system where weights are to be linked into it."""
    place = repository.private_path if near and os.access(repository.private_path.parent, os.W_OK) else None
    if place is not None:
        place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="graph-") as folder:
        yield Path(folder)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _refuse_other_shapes(loaded: Loaded, part: Part, wires: Mapping[str, Wire]) -> None:
    """Triton's backend compares a configuration with what a loaded session says: types, ranks and the batch."""
    for tensor in (*loaded.inputs, *loaded.outputs):
        wire = wires[tensor.name]
        lead = -1 if part.rows is None else part.rows
        found, told = tensor.shape, (lead, *wire.dims)
        fits = len(found) == len(told) and all(a == b or -1 in (a, b) for a, b in zip(found, told, strict=True))
        if tensor.datatype is not wire.datatype or not fits or (part.rows is None and found[0] != -1):
            raise NotImplementedError(
                f"as one graph '{tensor.name}' is {tensor.datatype.wire_name} {list(found)}, "
                f"and the wire is {wire.datatype.wire_name} {list(told)}"
            )
