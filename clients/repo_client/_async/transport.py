# SPDX-License-Identifier: Apache-2.0
"""The seam between the client and a protocol, and the choice of the protocol by the URL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from repo_client._documents import Document
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import TransportOptions
from repo_client._urls import Url


class AsyncTransport(Protocol):
    """One protocol to one server. All methods raise ``RepoClientError`` and nothing else, and end in ``timeout_s``.

    An empty ``version`` leaves the choice to the server. Documents have the JSON form of Triton's protocol messages.
    """

    async def is_live(self, *, timeout_s: float) -> bool:
        """Whether the server runs."""
        ...

    async def is_ready(self, *, timeout_s: float) -> bool:
        """Whether the server answers inference requests."""
        ...

    async def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        """Whether the model answers inference requests."""
        ...

    async def server_metadata(self, *, timeout_s: float) -> Document:
        """A ``ServerMetadataResponse``: name, version, extensions."""
        ...

    async def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        """A ``ModelMetadataResponse``."""
        ...

    async def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        """A ``ModelConfig``."""
        ...

    async def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        """Run the model once."""
        ...

    def stream(self, request: InferRequest, *, timeout_s: float) -> AsyncIterator[InferResponse]:
        """Run a decoupled model once: an async generator of its answers, ended by the model.

        Closing the generator cancels what still runs. ``timeout_s`` is the deadline of all answers together.

        Raises:
            UnsupportedCallError: the protocol has no streams.
        """
        ...

    async def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        """Load the model, or load it again; with ``config`` (JSON) instead of its own, and ``files`` beside it."""
        ...

    async def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        """Unload the model, and the models that only it uses."""
        ...

    async def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        """The ``ModelIndex`` of each version of each model."""
        ...

    async def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        """The ``ModelStatistics`` of each version asked for; of every model for an empty name."""
        ...

    async def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        """Make the server open ``byte_size`` bytes of the POSIX shared memory ``key`` as region ``name``."""
        ...

    async def unregister_region(self, name: str, *, timeout_s: float) -> None:
        """Make the server close a system shared-memory region; one that it does not know is no error."""
        ...

    async def regions(self, *, timeout_s: float) -> Sequence[Document]:
        """The system shared-memory regions that the server has open: name, key, byte_size."""
        ...

    async def register_cuda_region(
        self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float
    ) -> None:
        """Make the server open a CUDA region by its IPC ``handle``."""
        ...

    async def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        """Make the server close a CUDA region."""
        ...

    async def close(self) -> None:
        """Close all connections; more than once is fine."""
        ...


class AsyncInfer(Protocol):
    """A link of the chain that a call goes through: tracing, retries, shared memory, the transport itself."""

    async def __call__(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        """Run the model once."""
        ...


def open_transport(url: Url, options: TransportOptions) -> AsyncTransport:
    """The transport for ``url``; only now is the library of its protocol imported.

    Raises:
        UrlError: the options ask for more safety than the address has.
    """
    options.check(url)
    if url.is_grpc:
        from repo_client._async.grpc_transport import AsyncGrpcTransport

        return AsyncGrpcTransport(url, options)
    from repo_client._async.http_transport import AsyncHttpTransport

    return AsyncHttpTransport(url, options)
