# SPDX-License-Identifier: Apache-2.0
"""Values to the messages of Triton's gRPC service and back, and gRPC's failures to ours. No I/O.

The two messages that carry tensors are written and read around protobuf, which would copy each tensor twice: what
describes the tensors goes through protobuf, their bytes are appended to it, or looked at where they lie.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from repo_client._documents import Document
from repo_client._errors import (
    ConnectionLostError,
    DeadlineExceededError,
    Facts,
    InputError,
    NetworkError,
    RepoClientError,
    ServerUnreachableError,
    TlsError,
    UnexpectedAnswerError,
)
from repo_client._grpc_call import UNPROCESSED, StatusError
from repo_client._http2 import AnswerError, ProtocolError, ResetError
from repo_client._messages import InferRequest, InferResponse, ParameterValue, RegionSlice, WireTensor
from repo_client._network import UnreachableError, network_failure
from repo_client._replies import refusal
from repo_client._urls import Url

# What gRPC's core itself says under UNAVAILABLE; everything else under that code is Triton's.
_NETWORK: tuple[tuple[re.Pattern[str], type[NetworkError]], ...] = (
    # Its "tcp handshaker" is an attempt to connect that was given up, e.g. on a busy machine.
    (re.compile(r"(?<!tcp )handshake|certificate|verification|SSL_|TSI_", re.IGNORECASE), TlsError),
    (
        re.compile(r"failed to connect|Connection refused|resol|No route|unreachable", re.IGNORECASE),
        ServerUnreachableError,
    ),
    (
        re.compile(
            r"Socket closed|Connection reset|GOAWAY|Broken pipe|recvmsg|End of TCP stream|ping timeout|FD shutdown"
        ),
        ConnectionLostError,
    ),
)
_TOO_LARGE = re.compile(r"(Sent|Received) message larger than max \((\d+) vs\. (\d+)\)")
# What a call on a bare socket can end with.
SOCKET_FAILURES = (OSError, EOFError, ProtocolError, AnswerError, ResetError, StatusError, UnreachableError)
# First match wins: a TimeoutError is an OSError.
_SOCKET: tuple[tuple[type[Exception], type[RepoClientError]], ...] = (
    (UnreachableError, ServerUnreachableError),
    (TimeoutError, DeadlineExceededError),
    (Exception, ConnectionLostError),
)
# With these a request is over in Triton too. All others may come from what stands in front of it, or from gRPC's
# library on either side, while Triton still works on the request.
_FINAL_CODES = frozenset(("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "UNIMPLEMENTED", "INTERNAL"))
_OF_THE_LIBRARY = re.compile(r"RST_STREAM|Stream removed|Channel closed|message larger than max")
_NOT_RUN = re.compile(r"Request timeout expired|[Ee]xceeds maximum queue size")  # Triton's, under any code
_RESETS = {7: "RESOURCE_EXHAUSTED", 11: "RESOURCE_EXHAUSTED", 12: "PERMISSION_DENIED"}  # of HTTP/2; none is a model's
_FRAMING = frozenset(
    (
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NESTING = re.compile(r"^.*(last error: \w+: |OPENSSL_internal:|with error: \w+: )")
_HUNG_UP = re.compile(r"failed to connect to all addresses.*(Socket closed|Connection reset by peer|Broken pipe)$")
_PROTOBUF_LIMIT = 2**31 - 1
_SMALL = 4096  # bytes of an answer: copying them costs less than looking for the tensors in it

_Request = service_pb2.ModelInferRequest
_RAW_INPUT = bytes([_Request.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])
_RAW_OUTPUT = service_pb2.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | 2


def translated(error: grpc.RpcError, url: Url, facts: Facts) -> RepoClientError:
    """The error of ours that a failed call means."""
    code, words = error.code().name, error.details() or ""
    if code == "DEADLINE_EXCEEDED":
        return network_failure(DeadlineExceededError, url, words, facts)
    if code == "UNAVAILABLE":
        for pattern, kind in _NETWORK:
            if pattern.search(words):
                return _hung_up(url, words, facts) or network_failure(kind, url, _reason(words), facts)
    too_large = _TOO_LARGE.search(words)
    if code == "RESOURCE_EXHAUSTED" and too_large:
        return _too_large(
            "request" if too_large[1] == "Sent" else "answer", int(too_large[2]), int(too_large[3]), facts
        )
    return _refused(code, words, facts)


def lost(error: Exception, url: Url, facts: Facts) -> RepoClientError:
    """The error of ours that a call on a bare socket ended with."""
    if isinstance(error, StatusError) and error.code == "DEADLINE_EXCEEDED":
        return network_failure(DeadlineExceededError, url, error.words, facts)
    if isinstance(error, StatusError):
        return _refused(error.code, error.words, facts, told=error.told)
    facts = replace(facts, is_unprocessed=isinstance(error, UNPROCESSED))
    if isinstance(error, ResetError):
        return refusal(_RESETS.get(error.code, "UNKNOWN"), "", facts, told=str(error))
    if isinstance(error, AnswerError):
        return UnexpectedAnswerError(f"{url} answered outside gRPC: {error}", facts=facts)
    kind = next(ours for theirs, ours in _SOCKET if isinstance(error, theirs))
    return network_failure(kind, url, str(error), facts)


def _refused(code: str, words: str, facts: Facts, *, told: str = "") -> RepoClientError:
    if _OF_THE_LIBRARY.search(words):
        return refusal("UNKNOWN" if code == "INTERNAL" else code, words, facts)  # which is no failure of the model
    is_answered = not told and (code in _FINAL_CODES or bool(_NOT_RUN.search(words)))
    return refusal(code, words, facts, told=told, is_answered=is_answered)


def checked_metadata(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, whose names are in lower case.

    Raises:
        InputError: one is the protocol's own.
    """
    if own := [name for name in headers if name in _FRAMING or name.startswith("grpc-")]:
        raise InputError(f"headers of the protocol's own: {', '.join(sorted(own))}", hint="leave them to the client")
    return headers


def _reason(words: str) -> str:
    """The innermost of the reasons that gRPC nests."""
    return _NESTING.sub("", words)


def _hung_up(url: Url, words: str, facts: Facts) -> NetworkError | None:
    """A connection that was closed while it was set up: with TLS 1.3 a server's only way to refuse a certificate."""
    if not _HUNG_UP.search(words):
        return None
    kind = TlsError if url.is_secure else ServerUnreachableError
    return kind(
        f"{url} took the connection and closed it at once",
        hint="it wants a certificate that it trusts: pass Tls(certificate=..., key=...)"
        if url.is_secure
        else f"does it speak TLS (grpcs://{url.address}), or HTTP? Triton's ports are 8001 (gRPC) and 8000 (HTTP)",
        facts=facts,
    )


def _too_large(what: str, size: int, limit: int, facts: Facts) -> InputError:
    return InputError(
        f"the {what} has {size} bytes, which is more than the {limit} of one gRPC message",
        hint="send fewer rows at once, raise ConnectionOptions(max_message_bytes=...) up to 2 GiB, or use http://",
        facts=facts,
    )


def facts_of(request: InferRequest) -> Facts:
    """What a failure of this request is about."""
    return Facts(model=request.model, version=request.version or None, request_id=request.request_id or None)


def to_wire(request: InferRequest) -> list[bytes | memoryview]:
    """The bytes of a ``ModelInferRequest`` in parts, the tensors where they lie.

    Raises:
        InputError: they are more than protobuf can carry.
    """
    parts: list[bytes | memoryview] = [_head(request).SerializeToString()]
    size = 0
    for tensor in request.inputs:
        if tensor.slice is None:
            length = memoryview(tensor.data).nbytes
            parts += (_RAW_INPUT, _varint(length), tensor.data)
            size += length
    if size + len(parts[0]) > _PROTOBUF_LIMIT:
        raise _too_large("request", size, _PROTOBUF_LIMIT, facts_of(request))
    return parts


def to_message(request: InferRequest) -> Any:
    """The whole ``ModelInferRequest``, for a stream."""
    message = _head(request)
    message.raw_input_contents.extend(bytes(tensor.data) for tensor in request.inputs if tensor.slice is None)
    return message


def _head(request: InferRequest) -> Any:
    """All but the raw contents, which are the last field."""
    message = _Request(model_name=request.model, model_version=request.version, id=request.request_id)
    if request.timeout_us is not None:
        message.parameters["timeout"].int64_param = request.timeout_us
    for name, value in request.parameters.items():
        _set_parameter(message.parameters[name], value)
    for tensor in request.inputs:
        described = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.slice is not None:
            _set_slice(described.parameters, tensor.slice)
    for name in dict.fromkeys((*request.outputs, *request.output_slices)):
        wanted = message.outputs.add(name=name)
        if name in request.output_slices:
            _set_slice(wanted.parameters, request.output_slices[name])
    return message


def _set_parameter(parameter: Any, value: ParameterValue) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        setattr(parameter, "int64_param" if value < 2**63 else "uint64_param", value)
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


def _set_slice(parameters: Any, part: RegionSlice) -> None:
    parameters["shared_memory_region"].string_param = part.region
    parameters["shared_memory_byte_size"].int64_param = part.byte_size
    if part.offset:
        parameters["shared_memory_offset"].int64_param = part.offset


def _varint(number: int) -> bytes:
    """Protobuf's base-128 form."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def from_wire(answer: bytes | memoryview, slices: Mapping[str, RegionSlice]) -> InferResponse:
    """What the bytes of a ``ModelInferResponse`` say; its tensors are views of them, or lie in ``slices``.

    Raises:
        UnexpectedAnswerError: they are none, or its tensors are not in raw form.
    """
    try:
        message, contents = _parsed(answer)
    except DecodeError as error:
        raise UnexpectedAnswerError("the server answered with bytes that are no message of Triton's") from error
    return _response(message, contents, slices)


def _parsed(answer: bytes | memoryview) -> tuple[Any, Any]:
    if len(answer) > _SMALL:
        try:
            head, contents = _split(memoryview(answer))
            return service_pb2.ModelInferResponse.FromString(head), contents
        except (IndexError, ValueError):  # a field that this Triton does not have, or no message at all
            pass
    message = service_pb2.ModelInferResponse.FromString(bytes(answer))
    return message, message.raw_output_contents


def from_stream(answer: Any, facts: Facts) -> InferResponse:
    """What a ``ModelStreamInferResponse`` says.

    Raises:
        RepoClientError: it is the failure of the request. A stream tells it in words, without a status code.
        UnexpectedAnswerError: its tensors are not in raw form.
    """
    if answer.error_message:
        raise _refused("INTERNAL", answer.error_message, facts)
    return _response(answer.infer_response, answer.infer_response.raw_output_contents, {})


def _split(answer: memoryview) -> tuple[bytes, list[memoryview]]:
    """The message without its raw contents, and these."""
    head, contents, position, end = [], [], 0, len(answer)
    while position < end:
        start, tag = position, answer[position]
        if tag & 7 != 2 or tag > 127:
            raise ValueError("not a field with a length, numbered up to 15, as all are so far")
        length, position = _read_varint(answer, position + 1)
        position += length
        if tag == _RAW_OUTPUT:
            contents.append(answer[position - length : position])
        else:
            head.append(answer[start:position])
    if position != end:
        raise ValueError("the last field is cut off")
    return b"".join(head), contents


def _read_varint(answer: memoryview, position: int) -> tuple[int, int]:
    """The number at ``position``, and the position behind it."""
    number = shift = 0
    while True:
        group = answer[position]
        number |= (group & 127) << shift
        position, shift = position + 1, shift + 7
        if group < 128:
            return number, position


def _response(message: Any, contents: Any, slices: Mapping[str, RegionSlice]) -> InferResponse:
    return InferResponse(
        model=message.model_name,
        version=message.model_version,
        request_id=message.id,
        outputs=tuple(_outputs(message, contents, slices)),
        parameters=_parameters(message.parameters) if message.parameters else {},
    )


def _outputs(message: Any, contents: Any, slices: Mapping[str, RegionSlice]) -> Iterator[WireTensor]:
    if len(message.outputs) != len(contents):
        raise UnexpectedAnswerError(
            f"model '{message.model_name}' answered {len(message.outputs)} outputs but {len(contents)} raw contents",
            facts=Facts(model=message.model_name, version=message.model_version, request_id=message.id),
        )
    for output, data in zip(message.outputs, contents, strict=True):
        yield WireTensor(
            name=output.name,
            datatype=output.datatype,
            shape=tuple(output.shape),
            data=data,
            slice=None if data else slices.get(output.name),  # Triton does not repeat that it went there
        )


def _parameters(parameters: Any) -> Mapping[str, ParameterValue]:
    chosen = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    return {name: getattr(value, choice) for name, value, choice in chosen if choice is not None}


def to_document(message: Any) -> Document:
    """Any message in its JSON form."""
    document: Document = MessageToDict(message, preserving_proto_field_name=True)
    return document
