# SPDX-License-Identifier: Apache-2.0
# Generated from _async/shared_memory.py by clients/generate_sync.py: change that file, then run it.
"""Large tensors through memory that client and server share, instead of the network."""

from repo_client._options import SharedMemoryMode
from repo_client._sync.transport import Infer, Transport
from repo_client._urls import Url


class SharedRegions:
    """The shared-memory regions of one client."""

    def __init__(self, transport: Transport, url: Url, mode: SharedMemoryMode) -> None:
        self._transport, self._url, self._mode = transport, url, mode

    def around(self, infer: Infer) -> Infer:
        """``infer``, with large tensors put into shared memory where that works."""
        return infer

    def close(self) -> None:
        """Give all regions back."""
