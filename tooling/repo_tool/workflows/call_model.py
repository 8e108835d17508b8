# SPDX-License-Identifier: Apache-2.0
"""Sample rows through a running server, by the client that its users have."""

__all__ = ["CallRequest", "CalledModel", "call_model", "translating_client_errors"]

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

import repo_client
from repo_client import Client
from repo_client import ModelSignature as ServedSignature
from repo_tool.datatypes import DataType
from repo_tool.errors import (
    RepositoryError,
    RepoToolError,
    SampleError,
    ServerUnreachableError,
    TritonError,
    UserMistakeError,
)
from repo_tool.pipelines.wire import Wire
from repo_tool.repository.labels import Labels
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.samples import Array, Tensors, bind, read_published_sample, read_raw_sample
from repo_tool.signature import TensorSpec
from repo_tool.workflows.pipeline_rows import read_pipeline_rows
from repo_tool.workflows.pipeline_source import published_version
from repo_tool.workflows.proof import with_wire_rank

_UNKNOWN = "check the name; repo-tool serve lists what it loads, and repo-tool add-model adds one"
_RAW_SUFFIXES = (".txt", ".jsonl")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

# First match wins. Where no next step is named, the client's own hint is one.
_TRANSLATIONS: tuple[tuple[type[repo_client.RepoClientError], type[RepoToolError], str], ...] = (
    (
        repo_client.ServerUnreachableError,
        ServerUnreachableError,
        "start one in another terminal with repo-tool serve, or pass --server (gRPC is port 8001, HTTP 8000)",
    ),
    (repo_client.NetworkError, ServerUnreachableError, ""),
    (repo_client.UrlError, UserMistakeError, ""),
    (repo_client.InputError, SampleError, ""),
    (repo_client.DeadlineExceededError, TritonError, "give it longer with --timeout, or look at the server's log"),
    (repo_client.RepoClientError, TritonError, ""),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """Which rows to send to which model; without ``sample`` those published with it."""

    model: str
    repository: Path
    server: str
    version: int | None = None
    label: str | None = None  # of the repository; its version is called
    sample: Path | None = None
    rows: int | None = None  # at most so many; all of them without
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledModel:
    """The answers of all requests, put together."""

    signature: ServedSignature
    version: str  # the one that answered
    outputs: Mapping[str, Array]
    rows: int | None  # None: the model does not batch, and the tensors are one request's
    requests: int
    round_trip_s: float  # of all requests together, checks and conversion included


def call_model(request: CallRequest) -> CalledModel:
    """Send the rows, in as few requests as ``max_batch_size`` allows.

    Raises:
        ServerUnreachableError: no server answers.
        RepositoryError: the server does not serve the model, or there is no sample for it.
        SampleError: the sample does not fit the model.
        TritonError: the server or the model failed.
    """
    with (
        translating_client_errors(request.model, request.repository, version=request.version),
        Client(request.server, timeout_s=request.timeout_s, labels=request.repository) as client,
    ):
        model = client.model(request.model, version=request.version, label=request.label)
        inputs = _read_inputs(request, model.signature)
        size = model.signature.max_batch_size
        sent = _at_most(request.rows, inputs) if size else inputs
        started = time.perf_counter()
        answer = model.infer_batch(sent, max_in_flight=1) if size else model.infer(sent)
        elapsed = time.perf_counter() - started
    rows = _rows(sent) if size else None
    return CalledModel(
        signature=model.signature,
        version=answer.model_version,
        outputs=answer.outputs,
        rows=rows,
        requests=1 if rows is None else ceil(rows / size),
        round_trip_s=elapsed,
    )


@contextmanager
def translating_client_errors(
    model: str = "", repository: Path | None = None, *, version: int | None = None
) -> Iterator[None]:
    """Say a failure of the client in this tool's own errors; of a ``model``, with what ``repository`` knows of it."""
    try:
        yield
    except repo_client.ModelNotFoundError as error:
        if repository is not None and (repository / model / "config.pbtxt").is_file():
            _require_version(ModelRepository(repository).model(model), version)
            raise _not_loaded(model, repository, error) from error
        raise RepositoryError(error.fact, next_step=_UNKNOWN) from error
    except repo_client.LabelNotFoundError as error:
        raise _no_label(model, repository, error) from error
    except repo_client.RepoClientError as error:
        ours, next_step = next((ours, step) for theirs, ours, step in _TRANSLATIONS if isinstance(error, theirs))
        raise ours(error.fact, next_step=next_step or error.hint) from error


def _require_version(model: ModelDirectory, version: int | None) -> None:
    there = model.versions()
    if version is not None and version not in there:
        raise RepositoryError(
            f"model '{model.name}' has no version {version}",
            cause=f"there are {', '.join(map(str, there)) or 'none'}, and the server has not loaded it either",
            next_step="pass one of those with --version",
        )


def _no_label(model: str, repository: Path | None, error: repo_client.LabelNotFoundError) -> RepositoryError:
    labels = Labels.of(ModelRepository(repository)).versions(model) if repository else {}
    return RepositoryError(
        error.fact,
        cause=f"its labels are {', '.join(sorted(labels)) or 'none'}",
        next_step=f"put one on a version: repo-tool promote {model} --version 1 --label stable",
    )


def _not_loaded(model: str, repository: Path, error: repo_client.ModelNotFoundError) -> RepositoryError:
    return RepositoryError(
        f"the server has not loaded '{model}'",
        cause=f"it is in '{repository}', and the server says: {error.server_words or error.fact}",
        next_step=f"start repo-tool serve {repository} again: it loads what is there, and says why it refuses a model; "
        "another Triton loads it on request where it runs with --model-control-mode=explicit: "
        f"repo_client's client.admin.load('{model}')",
    )


def _read_inputs(request: CallRequest, served: ServedSignature) -> Mapping[str, Any]:
    if request.sample is None:
        return _published_inputs(request, served)
    if _goes_by_rows(request, request.sample, served):
        return _pipeline_inputs(request.sample, served)
    if request.sample.suffix.lower() in _IMAGE_SUFFIXES:
        return _image_input(request.sample, served)
    raw = read_raw_sample(request.sample)
    given = raw.tensors.keys() | raw.columns.keys()
    inputs = [_tensor(tensor) for tensor in served.inputs if not tensor.optional or tensor.name in given]
    return bind(raw, inputs, columns={tensor.name: tensor.columns for tensor in served.inputs}, may_hold_more=False)


def _goes_by_rows(request: CallRequest, sample: Path, served: ServedSignature) -> bool:
    """Whether the sample is read as ``add-pipeline`` reads one: of a pipeline, and what no other model's can be."""
    if any(not tensor.shape for tensor in served.inputs):
        return False
    is_raw = sample.is_dir() or sample.suffix.lower() in _RAW_SUFFIXES
    return is_raw or published_version(request.model, ModelRepository(request.repository)) is not None


def _pipeline_inputs(sample: Path, served: ServedSignature) -> Tensors:
    wires = {
        tensor.name: Wire(DataType.from_wire(tensor.datatype), tuple(tensor.shape[1:])) for tensor in served.inputs
    }
    columns = {tensor.name: tensor.columns for tensor in served.inputs if tensor.columns}
    count = None if served.max_batch_size else served.inputs[0].shape[0]
    return read_pipeline_rows(sample, wires, columns=columns, count=count).inputs


def _published_inputs(request: CallRequest, served: ServedSignature) -> Tensors:
    repository = ModelRepository(request.repository)
    directory = repository.existing_model(request.model)
    asked = int(served.version) if served.version else directory.latest_version()
    sample = read_published_sample(directory.sample_path(asked))
    shapes = {tensor.name: tensor.shape for tensor in served.inputs}
    return {name: with_wire_rank(array, shapes.get(name, array.shape)) for name, array in sample.inputs.items()}


def _image_input(path: Path, served: ServedSignature) -> Mapping[str, Any]:
    if len(served.inputs) != 1 or served.inputs[0].datatype != "BYTES":
        inputs = ", ".join(f"'{tensor.name}' ({tensor.datatype})" for tensor in served.inputs)
        raise SampleError(
            f"'{path.name}' cannot be sent to model '{served.name}'",
            cause=f"an image file goes to a model with one input of BYTES; this one takes {inputs}",
            next_step="send pixels as --sample FILE.npy, or put a pipeline before the model: repo-tool add-pipeline",
        )
    try:
        return {served.inputs[0].name: path.read_bytes()}
    except OSError as error:
        raise SampleError(
            f"'{path}' cannot be read", cause=error.strerror or str(error), next_step="check the path given to --sample"
        ) from error


def _tensor(tensor: repo_client.TensorSpec) -> TensorSpec:
    return TensorSpec(name=tensor.name, datatype=DataType.from_wire(tensor.datatype), shape=tensor.shape)


def _at_most(rows: int | None, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    if rows is None or any(not isinstance(array, np.ndarray) for array in inputs.values()):
        return inputs
    return {name: array[:rows] for name, array in inputs.items()}


def _rows(inputs: Mapping[str, Any]) -> int:
    first = next(iter(inputs.values()))
    return len(first) if isinstance(first, np.ndarray) else 1
