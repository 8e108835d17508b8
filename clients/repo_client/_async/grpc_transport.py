# SPDX-License-Identifier: Apache-2.0
"""Triton's gRPC service, through the messages and stubs of ``tritonclient``."""

from collections.abc import AsyncIterator, Mapping, Sequence
from threading import Lock
from time import monotonic
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from repo_client._channels import DIRECT_FAILURES, FAILURES, channel_credentials, is_plain, open_async_channel
from repo_client._documents import Document
from repo_client._errors import ClosedClientError, Facts
from repo_client._grpc_messages import (
    facts_of,
    from_stream,
    from_wire,
    lost,
    to_document,
    to_message,
    to_wire,
    translated,
)
from repo_client._http2 import Call, encode_headers, encode_timeout
from repo_client._messages import InferRequest, InferResponse
from repo_client._options import TransportOptions
from repo_client._task_grpc import UnaryCalls
from repo_client._urls import Url

_NOTHING = Facts()
_LONGEST_S = 1e6  # eleven days: operating systems count the milliseconds of a wait in 32 bits
_AGAIN = 5  # a server that ends its connection, or counts a call that it has just answered, refuses without harm
_MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
_PSEUDO = {":method": "POST", ":scheme": "http", ":path": _MODEL_INFER}  # in front of all others
_FIXED = {"te": "trailers", "content-type": "application/grpc", "user-agent": "repo-client"}


class AsyncGrpcTransport:
    """See ``AsyncTransport``; the channel is opened by the first call.

    Raises:
        InputError: a file of ``options.tls`` cannot be read.
    """

    def __init__(self, url: Url, options: TransportOptions) -> None:
        self._url, self._options = url, options
        self._credentials = channel_credentials(url, options.tls)
        self._direct = _direct_calls(url, options)
        self._pseudo_headers = encode_headers({**_PSEUDO, ":authority": url.address, **_FIXED})
        self._first_headers = self._pseudo_headers + encode_headers(options.headers)
        self._opening = Lock()
        self._channel: Any = None
        self._stub: Any = None
        self._closed = False

    def _open(self) -> Any:
        if self._stub is None:  # a channel belongs to the running loop, which a constructor may not have yet
            with self._opening:
                self._open_once()
        return self._stub

    def _open_once(self) -> None:
        if self._closed:
            raise self._was_closed()
        if self._stub is None:
            self._channel = open_async_channel(self._url, self._options, self._credentials)
            stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
            stub.ModelInfer = self._channel.unary_unary(_MODEL_INFER)  # from bytes to bytes
            self._stub = stub

    async def _call(self, method: str, message: Any, timeout_s: float, facts: Facts = _NOTHING) -> Any:
        try:
            return await getattr(self._open(), method)(
                message, timeout=min(timeout_s, _LONGEST_S), metadata=self._metadata()
            )
        except FAILURES as error:
            self._raise_translated(error, facts)
            raise

    def _metadata(self, headers: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
        return tuple(self._options.call_headers(headers).items())

    def _raise_translated(self, error: BaseException, facts: Facts) -> None:
        """Raise the error of ours that ``error`` means, if it means one and is no cancellation by the caller."""
        if self._closed:
            raise self._was_closed() from error
        if isinstance(error, grpc.RpcError):
            raise translated(error, self._url, facts) from error

    def _was_closed(self) -> ClosedClientError:
        return ClosedClientError(f"the client of {self._url} is closed", hint="open a new one")

    async def is_live(self, *, timeout_s: float) -> bool:
        answer = await self._call("ServerLive", service_pb2.ServerLiveRequest(), timeout_s)
        return bool(answer.live)

    async def is_ready(self, *, timeout_s: float) -> bool:
        answer = await self._call("ServerReady", service_pb2.ServerReadyRequest(), timeout_s)
        return bool(answer.ready)

    async def is_model_ready(self, name: str, version: str, *, timeout_s: float) -> bool:
        message = service_pb2.ModelReadyRequest(name=name, version=version)
        answer = await self._call("ModelReady", message, timeout_s, Facts(model=name, version=version))
        return bool(answer.ready)

    async def metadata(self, name: str, version: str, *, timeout_s: float) -> Document:
        message = service_pb2.ModelMetadataRequest(name=name, version=version)
        return to_document(await self._call("ModelMetadata", message, timeout_s, Facts(model=name, version=version)))

    async def config(self, name: str, version: str, *, timeout_s: float) -> Document:
        message = service_pb2.ModelConfigRequest(name=name, version=version)
        answer = await self._call("ModelConfig", message, timeout_s, Facts(model=name, version=version))
        return to_document(answer.config)

    async def infer(self, request: InferRequest, *, timeout_s: float) -> InferResponse:
        if self._direct is None:
            answer = await self._infer_by_stub(request, timeout_s)
        else:
            answer = await self._infer_directly(self._direct, request, timeout_s)
        return from_wire(answer, request.output_slices)

    async def _infer_by_stub(self, request: InferRequest, timeout_s: float) -> Any:
        message, metadata = b"".join(to_wire(request)), self._metadata(request.headers)
        try:
            return await self._open().ModelInfer(message, timeout=min(timeout_s, _LONGEST_S), metadata=metadata)
        except FAILURES as error:
            self._raise_translated(error, facts_of(request))
            raise

    async def _infer_directly(self, calls: UnaryCalls, request: InferRequest, timeout_s: float) -> Any:
        limit_s = min(timeout_s, _LONGEST_S)
        headers, call = self._header_block(request.headers, limit_s), Call(to_wire(request))
        deadline = monotonic() + limit_s
        try:
            await calls.run(headers, call, deadline=deadline)
            for _ in range(_AGAIN):
                if call.is_unprocessed:
                    call = call.again()
                    await calls.run(headers, call, deadline=deadline)
            return call.answer()
        except DIRECT_FAILURES as error:
            if self._closed:
                raise self._was_closed() from error
            if isinstance(error, Exception):
                raise lost(error, self._url, facts_of(request)) from error
            raise

    def _header_block(self, headers: Mapping[str, str], timeout_s: float) -> bytes:
        if self._closed:
            raise self._was_closed()
        own = self._options.call_headers(headers)
        block = self._first_headers if own is self._options.headers else self._pseudo_headers + encode_headers(own)
        return block + encode_timeout(timeout_s)

    async def stream(self, request: InferRequest, *, timeout_s: float) -> AsyncIterator[InferResponse]:
        message, metadata = to_message(request), self._metadata(request.headers)
        call = None
        try:
            # The one request ends our side of the stream, and the model's last answer to it ends the server's.
            call = self._open().ModelStreamInfer(
                iter((message,)), timeout=min(timeout_s, _LONGEST_S), metadata=metadata
            )
            async for answer in call:
                yield from_stream(answer, facts_of(request))
        except FAILURES as error:
            self._raise_translated(error, facts_of(request))
            raise
        finally:
            if call is not None:
                call.cancel()

    async def server_metadata(self, *, timeout_s: float) -> Document:
        return to_document(await self._call("ServerMetadata", service_pb2.ServerMetadataRequest(), timeout_s))

    async def register_region(self, name: str, key: str, byte_size: int, *, timeout_s: float) -> None:
        message = service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=0, byte_size=byte_size)
        await self._call("SystemSharedMemoryRegister", message, timeout_s)

    async def unregister_region(self, name: str, *, timeout_s: float) -> None:
        message = service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        await self._call("SystemSharedMemoryUnregister", message, timeout_s)

    async def regions(self, *, timeout_s: float) -> Sequence[Document]:
        message = service_pb2.SystemSharedMemoryStatusRequest()
        answer = await self._call("SystemSharedMemoryStatus", message, timeout_s)
        return [to_document(region) for region in answer.regions.values()]

    async def register_cuda_region(
        self, name: str, handle: bytes, *, device: int, byte_size: int, timeout_s: float
    ) -> None:
        message = service_pb2.CudaSharedMemoryRegisterRequest(
            name=name, raw_handle=handle, device_id=device, byte_size=byte_size
        )
        await self._call("CudaSharedMemoryRegister", message, timeout_s)

    async def unregister_cuda_region(self, name: str, *, timeout_s: float) -> None:
        message = service_pb2.CudaSharedMemoryUnregisterRequest(name=name)
        await self._call("CudaSharedMemoryUnregister", message, timeout_s)

    async def load(self, name: str, *, config: str | None, files: Mapping[str, bytes], timeout_s: float) -> None:
        message = service_pb2.RepositoryModelLoadRequest(model_name=name)
        if config is not None:
            message.parameters["config"].string_param = config
        for path, content in files.items():
            message.parameters[f"file:{path}"].bytes_param = content
        await self._call("RepositoryModelLoad", message, timeout_s, Facts(model=name))

    async def unload(self, name: str, *, dependents: bool, timeout_s: float) -> None:
        message = service_pb2.RepositoryModelUnloadRequest(model_name=name)
        message.parameters["unload_dependents"].bool_param = dependents
        await self._call("RepositoryModelUnload", message, timeout_s, Facts(model=name))

    async def repository_index(self, *, timeout_s: float) -> Sequence[Document]:
        answer = await self._call("RepositoryIndex", service_pb2.RepositoryIndexRequest(), timeout_s)
        return [to_document(entry) for entry in answer.models]

    async def statistics(self, name: str, version: str, *, timeout_s: float) -> Sequence[Document]:
        message = service_pb2.ModelStatisticsRequest(name=name, version=version)
        answer = await self._call("ModelStatistics", message, timeout_s, Facts(model=name, version=version))
        return [to_document(model) for model in answer.model_stats]

    async def close(self) -> None:
        with self._opening:
            self._closed = True
        if self._direct is not None:
            await self._direct.close()
        if self._channel is not None:
            await self._channel.close()


def _direct_calls(url: Url, options: TransportOptions) -> UnaryCalls | None:
    """Connections of our own, where a bare socket does; they take half the time of gRPC's library."""
    return UnaryCalls(url.host, url.port, kept=options.connection.connections) if is_plain(url, options) else None
