# SPDX-License-Identifier: Apache-2.0
"""Large tensors through memory that client and server share, instead of the network."""

from repo_client._async.transport import AsyncInfer, AsyncTransport
from repo_client._options import SharedMemoryMode
from repo_client._urls import Url


class AsyncSharedRegions:
    """The shared-memory regions of one client."""

    def __init__(self, transport: AsyncTransport, url: Url, mode: SharedMemoryMode) -> None:
        self._transport, self._url, self._mode = transport, url, mode

    def around(self, infer: AsyncInfer) -> AsyncInfer:
        """``infer``, with large tensors put into shared memory where that works."""
        return infer

    async def close(self) -> None:
        """Give all regions back."""
