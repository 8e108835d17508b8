# SPDX-License-Identifier: Apache-2.0
"""What a running Triton says of itself: its version, a model's tensors, and the work that it has counted."""

__all__ = ["ModelWork", "ServedModel", "ServerAddress", "Triton", "WireProtocol"]

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import HTTPException
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from repo_tool.columns import read_columns
from repo_tool.datatypes import DataType
from repo_tool.errors import RepositoryError, ServerUnreachableError, TritonError, UserMistakeError
from repo_tool.signature import TensorSpec

_TIMEOUT_S = 10.0


class WireProtocol(StrEnum):
    """How requests travel."""

    GRPC = "grpc"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a Triton listens, e.g. ``grpc://127.0.0.1:8001``."""

    protocol: WireProtocol
    location: str  # host:port

    @classmethod
    def parse(cls, url: str) -> "ServerAddress":
        """The address that ``url`` spells.

        Raises:
            UserMistakeError: it is not ``grpc://HOST:PORT`` or ``http://HOST:PORT``.
        """
        parts = urlsplit(url)
        try:
            complete = bool(parts.hostname and parts.port) and parts.path in ("", "/")
            return cls(protocol=WireProtocol(parts.scheme), location=_whole(parts.netloc, complete=complete))
        except ValueError as error:
            raise UserMistakeError(
                f"'{url}' is no address of a Triton server",
                cause="it takes a protocol, a host and a port",
                next_step="write grpc://HOST:PORT or http://HOST:PORT, e.g. grpc://127.0.0.1:8001",
            ) from error

    @property
    def is_loopback(self) -> bool:
        """Whether the server runs on this very machine."""
        host = urlsplit(f"//{self.location}").hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    def __str__(self) -> str:
        return f"{self.protocol}://{self.location}"


def _whole(netloc: str, *, complete: bool) -> str:
    if not complete:
        raise ValueError(netloc)
    return netloc


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model as the server describes it."""

    name: str
    version: str
    backend: str  # or "ensemble"
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]  # whole shapes, the batch dimension included
    outputs: tuple[TensorSpec, ...]
    steps: tuple[str, ...] = ()  # the models that an ensemble runs
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # their names, by input


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWork:
    """What one model did during a measurement, counted by Triton itself; the warm-up is in it. Times per request."""

    model: str
    rows: int
    executions: int
    queue_us: float
    compute_input_us: float
    compute_infer_us: float
    compute_output_us: float

    @property
    def average_batch(self) -> float:
        """Rows per execution: how well the dynamic batcher fills batches; 0 where nothing ran."""
        return self.rows / self.executions if self.executions else 0.0


_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counters:
    """Totals since the server loaded the model."""

    rows: int = 0
    executions: int = 0
    requests: int = 0
    nanoseconds: Mapping[str, int]

    def since(self, earlier: "_Counters", model: str) -> ModelWork:
        requests = max(self.requests - earlier.requests, 1)
        times = {
            f"{phase}_us": round((self.nanoseconds[phase] - earlier.nanoseconds[phase]) / requests / 1000, 1)
            for phase in _PHASES
        }
        executions = self.executions - earlier.executions
        return ModelWork(model=model, rows=self.rows - earlier.rows, executions=executions, **times)


class Triton:
    """A connection to ask a server questions with, over the protocol that is measured; a ``with`` block closes it."""

    def __init__(self, address: ServerAddress) -> None:
        library = importlib.import_module(f"tritonclient.{address.protocol}")
        grpc = address.protocol is WireProtocol.GRPC
        timeouts = {} if grpc else {"connection_timeout": _TIMEOUT_S, "network_timeout": _TIMEOUT_S}
        self._client: Any = library.InferenceServerClient(address.location, **timeouts)
        self._options: dict[str, Any] = {"as_json": True, "client_timeout": _TIMEOUT_S} if grpc else {}
        self._address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def version(self) -> str:
        """The server's version, e.g. ``2.51.0``.

        Raises:
            ServerUnreachableError: nothing answers there.
        """
        try:
            return str(self._ask("get_server_metadata")["version"])
        except _failures() as error:
            raise ServerUnreachableError(
                f"no Triton answers at {self._address}",
                cause=_one_line(error),
                next_step="start one in another terminal with 'repo-tool serve', or add --serve to this command",
            ) from error

    def model(self, name: str, version: str = "") -> ServedModel:
        """The model called ``name``, in the highest version that is served where none is asked for.

        Raises:
            RepositoryError: it is not served.
        """
        try:
            metadata = self._ask("get_model_metadata", name, version)
            answer = self._ask("get_model_config", name, version)
        except _failures() as error:
            raise RepositoryError(
                f"the server at {self._address} does not serve '{name}'" + (f" version {version}" if version else ""),
                cause=f"{_one_line(error)}; it serves {', '.join(self._served()) or 'nothing'}",
                next_step="choose one of those, or load the model",
            ) from error
        config = answer.get("config", answer)  # gRPC wraps it
        versions = metadata.get("versions", ["1"])
        return ServedModel(
            name=name,
            version=version or max(versions, key=int),
            backend=config.get("backend") or config.get("platform", ""),
            max_batch_size=int(config.get("max_batch_size", 0)),
            inputs=_tensors(metadata.get("inputs", [])),
            outputs=_tensors(metadata.get("outputs", [])),
            columns=read_columns(
                {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
            ),
            steps=tuple(step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", [])),
        )

    def _served(self) -> list[str]:
        with self._staying():
            index = self._ask("get_model_repository_index")
        models = index.get("models", []) if isinstance(index, dict) else index
        return sorted({f"'{model['name']}'" for model in models if model.get("state") == "READY"})

    @contextmanager
    def counting(self, model: ServedModel) -> Iterator[list[ModelWork]]:
        """Fill the list, as the block ends, with what ``model`` and the steps of an ensemble did during it."""
        names = tuple(dict.fromkeys((model.name, *model.steps)))
        before = {name: self._counters(name) for name in names}
        work: list[ModelWork] = []
        yield work
        work += [self._counters(name).since(before[name], name) for name in names]

    def _counters(self, name: str) -> _Counters:
        with self._staying():
            entries = self._ask("get_inference_statistics", name)["model_stats"]
        statistics = [entry.get("inference_stats", {}) for entry in entries]
        return _Counters(
            rows=sum(int(entry.get("inference_count", 0)) for entry in entries),
            executions=sum(int(entry.get("execution_count", 0)) for entry in entries),
            requests=sum(_number(one, "success", "count") for one in statistics),
            nanoseconds={phase: sum(_number(one, phase, "ns") for one in statistics) for phase in _PHASES},
        )

    @contextmanager
    def _staying(self) -> Iterator[None]:
        """Questions that a server answers as long as it is there."""
        try:
            yield
        except _failures() as error:
            raise TritonError(
                f"the server at {self._address} stopped answering",
                cause=_one_line(error),
                next_step="look at the server's log",
            ) from error

    def _ask(self, question: str, *arguments: str) -> Any:
        return getattr(self._client, question)(*arguments, **self._options)


def _failures() -> tuple[type[Exception], ...]:
    """What tritonclient lets through: its own exception, the socket's, and the parsers' of a foreign answer."""
    from tritonclient.utils import InferenceServerException

    return (InferenceServerException, HTTPException, OSError, ValueError, KeyError)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _tensors(metadata: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=tensor["name"],
            datatype=DataType.from_wire(tensor["datatype"]),
            shape=tuple(int(size) for size in tensor.get("shape", [])),
        )
        for tensor in metadata
    )


def _number(statistics: Mapping[str, Any], group: str, key: str) -> int:
    # gRPC's JSON leaves zeros out and writes 64-bit integers as strings.
    return int(statistics.get(group, {}).get(key, 0))
