# SPDX-License-Identifier: Apache-2.0
"""A transport without a network: it serves one signature, keeps what it is asked, and echoes tensors or fails."""

from collections.abc import Sequence
from typing import Any

from repo_client import InferRequest, InferResponse, RepoClientError


class RecordingTransport:
    """The ``Transport`` of a server with one model; each output echoes the input at its place."""

    def __init__(
        self,
        inputs: Sequence[tuple[str, str, list[int]]],
        *,
        max_batch_size: int = 0,
        optional: Sequence[str] = (),
        failure: RepoClientError | None = None,
        not_ready_for: int = 0,
    ) -> None:
        self.requests: list[InferRequest] = []
        self.timeouts_s: list[float] = []
        self.metadata_reads = 0
        self.closed = 0
        self._inputs, self._max_batch_size, self._optional = inputs, max_batch_size, optional
        self._failure, self._not_ready_for = failure, not_ready_for

    def is_live(self, *, timeout_s: float) -> bool:
        self._note(timeout_s)
        return True

    def is_ready(self, *, timeout_s: float) -> bool:
        self._note(timeout_s)
        self._not_ready_for -= 1
        return self._not_ready_for < 0

    def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        self._note(timeout_s)
        return name == "digits"

    def metadata(self, name: str, version: str, *, timeout_s: float) -> dict[str, Any]:
        self._note(timeout_s)
        self.metadata_reads += 1
        tensors = [{"name": tensor, "datatype": datatype, "shape": shape} for tensor, datatype, shape in self._inputs]
        outputs = [tensor | {"name": f"{tensor['name']}_out"} for tensor in tensors]
        return {"name": name, "versions": ["1"], "platform": "python", "inputs": tensors, "outputs": outputs}

    def config(self, name: str, version: str, *, timeout_s: float) -> dict[str, Any]:
        inputs = [{"name": tensor, "optional": tensor in self._optional} for tensor, _, _ in self._inputs]
        return {"name": name, "max_batch_size": self._max_batch_size, "input": inputs}

    def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        self._note(timeout_s)
        self.requests.append(request)
        return InferResponse(
            model=request.model, version="1", request_id=request.request_id, outputs=tuple(request.inputs)
        )

    def stream(self, request: InferRequest, *, timeout_s: float) -> Any:
        yield self.infer(request, timeout_s=timeout_s)

    def load(self, name: str, *, config: str | None, files: Any, timeout_s: float) -> None:
        self._note(timeout_s)

    def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        self._note(timeout_s)

    def repository_index(self, *, timeout_s: float) -> list[dict[str, Any]]:
        self._note(timeout_s)
        return [{"name": "digits", "version": "1", "state": "READY"}, {"name": "never_loaded"}]

    def statistics(self, name: str, version: str, *, timeout_s: float) -> list[dict[str, Any]]:
        self._note(timeout_s)
        # As gRPC gives it: 64-bit integers are strings, and zeros are left out.
        times = {"success": {"count": "2", "ns": "3000"}}
        return [{"name": name, "version": "1", "inference_count": "5", "inference_stats": times}]

    def close(self) -> None:
        self.closed += 1

    def _note(self, timeout_s: float) -> None:
        self.timeouts_s.append(timeout_s)
        if self._failure is not None:
            raise self._failure
