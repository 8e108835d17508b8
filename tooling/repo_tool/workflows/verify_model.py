# SPDX-License-Identifier: Apache-2.0
"""A published version against a running server: the files as published, and the answers as its framework gave them."""

__all__ = ["VerifiedModel", "VerifyRequest", "verify_model"]

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repo_client import Client
from repo_tool.config.model import ModelConfig
from repo_tool.samples import read_published_sample
from repo_tool.triton import EmbeddedServer, ServerOptions
from repo_tool.verification import Parity, Tolerance, verify
from repo_tool.workflows.call_model import translating_client_errors
from repo_tool.workflows.progress import Progress
from repo_tool.workflows.proof import in_wire_shapes
from repo_tool.workflows.show_model import read_record


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
    """What differs: files from those published, answers from the framework's."""

    config: ModelConfig
    version: int
    parity: Parity
    tolerance: Tolerance
    file_complaints: tuple[str, ...]
    server: str

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.parity.equal and not self.file_complaints

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for ``--json``."""
        return {
            "name": self.config.name,
            "version": self.version,
            "server": self.server,
            "equal": self.equal,
            "files": list(self.file_complaints),
            "tolerance": asdict(self.tolerance),
            "parity": self.parity.to_dict(),
        }


def verify_model(request: VerifyRequest, progress: Progress) -> VerifiedModel:
    """Check the files, send the published sample in batches, compare within the recorded tolerance.

    Raises:
        RepositoryError: no such model or version here, or the server does not serve it.
        SampleError: the published sample is missing or damaged.
        ServerUnreachableError: no server answers.
        ServerStartError, LoadRefusedError: the embedded server did not come up, or refuses the model.
        TritonError: the server or the model failed.
    """
    record = read_record(request.repository, request.model, request.version)
    config = record.directory.read_config()
    tolerance = Tolerance(**record.facts.get("tolerance", {}))
    with progress.step("check the files") as step:
        complaints = record.file_complaints()
        recorded = len(record.facts.get("files") or {})
        step.detail = f"{recorded} as published" if recorded else "no digests were recorded with this version"
        if complaints:
            step.detail = f"{len(complaints)} differ"
    sample = read_published_sample(record.directory.sample_path(record.version))
    with _server(request, progress) as url, progress.step(f"ask {url}") as step, translating_client_errors():
        with Client(url, timeout_s=request.timeout_s) as client:
            model = client.model(request.model, version=record.version)
            parity = verify(in_wire_shapes(model), config, sample, tolerance=tolerance)
        step.detail = parity.summary
    return VerifiedModel(
        config=config,
        version=record.version,
        parity=parity,
        tolerance=tolerance,
        file_complaints=complaints,
        server=request.server or "embedded",
    )


@contextmanager
def _server(request: VerifyRequest, progress: Progress) -> Iterator[str]:
    if request.server is not None:
        yield request.server
        return
    with EmbeddedServer(request.repository, ServerOptions(graceful_stop_s=0)) as server:
        with progress.step("start Triton") as step:
            server.load(request.model)
            step.detail = "embedded"
        yield f"grpc://{server.grpc_url}"
