# SPDX-License-Identifier: Apache-2.0
"""What stands between a staged model and the repository: rules without an error, and a real Triton that loads it."""

__all__ = [
    "EarlyServer",
    "in_wire_shapes",
    "published_rows",
    "require_valid",
    "sample_bytes",
    "triton_inference",
    "with_wire_rank",
    "write_warmup",
]

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from repo_tool.config.model import ModelConfig
from repo_tool.datatypes import DataType
from repo_tool.errors import ConfigError
from repo_tool.releases import Release
from repo_tool.repository.layout import ModelDirectory, ModelRepository
from repo_tool.rules import Severity, validate
from repo_tool.samples import Array, Sample, Tensors
from repo_tool.triton import EmbeddedServer, ServerOptions

if TYPE_CHECKING:
    import repo_client

_PUBLISHED_ROWS = 64
_PUBLISHED_BYTES = 1 << 20
_NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}  # the folder that is served is the one that is published


class EarlyServer:
    """An embedded Triton that starts in the background at once, while the model is still being converted."""

    def __init__(self, repository: Path, release: Release, *, model_config_name: str = "") -> None:
        limits = ServerOptions(
            max_opset=release.max_onnx_opset,
            max_ir_version=release.max_onnx_ir,
            graceful_stop_s=0,
            model_config_name=model_config_name,
            environment=_NO_BYTECODE,
        )
        self._server = EmbeddedServer(repository, limits)
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="triton-start")
        self._started: Future[None] | None = None

    def __enter__(self) -> "EarlyServer":
        self._started = self._threads.submit(self._server.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True)
        self._server.stop()

    def load(self, model: str) -> None:
        """Load a model, as soon as the server is up.

        Raises:
            ServerStartError: it did not come up.
            LoadRefusedError: it does not load the model.
        """
        self._wait()
        self._server.load(model)

    @property
    def grpc_url(self) -> str:
        """Where it listens, as ``host:port``."""
        self._wait()
        return self._server.grpc_url

    def _wait(self) -> None:
        if self._started is None:
            raise RuntimeError("EarlyServer is a context manager: enter it first")
        self._started.result()


def require_valid(repository: ModelRepository, release: Release) -> str:
    """What the rules had to say short of an error, in words.

    Raises:
        ConfigError: a rule found an error; the message carries every one.
    """
    diagnostics = validate(repository, release=release)
    errors = [found for found in diagnostics if found.severity is Severity.ERROR]
    if errors:
        raise ConfigError(
            f"{errors[0].code} {errors[0].model}: {errors[0].message}",
            cause="; ".join(filter(None, (errors[0].cause, *(f"{e.code} {e.message}" for e in errors[1:])))),
            next_step=errors[0].fix or "nothing was published",
        )
    warnings = [f"{found.code} {found.message}" for found in diagnostics if found.severity is Severity.WARNING]
    if not warnings:
        return "no complaint"
    return f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}: {'; '.join(warnings)}"


@contextmanager
def triton_inference(
    grpc_url: str, model: str, *, version: int | None = None
) -> Iterator[Callable[[Tensors], Tensors]]:
    """A function that sends named arrays to one model of a Triton over gRPC; without a version to the newest.

    Raises:
        RepoToolError: what the client or the server refuses, in the block too.
    """
    from repo_client import Client
    from repo_tool.workflows.call_model import translating_client_errors

    with translating_client_errors(), Client(f"grpc://{grpc_url}") as client:
        yield in_wire_shapes(client.model(model, version=version))


def in_wire_shapes(model: "repo_client.Model") -> Callable[[Tensors], Tensors]:
    """A function that sends the model's own tensors, in the shapes that they have on the wire."""
    shapes = {tensor.name: tensor.shape for tensor in model.signature.inputs}

    def infer(inputs: Tensors) -> Tensors:
        return model.infer(
            {name: with_wire_rank(array, shapes.get(name, array.shape)) for name, array in inputs.items()}
        )

    return infer


def with_wire_rank(array: Array, shape: tuple[int, ...]) -> Array:
    """One value a row has a dimension of its own on the wire, which the framework may do without."""
    return array[..., np.newaxis] if array.ndim == len(shape) - 1 and shape[-1] == 1 else array


def published_rows(sample: Sample, config: ModelConfig) -> Sample:
    """As many rows as are worth keeping in a repository: 64, or what fits a megabyte, at least one."""
    if config.max_batch_size == 0:
        return sample
    affordable = max(1, int(_PUBLISHED_BYTES * sample.rows / max(sample_bytes(sample), 1)))
    return sample.take(range(min(sample.rows, _PUBLISHED_ROWS, affordable)))


def sample_bytes(sample: Sample) -> int:
    """The size of all its inputs and outputs."""
    return sum(_size(array) for array in (*sample.inputs.values(), *sample.outputs.values()))


def _size(array: Array) -> int:
    return sum(map(len, array.ravel().tolist())) if array.dtype == object else array.nbytes


def write_warmup(directory: ModelDirectory, config: ModelConfig, inputs: Tensors) -> None:
    """Write the first row of ``inputs`` where the configuration's warm-up looks for it, in Triton's raw form."""
    for warmup in config.model_warmup:
        directory.warmup_path.mkdir(exist_ok=True)
        for tensor in warmup.inputs:
            if tensor.file is None or tensor.datatype is None:
                continue  # zeros or random values: nothing to write
            row = inputs[tensor.name][:1] if config.max_batch_size > 0 else inputs[tensor.name]
            (directory.warmup_path / tensor.file).write_bytes(_raw(row, tensor.datatype))


def _raw(array: Array, datatype: DataType) -> bytes:
    """Little-endian elements; each of BYTES behind its length in four bytes; BF16 as the upper halves of float32."""
    if datatype is DataType.BYTES:
        values: Sequence[bytes] = array.ravel().tolist()
        return b"".join(len(value).to_bytes(4, "little") + value for value in values)
    if datatype is DataType.BF16:
        return array.astype("<f4").view("<u2").ravel()[1::2].tobytes()
    return array.tobytes()
