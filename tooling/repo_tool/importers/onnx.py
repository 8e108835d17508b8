# SPDX-License-Identifier: Apache-2.0
"""ONNX: any valid model whose inputs and outputs are tensors, published as it is wherever the release allows."""

__all__ = ["OnnxImporter"]

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from repo_tool.errors import SourceError, needs_extra
from repo_tool.importers import onnx_graph
from repo_tool.importers.base import ImportedModel, ImportRequest
from repo_tool.importers.first_bytes import looks_like
from repo_tool.importers.foreign import refusing
from repo_tool.importers.onnx_mending import Mended, mend, reference
from repo_tool.importers.trials import Trial, batching, try_rows
from repo_tool.samples import RawSample
from repo_tool.signature import ModelSignature

_NO_KERNEL_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

_EXTERNAL_KEYS = frozenset({"location", "offset", "length", "checksum"})  # of onnx.proto, TensorProto.external_data


class OnnxImporter:
    """ONNX files, with external data beside them if any."""

    framework = "onnx"
    extra = "onnx"

    def recognises(self, source: str) -> bool:
        """Whether it is named as ONNX files are; a protobuf's first bytes tell nothing."""
        return looks_like(source, suffixes={".onnx"}, kinds=())

    def bring_in(self, request: ImportRequest, sample: RawSample | None, folder: Path) -> ImportedModel:
        """Check, copy, and answer the rows in ONNX Runtime with the file as it was given.

        Raises:
            SourceError: not valid, its external data is absent or elsewhere, it has operators that ONNX Runtime lacks,
                or Triton cannot carry its tensors.
            SampleError: the rows do not fit.
            ReleaseError: its opset or IR version is newer than allowed.
        """
        with needs_extra("onnx"):
            import onnx
            import onnxruntime
        _refuse_other_backends(request)
        source = Path(request.source)
        model = _parse(source)
        beside = _external_files(model, source.parent)
        onnx_graph.refuse_what_no_server_takes(model)
        mended = mend(model, request, source, sample)
        artifact = _publish(source, mended.model, beside, folder, changed=bool(mended.notes))
        onnx_graph.drop_weights(mended.model)
        with refusing(f"'{source.name}' is not valid ONNX", next_step="export it again, then try onnx.checker on it"):
            onnx.checker.check_model(artifact)
        signature, notes, trial = _try(mended, artifact, sample)
        return ImportedModel(
            framework=self.framework,
            backend="onnxruntime",
            signature=signature,
            artifact=artifact,
            inputs=trial.rows.inputs,
            inputs_were_generated=trial.rows.generated,
            reference=reference(mended, source, trial),
            tool_versions={"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
            notes=(*mended.notes, *notes),
        )


def _try(mended: Mended, artifact: Path, sample: RawSample | None) -> tuple[ModelSignature, tuple[str, ...], Trial]:
    """The signature and its notes, with rows answered by the artifact; the session ends here, with its weights."""
    session = onnx_graph.open_session(artifact)
    signature = onnx_graph.read_signature(session, mended.model)
    answer = partial(onnx_graph.run, session)
    trial = try_rows(_with_vectors(sample, mended.scalars), signature.inputs, answer)
    signature, notes = batching(signature, answer, trial)
    return signature, notes, trial


def _with_vectors(sample: RawSample | None, scalars: tuple[str, ...]) -> RawSample | None:
    """The sample with its scalars as the vectors that the graph takes now."""
    if sample is None or not scalars:
        return sample
    tensors = {name: a.reshape(1) if name in scalars and a.ndim == 0 else a for name, a in sample.tensors.items()}
    array = sample.array.reshape(1) if sample.array is not None and sample.array.ndim == 0 else sample.array
    return replace(sample, tensors=tensors, array=array)


def _refuse_other_backends(request: ImportRequest) -> None:
    if request.backend not in (None, "onnxruntime"):
        raise SourceError(
            f"ONNX models are not served by the backend '{request.backend}'", next_step="leave --backend out"
        )


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


def _publish(source: Path, model: Any, beside: list[PurePosixPath], folder: Path, *, changed: bool) -> Path:
    artifact = folder / onnx_graph.ONNX_FILE
    if changed:
        artifact.write_bytes(model.SerializeToString())
    else:
        _copy(source, artifact)
    for location in beside:
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        _copy(source.parent / location, folder / location)
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
    if ".." in location.parts:
        return "it points outside the model's folder"
    parts = [folder.joinpath(*location.parts[: count + 1]) for count in range(len(location.parts))]
    if any(part.is_symlink() for part in parts):
        return "it is a symbolic link"
    if not parts or not parts[-1].is_file():
        return "there is no such file beside the model"
    return "it is a hard link to a file elsewhere" if parts[-1].stat().st_nlink > 1 else ""
