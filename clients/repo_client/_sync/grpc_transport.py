# SPDX-License-Identifier: Apache-2.0
# Generated from _async/grpc_transport.py by clients/generate_sync.py: change that file, then run it.
"""Triton's gRPC service, through the messages and stubs of ``tritonclient``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from repo_client._channels import open_channel
from repo_client._documents import Document
from repo_client._errors import Facts
from repo_client._grpc_messages import from_message, to_document, to_message, translated
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import TransportOptions
from repo_client._urls import Url

_NOTHING = Facts()


class GrpcTransport:
    """See ``Transport``; the channel is opened by the first call."""

    def __init__(self, url: Url, options: TransportOptions) -> None:
        self._url, self._options = url, options
        self._channel: Any = None
        self._stub: Any = None

    def _open(self) -> Any:
        if self._stub is None:  # a channel belongs to the running loop, which a constructor may not have yet
            self._channel = open_channel(self._url)
            self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        return self._stub

    def _call(self, method: str, message: Any, timeout_s: float, facts: Facts = _NOTHING) -> Any:
        try:
            return getattr(self._open(), method)(message, timeout=timeout_s)
        except grpc.RpcError as error:
            raise translated(error, self._url, facts) from error

    def is_live(self, *, timeout_s: float) -> bool:
        answer = self._call("ServerLive", service_pb2.ServerLiveRequest(), timeout_s)
        return bool(answer.live)

    def is_ready(self, *, timeout_s: float) -> bool:
        answer = self._call("ServerReady", service_pb2.ServerReadyRequest(), timeout_s)
        return bool(answer.ready)

    def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        message = service_pb2.ModelReadyRequest(name=name, version=version)
        answer = self._call("ModelReady", message, timeout_s, Facts(model=name, version=version))
        return bool(answer.ready)

    def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        message = service_pb2.ModelMetadataRequest(name=name, version=version)
        return to_document(self._call("ModelMetadata", message, timeout_s, Facts(model=name, version=version)))

    def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        message = service_pb2.ModelConfigRequest(name=name, version=version)
        answer = self._call("ModelConfig", message, timeout_s, Facts(model=name, version=version))
        return to_document(answer.config)

    def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        facts = Facts(model=request.model, version=request.version, request_id=request.request_id)
        return from_message(self._call("ModelInfer", to_message(request), timeout_s, facts))

    def stream(self, request: InferRequest, *, timeout_s: float) -> Iterator[InferResponse]:
        raise NotImplementedError

    def server_metadata(self, *, timeout_s: float) -> Document:
        return to_document(self._call("ServerMetadata", service_pb2.ServerMetadataRequest(), timeout_s))

    def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        message = service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=0, byte_size=byte_size)
        self._call("SystemSharedMemoryRegister", message, timeout_s)

    def unregister_region(self, name: str, *, timeout_s: float) -> None:
        message = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        self._call("SystemSharedMemoryUnregister", message, timeout_s)

    def regions(self, *, timeout_s: float) -> Sequence[Document]:
        message = service_pb2.SystemSharedMemoryStatusRequest()
        answer = self._call("SystemSharedMemoryStatus", message, timeout_s)
        return [to_document(region) for region in answer.regions.values()]

    def register_cuda_region(self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float) -> None:
        message = service_pb2.CudaSharedMemoryRegisterRequest(
            name=name, raw_handle=handle, device_id=device, byte_size=byte_size
        )
        self._call("CudaSharedMemoryRegister", message, timeout_s)

    def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        message = service_pb2.CudaSharedMemoryUnregisterRequest(name=name)
        self._call("CudaSharedMemoryUnregister", message, timeout_s)

    def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        message = service_pb2.RepositoryModelLoadRequest(model_name=name)
        self._call("RepositoryModelLoad", message, timeout_s, Facts(model=name))

    def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        message = service_pb2.RepositoryModelUnloadRequest(model_name=name)
        self._call("RepositoryModelUnload", message, timeout_s, Facts(model=name))

    def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        answer = self._call("RepositoryIndex", service_pb2.RepositoryIndexRequest(), timeout_s)
        return [to_document(entry) for entry in answer.models]

    def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        message = service_pb2.ModelStatisticsRequest(name=name, version=version)
        answer = self._call("ModelStatistics", message, timeout_s, Facts(model=name, version=version))
        return [to_document(model) for model in answer.model_stats]

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
