# SPDX-License-Identifier: Apache-2.0
"""Values to the protobuf messages of Triton's gRPC service and back, and gRPC's failures to ours. No I/O."""

import re
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2

from repo_client._documents import Document
from repo_client._errors import (
    ConnectionLostError,
    DeadlineExceededError,
    Facts,
    NetworkError,
    RepoClientError,
    ServerUnreachableError,
    TlsError,
    UnexpectedAnswerError,
)
from repo_client._messages import InferRequest, InferResponse, WireTensor
from repo_client._network import network_failure
from repo_client._replies import refusal
from repo_client._urls import Url

# What gRPC's core itself says under UNAVAILABLE; everything else under that code is Triton's.
_NETWORK: tuple[tuple[re.Pattern[str], type[NetworkError]], ...] = (
    (re.compile(r"handshake|CERTIFICATE|certificate|SSL_|TSI_", re.IGNORECASE), TlsError),
    (re.compile(r"failed to connect|Connection refused|resolving|No route|unreachable"), ServerUnreachableError),
    (re.compile(r"Socket closed|Connection reset|GOAWAY|Broken pipe|recvmsg|End of TCP stream"), ConnectionLostError),
)


def translated(error: grpc.RpcError, url: Url, facts: Facts) -> RepoClientError:
    """The error of ours that a failed call means."""
    code, words = error.code().name, error.details() or ""
    if code == "DEADLINE_EXCEEDED":
        return network_failure(DeadlineExceededError, url, words, facts)
    if code == "UNAVAILABLE":
        for pattern, kind in _NETWORK:
            if pattern.search(words):
                return network_failure(kind, url, words, facts)
    return refusal(code, words, facts)


def to_message(request: InferRequest) -> Any:
    """A ``ModelInferRequest``."""
    message = service_pb2.ModelInferRequest(
        model_name=request.model,
        model_version=request.version,
        id=request.request_id,
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(
                name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
            )
            for tensor in request.inputs
        ],
        outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in request.outputs],
        raw_input_contents=[tensor.data for tensor in request.inputs],
    )
    if request.timeout_us is not None:
        message.parameters["timeout"].int64_param = request.timeout_us
    return message


def from_message(message: Any) -> InferResponse:
    """What a ``ModelInferResponse`` says.

    Raises:
        UnexpectedAnswerError: its tensors are not in raw form.
    """
    if len(message.outputs) != len(message.raw_output_contents):
        raise UnexpectedAnswerError(
            f"model '{message.model_name}' answered {len(message.outputs)} outputs"
            f" but {len(message.raw_output_contents)} raw contents",
            facts=Facts(model=message.model_name, version=message.model_version, request_id=message.id),
        )
    return InferResponse(
        model=message.model_name,
        version=message.model_version,
        request_id=message.id,
        outputs=tuple(
            WireTensor(name=output.name, datatype=output.datatype, shape=tuple(output.shape), data=data)
            for output, data in zip(message.outputs, message.raw_output_contents, strict=True)
        ),
    )


def to_document(message: Any) -> Document:
    """Any message in its JSON form."""
    document: Document = MessageToDict(message, preserving_proto_field_name=True)
    return document
