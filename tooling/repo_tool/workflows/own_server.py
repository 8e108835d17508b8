# SPDX-License-Identifier: Apache-2.0
"""The embedded server as one that models are rolled out to: its client, its stubs, its log."""

__all__ = ["FIRST_WORDS", "OwnServer", "with_grpc_names"]

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from repo_client import Client, Retries
from repo_tool.triton import EmbeddedServer
from repo_tool.triton.refusals import poll_failure
from repo_tool.triton.stub_processes import stubs_of

_GRPC_KEY_PREFIX = "triton-grpc-protocol-"  # what Triton's gRPC endpoint wants before a key's name
_LINES_OF_A_FAILURE = 4
# What a server says first is why: one that a version has ended and that was started anew says less when asked again.
FIRST_WORDS = Retries(attempts=1, patience_s=0.0)


def with_grpc_names(keys: Mapping[str, str]) -> dict[str, str]:
    """Keys of restricted interfaces as both of Triton's endpoints want them."""
    return {**keys, **{f"{_GRPC_KEY_PREFIX}{name}": value for name, value in keys.items()}}


@dataclass(frozen=True, slots=True)
class OwnServer:
    """What a ``Watcher`` asks of an embedded server that runs on this machine."""

    server: EmbeddedServer

    def connect(self) -> Client:
        """A client that may load models, over gRPC: a load over HTTP holds up the requests of one of its threads."""
        headers = with_grpc_names(self.server.control_headers)
        return Client(f"grpc://{self.server.grpc_url}", headers=headers, shared_memory="off", retries=FIRST_WORDS)

    def abandon(self, model: str, version: int) -> None:
        """End the stubs of a version that does not come to an end with loading, whereupon Triton gives it up."""
        for stub in stubs_of(self.server.pid):
            if (stub.model, stub.version) == (model, str(version)):
                with suppress(ProcessLookupError):
                    os.kill(stub.pid, signal.SIGKILL)

    def trials(self) -> Path:
        """The repository of the server in which a model can be tried under another name."""
        return self.server.room

    def explain(self, model: str) -> str:
        """Why Triton "failed to poll" a model the last time, from its log."""
        lines = self.server.log.last()
        told = [at for at, line in enumerate(lines) if line.is_error and f"'{model}'" in line.message]
        last = told[-1] if told else 0
        return poll_failure(lines[max(0, last - _LINES_OF_A_FAILURE) : last + 1], model) or "its log does not say why"
