# SPDX-License-Identifier: Apache-2.0
"""The seam between the client and a protocol, and the choice of the protocol by the URL."""

from collections.abc import Sequence
from typing import Protocol

from repo_client._documents import Document
from repo_client._messages import InferRequest, InferResponse
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

    async def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        """A ``ModelMetadataResponse``."""
        ...

    async def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        """A ``ModelConfig``."""
        ...

    async def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        """Run the model once."""
        ...

    async def load(self, name: str, *, timeout_s: float) -> None:
        """Load the model, or load it again."""
        ...

    async def unload(self, name: str, *, timeout_s: float) -> None:
        """Unload the model."""
        ...

    async def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        """The ``ModelIndex`` of each version of each model."""
        ...

    async def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        """The ``ModelStatistics`` of each version asked for."""
        ...

    async def close(self) -> None:
        """Close all connections; more than once is fine."""
        ...


def open_transport(url: Url) -> AsyncTransport:
    """The transport for ``url``; only now is the library of its protocol imported."""
    if url.is_grpc:
        from repo_client._async.grpc_transport import AsyncGrpcTransport

        return AsyncGrpcTransport(url)
    from repo_client._async.http_transport import AsyncHttpTransport

    return AsyncHttpTransport(url)
