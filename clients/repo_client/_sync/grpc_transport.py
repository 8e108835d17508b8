# SPDX-License-Identifier: Apache-2.0
# Generated from _async/grpc_transport.py by clients/generate_sync.py: change that file, then run it.
"""Triton's gRPC service, through the messages and stubs of ``tritonclient``."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from repo_client._channels import channel_credentials, is_plain, open_channel
from repo_client._documents import Document
from repo_client._errors import Facts
from repo_client._grpc_call import Call, encode_timeout
from repo_client._grpc_messages import (
    SOCKET_FAILURES,
    checked_metadata,
    facts_of,
    from_stream,
    from_wire,
    lost,
    to_document,
    to_message,
    to_wire,
    translated,
)
from repo_client._http2 import encode_headers
from repo_client._messages import InferRequest, InferResponse
from repo_client._network import client_closed
from repo_client._options import TransportOptions
from repo_client._thread_grpc import FAILURES, LIBRARY, UnaryCalls, home
from repo_client._timeouts import LONGEST_S, time_left
from repo_client._urls import Url

_NOTHING = Facts()
# A server that ends its connection, or counts a call that it has just answered, refuses without harm.
_PAUSES_S = (0.0, 0.001, 0.004, 0.016, 0.064)
_MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
_PSEUDO = {":method": "POST", ":scheme": "http", ":path": _MODEL_INFER}  # in front of all others
_FIXED = {"te": "trailers", "content-type": "application/grpc", "user-agent": "repo-client"}


class GrpcTransport:
    """See ``Transport``; the channel is opened by the first call.

    A call that is given up, by its deadline or by its caller, is taken back from the server. Triton 2.51 can crash
    where that meets the answer, whatever client does it: with deadlines that hardly suffice it was seen within some
    hundred calls that were late. Over HTTP, where nothing is taken back, it was not.

    Raises:
        InputError: a file of ``options.tls`` cannot be read.
    """

    def __init__(self, url: Url, options: TransportOptions) -> None:
        self._url, self._options = url, options
        self._credentials = channel_credentials(url, options.tls)
        self._direct = _direct_calls(url, options)
        self._pseudo_headers = encode_headers({**_PSEUDO, ":authority": url.address, **_FIXED})
        self._first_headers = self._pseudo_headers + encode_headers(checked_metadata(options.headers))
        self._opening = Lock()
        self._home: Any = None
        self._channel: Any = None
        self._stub: Any = None
        self._closed = False

    def _open(self) -> Any:
        if self._stub is None or self._home is not home():
            with self._opening:
                self._open_once()
        return self._stub

    def _open_once(self) -> None:
        if self._closed:
            raise client_closed(self._url)
        if self._stub is None or self._home is not home():
            self._home = home()
            self._channel = open_channel(LIBRARY, self._url, self._options, self._credentials)
            stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            stub.ModelInfer = self._channel.unary_unary(_MODEL_INFER)  # from bytes to bytes
            self._stub = stub

    def _call(self, method: str, message: Any, timeout_s: float, facts: Facts = _NOTHING) -> Any:
        metadata, timeout_s = self._metadata(), min(timeout_s, LONGEST_S)
        with self._failures_told(facts):
            return getattr(self._open(), method)(message, timeout=timeout_s, metadata=metadata)

    def _metadata(self, headers: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
        return tuple(checked_metadata(self._options.call_headers(headers)).items())

    @contextmanager
    def _failures_told(self, facts: Facts) -> Iterator[None]:
        """What fails within raises the error of ours that it means, and a cancellation by the caller itself."""
        try:
            yield
        except FAILURES as error:
            if self._closed:
                raise client_closed(self._url) from error
            if isinstance(error, grpc.RpcError):
                raise translated(error, self._url, facts) from error
            raise

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
        if self._direct is None:
            answer = self._infer_by_stub(request, timeout_s)
        else:
            answer = self._infer_directly(self._direct, request, timeout_s)
        return from_wire(answer, request.output_slices)

    def _infer_by_stub(self, request: InferRequest, timeout_s: float) -> Any:
        message, metadata = b"".join(to_wire(request)), self._metadata(request.headers)
        with self._failures_told(facts_of(request)):
            return self._open().ModelInfer(message, timeout=min(timeout_s, LONGEST_S), metadata=metadata)

    def _infer_directly(self, calls: UnaryCalls, request: InferRequest, timeout_s: float) -> Any:
        limit_s = min(timeout_s, LONGEST_S)
        headers, call = self._header_block(request.headers, limit_s), Call(to_wire(request))
        deadline = monotonic() + limit_s
        try:
            calls.run(headers, call, deadline=deadline)
            for pause_s in _PAUSES_S:
                if not call.is_unprocessed:
                    break
                time.sleep(min(pause_s, time_left(deadline)))
                call.restart()
                calls.run(headers, call, deadline=deadline)
            return call.answer()
        except SOCKET_FAILURES as error:
            if self._closed:
                raise client_closed(self._url) from error
            raise lost(error, self._url, facts_of(request)) from error

    def _header_block(self, headers: Mapping[str, str], timeout_s: float) -> bytes:
        if self._closed:
            raise client_closed(self._url)
        own = self._options.call_headers(headers)
        if own is self._options.headers:
            return self._first_headers + encode_timeout(timeout_s)
        return self._pseudo_headers + encode_headers(checked_metadata(own)) + encode_timeout(timeout_s)

    def stream(self, request: InferRequest, *, timeout_s: float) -> Iterator[InferResponse]:
        message, metadata = to_message(request), self._metadata(request.headers)
        call = None
        try:
            with self._failures_told(facts_of(request)):
                # The one request ends our side of the stream, and the model's last answer to it ends the server's.
                call = self._open().ModelStreamInfer(
                    iter((message,)), timeout=min(timeout_s, LONGEST_S), metadata=metadata
                )
                for answer in call:
                    yield from_stream(answer, facts_of(request))
        finally:
            if call is not None:
                call.cancel()

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
        if config is not None:
            message.parameters["config"].string_param = config
        for path, content in files.items():
            message.parameters[f"file:{path}"].bytes_param = content
        self._call("RepositoryModelLoad", message, timeout_s, Facts(model=name))

    def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        message = service_pb2.RepositoryModelUnloadRequest(model_name=name)
        message.parameters["unload_dependents"].bool_param = dependents
        self._call("RepositoryModelUnload", message, timeout_s, Facts(model=name))

    def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        answer = self._call("RepositoryIndex", service_pb2.RepositoryIndexRequest(), timeout_s)
        return [to_document(entry) for entry in answer.models]

    def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        message = service_pb2.ModelStatisticsRequest(name=name, version=version)
        answer = self._call("ModelStatistics", message, timeout_s, Facts(model=name, version=version))
        return [to_document(model) for model in answer.model_stats]

    def close(self) -> None:
        with self._opening:
            self._closed = True
        if self._direct is not None:
            self._direct.close()
        if self._channel is not None and self._home is home():  # one of an event loop that ended has ended with it
            self._channel.close()


def _direct_calls(url: Url, options: TransportOptions) -> UnaryCalls | None:
    """Connections of our own, where a bare socket does; they take half the time of gRPC's library."""
    return UnaryCalls(url.host, url.port, kept=options.connection.connections) if is_plain(url, options) else None
