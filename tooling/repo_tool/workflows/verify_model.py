# SPDX-License-Identifier: Apache-2.0
"""A published version against a running server: the files as published, and the answers as its framework gave them."""

__all__ = ["VerifiedModel", "VerifyRequest", "verify_model"]

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import repo_client
from repo_client import Client
from repo_client import ModelSignature as ServedSignature
from repo_tool.config.model import ModelConfig, ModelTensor
from repo_tool.errors import BackendUnprovenError, RepositoryError, SampleError
from repo_tool.repository.layout import ModelRepository
from repo_tool.samples import Sample, read_published_sample
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.verification import Parity, Tolerance, verify
from repo_tool.workflows.call_model import translating_client_errors
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import in_wire_shapes
from repo_tool.workflows.show_model import ModelRecord, read_record

_NOT_RUN = "an altered model is not run on this machine: name a server with --server to compare its answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Which version to hold against which server; without ``server`` an embedded one is started for it."""

    model: str
    repository: Path
    server: str | None = None
    version: int | None = None  # None: the newest
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedModel:
    """What differs: files from those published, the served model from its configuration, answers from the framework's.

    Without ``parity`` no answer was asked for, and the complaints say why.
    """

    config: ModelConfig
    version: int
    parity: Parity | None
    tolerance: Tolerance
    file_complaints: tuple[str, ...]
    server_complaints: tuple[str, ...]
    server: str

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        complaints = self.file_complaints or self.server_complaints
        return self.parity is not None and self.parity.equal and not complaints

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.config.name,
            "version": self.version,
            "server": self.server,
            "equal": self.equal,
            "files": list(self.file_complaints),
            "served": list(self.server_complaints),
            "tolerance": asdict(self.tolerance),
            "parity": _without_infinities(self.parity.to_dict()) if self.parity else None,
        }


def verify_model(request: VerifyRequest, progress: Progress) -> VerifiedModel:
    """Check the files, send the published sample in batches, compare within the recorded tolerance.

    A version with files that are not those published is not run here: its answers are compared on a named server only.
    The models that a pipeline is made of have records of their own, to be verified each by itself.

    Raises:
        RepositoryError: no such model or version here, or the server does not serve it.
        SampleError: the published sample is missing or damaged.
        BackendUnprovenError: the embedded server was asked for and lacks the backend.
        ServerUnreachableError: no server answers.
        ServerStartError, LoadRefusedError: the embedded server did not come up, or refuses the model.
        TritonError: the server or the model failed.
    """
    record = read_record(request.repository, request.model, request.version)
    config, tolerance = record.directory.read_config(), record.tolerance()
    file_complaints = _check_files(record, progress)
    sample = _readable_sample(record, config, file_complaints)
    parity: Parity | None = None
    server_complaints: tuple[str, ...] = ()
    if sample is None:
        server_complaints = ("there are no rows to compare its answers with",)
    elif file_complaints and request.server is None:
        server_complaints = (_NOT_RUN,)
    else:
        with _server(request, record, progress) as url:
            parity, server_complaints = _ask(url, request, record, config, sample, progress)
    return VerifiedModel(
        config=config,
        version=record.version,
        parity=parity,
        tolerance=tolerance,
        file_complaints=file_complaints,
        server_complaints=server_complaints,
        server=request.server or "embedded",
    )


def _check_files(record: ModelRecord, progress: Progress) -> tuple[str, ...]:
    with progress.step("check the files") as step:
        complaints = record.file_complaints()
        recorded = len(record.facts.get("files") or {})
        step.detail = f"{recorded} as published" if recorded else "no digests were recorded with this version"
        if complaints:
            step.detail = f"{len(complaints)} differ"
    return complaints


def _readable_sample(record: ModelRecord, config: ModelConfig, file_complaints: tuple[str, ...]) -> Sample | None:
    """The published rows with an answer for each output; None where the files' complaints tell why there are none.

    Raises:
        SampleError: there are none, though the files are as published.
    """
    path = record.directory.sample_path(record.version)
    if record.pipeline and not path.is_file():
        raise SampleError(
            f"'{record.directory.name}' is a part of the pipeline '{record.pipeline}', and has no rows of its own",
            next_step=f"verify the whole: repo-tool verify {record.pipeline}",
        )
    try:
        sample = read_published_sample(path)
        _require_tensors(sample, config, path)
    except SampleError:
        if file_complaints:
            return None
        raise
    return sample


def _require_tensors(sample: Sample, config: ModelConfig, path: Path) -> None:
    inputs = {tensor.name for tensor in config.inputs}
    missing = [tensor.name for tensor in config.outputs if tensor.name not in sample.outputs]
    foreign = [name for name in sample.inputs if name not in inputs]
    if missing or foreign or not sample.inputs:
        words = [f"no answer for output '{name}'" for name in missing] + [f"an input '{name}'" for name in foreign]
        raise SampleError(
            f"the sample at '{path}' is not this model's",
            cause=f"it has {', '.join(words) or 'no input'}, by config.pbtxt",
            next_step="a newer version may have brought the config.pbtxt; verify that one, or add the model again",
        )


def _ask(
    url: str, request: VerifyRequest, record: ModelRecord, config: ModelConfig, sample: Sample, progress: Progress
) -> tuple[Parity | None, tuple[str, ...]]:
    with (
        progress.step(f"ask {url}") as step,
        translating_client_errors(request.model, request.repository),
        Client(url, timeout_s=request.timeout_s) as client,
    ):
        model = _served_model(client, request.model, record.version)
        complaints = _signature_complaints(model.signature, config)
        if complaints:
            step.detail = "another model"
            return None, complaints
        most_rows = min(config.max_batch_size, model.signature.max_batch_size)
        served = replace(config, max_batch_size=most_rows)
        parity = verify(in_wire_shapes(model), served, sample, tolerance=record.tolerance())
        step.detail = parity.summary
    return parity, ()


def _served_model(client: Client, name: str, version: int) -> repo_client.Model:
    """The served version.

    Raises:
        RepositoryError: it serves others only.
    """
    try:
        return client.model(name, version=version)
    except repo_client.ModelNotFoundError as error:
        versions = client.model(name).signature.versions  # raises again where it serves none at all
        raise RepositoryError(
            f"{client.url} does not serve version {version} of '{name}'",
            cause=f"it serves version {', '.join(versions) or 'none'}",
            next_step="pass one of those with --version, or let version_policy in config.pbtxt keep this one loaded",
        ) from error


def _signature_complaints(served: ServedSignature, config: ModelConfig) -> tuple[str, ...]:
    """What the served model takes and gives otherwise than the published one."""
    if bool(served.max_batch_size) != bool(config.max_batch_size):
        return (f"max_batch_size is {served.max_batch_size} there, {config.max_batch_size} was published",)
    complaints = []
    for kind, published, there in (
        ("input", config.inputs, served.inputs),
        ("output", config.outputs, served.outputs),
    ):
        wanted = {tensor.name: _wire_words(config, tensor) for tensor in published}
        found = {tensor.name: f"{tensor.datatype} {list(tensor.shape)}" for tensor in there}
        complaints += [
            f"{kind} '{name}' is {found.get(name, 'absent')} there, {wanted.get(name, 'none')} was published"
            for name in sorted(wanted.keys() | found.keys())
            if found.get(name) != wanted.get(name)
        ]
    return tuple(complaints)


def _wire_words(config: ModelConfig, tensor: ModelTensor) -> str:
    shape = [-1, *tensor.dims] if config.max_batch_size > 0 else list(tensor.dims)
    return f"{tensor.datatype.wire_name if tensor.datatype else '?'} {shape}"


def _without_infinities(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _without_infinities(element) for name, element in value.items()}
    if isinstance(value, list):
        return [_without_infinities(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _server(request: VerifyRequest, record: ModelRecord, progress: Progress) -> Iterator[str]:
    if request.server is not None:
        yield request.server
        return
    if record.unproven:
        raise BackendUnprovenError(
            f"'{request.model}' cannot be verified on the embedded Triton",
            cause=record.unproven,
            next_step=f"serve it where its backend is: repo-tool verify {request.model} --server URL",
        )
    options = ServerOptions(graceful_stop_s=0, environment={"PYTHONDONTWRITEBYTECODE": "1"})
    with tempfile.TemporaryDirectory(prefix="repo-tool-") as folder:
        _link_version(record, Path(folder))
        with EmbeddedServer(Path(folder), options) as server:
            with progress.step("start Triton") as step:
                server.load(request.model)
                step.detail = "embedded"
            yield f"grpc://{server.grpc_url}"


def _link_version(record: ModelRecord, folder: Path) -> None:
    """A repository with this version of the model alone, and whatever else there is, for ensembles."""
    own = record.directory.path.absolute()  # not resolved: a link to a model directory has the name that counts
    others = {str(version) for version in record.versions} - {str(record.version)}
    (folder / own.name).mkdir()
    for entry in own.iterdir():
        if entry.name not in others:
            (folder / own.name / entry.name).symlink_to(entry)
    for model in ModelRepository(own.parent).models():
        if model.name != own.name:
            (folder / model.name).symlink_to(model.path)
