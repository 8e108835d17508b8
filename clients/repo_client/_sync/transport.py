# SPDX-License-Identifier: Apache-2.0
# Generated from _async/transport.py by clients/generate_sync.py: change that file, then run it.
"""The seam between the client and a protocol, and the choice of the protocol by the URL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from repo_client._documents import Document
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import TransportOptions
from repo_client._urls import Url


class Transport(Protocol):
    """One protocol to one server. All methods raise ``RepoClientError`` and nothing else, and end in ``timeout_s``.

    An empty ``version`` leaves the choice to the server. Documents have the JSON form of Triton's protocol messages.
    """

    def is_live(self, *, timeout_s: float) -> bool:
        """Whether the server runs."""
        ...

    def is_ready(self, *, timeout_s: float) -> bool:
        """Whether the server answers inference requests."""
        ...

    def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        """Whether the model answers inference requests."""
        ...

    def server_metadata(self, *, timeout_s: float) -> Document:
        """A ``ServerMetadataResponse``: name, version, extensions."""
        ...

    def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        """A ``ModelMetadataResponse``."""
        ...

    def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        """A ``ModelConfig``."""
        ...

    def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        """Run the model once."""
        ...

    def stream(self, request: InferRequest, *, timeout_s: float) -> Iterator[InferResponse]:
        """Run a decoupled model once: an async generator of its answers, ended by the model.

        Closing the generator cancels what still runs. ``timeout_s`` is the deadline of all answers together.

        Raises:
            UnsupportedCallError: the protocol has no streams.
        """
        ...

    def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        """Load the model, or load it again; with ``config`` (JSON) instead of its own, and ``files`` beside it."""
        ...

    def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        """Unload the model, and the models that only it uses."""
        ...

    def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        """The ``ModelIndex`` of each version of each model."""
        ...

    def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        """The ``ModelStatistics`` of each version asked for; of every model for an empty name."""
        ...

    def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        """Make the server open ``byte_size`` bytes of the POSIX shared memory ``key`` as region ``name``."""
        ...

    def unregister_region(self, name: str, *, timeout_s: float) -> None:
        """Make the server close a system shared-memory region; one that it does not know is no error."""
        ...

    def regions(self, *, timeout_s: float) -> Sequence[Document]:
        """The system shared-memory regions that the server has open: name, key, byte_size."""
        ...

    def register_cuda_region(self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float) -> None:
        """Make the server open a CUDA region by its IPC ``handle``."""
        ...

    def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        """Make the server close a CUDA region."""
        ...

    def close(self) -> None:
        """Close all connections; more than once is fine."""
        ...


class Infer(Protocol):
    """A link of the chain that a call goes through: tracing, retries, shared memory, the transport itself."""

    def __call__(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        """Run the model once."""
        ...


def open_transport(url: Url, options: TransportOptions) -> Transport:
    """The transport for ``url``; only now is the library of its protocol imported.

    Raises:
        UrlError: the options ask for more safety than the address has.
    """
    options.check(url)
    if url.is_grpc:
        from repo_client._sync.grpc_transport import GrpcTransport

        return GrpcTransport(url, options)
    from repo_client._sync.http_transport import HttpTransport

    return HttpTransport(url, options)
