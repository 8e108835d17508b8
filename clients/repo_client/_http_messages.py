# SPDX-License-Identifier: Apache-2.0
"""Values to the HTTP bodies of Triton's protocol (binary tensor data extension) and back. No I/O."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from repo_client._documents import Document
from repo_client._errors import Facts, RepoClientError, UnexpectedAnswerError, UnsupportedCallError
from repo_client._messages import InferRequest, InferResponse, RegionSlice, WireTensor
from repo_client._replies import refusal

HEADER_LENGTH = "Inference-Header-Content-Length"
# Triton's src/http_server.cc: everything that is not named there is a 400.
_CODES = {404: "NOT_FOUND", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 400: "INVALID_ARGUMENT"}
_ENDINGS = (400, 404, 500, 501)  # Triton is done with the request; a 503 may be of a front that gave up waiting
_GATEWAY_CODES = {  # of what stands in front of Triton, with a body of any kind
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "UNAVAILABLE",
}
_NOT_JSON = (ValueError, RecursionError)
_FILE = "file:"  # Triton's prefix of the parameters that carry the files of a model to load
_LONGEST_TIMEOUT_US = 2**63 - 1  # Triton reads a signed 64-bit number
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_DECODE = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, as far as the protocol uses it."""

    status: int
    header_length: str | None  # bytes of JSON in front of the tensors; None: the body is JSON to its end
    body: bytes | bytearray


def model_path(name: str, version: str, rest: str = "") -> str:
    """The path of a model, or of something below it."""
    chosen = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(name, safe='')}{chosen}{rest}"


def load_path(name: str) -> str:
    """The path that loads a model."""
    return f"/v2/repository/models/{quote(name, safe='')}/load"


def unload_path(name: str) -> str:
    """The path that unloads a model."""
    return f"/v2/repository/models/{quote(name, safe='')}/unload"


def region_path(kind: Literal["system", "cuda"], name: str, action: str) -> str:
    """The path that opens or closes a region in the server, which does not unescape ``name``: it should need none."""
    return f"/v2/{kind}sharedmemory/region/{quote(name, safe='')}/{action}"


def load_body(config: str | None, files: Mapping[str, bytes]) -> bytes:
    """The body that loads a model with another configuration, and with files by their path in the model directory."""
    parameters = {} if config is None else {"config": config}
    for path, content in files.items():
        parameters[f"{_FILE}{path.removeprefix(_FILE)}"] = b64encode(content).decode()
    return _to_json({"parameters": parameters} if parameters else {})


def unload_body(*, dependents: bool) -> bytes:
    """The body that unloads a model, and with ``dependents`` the models that only it uses."""
    return _to_json({"parameters": {"unload_dependents": dependents}})


def region_body(key: str, byte_size: int) -> bytes:
    """The body that opens the POSIX shared memory ``key``."""
    return _to_json({"key": key, "offset": 0, "byte_size": byte_size})


def cuda_region_body(handle: bytes, device: int, byte_size: int) -> bytes:
    """The body that opens CUDA memory by its IPC handle."""
    return _to_json({"raw_handle": {"b64": b64encode(handle).decode()}, "device_id": device, "byte_size": byte_size})


def _to_json(document: Mapping[str, Any]) -> bytes:
    return _ENCODE(document).encode()


def no_streams(request: InferRequest) -> UnsupportedCallError:
    """Why a decoupled model cannot be called over this protocol."""
    return UnsupportedCallError(
        f"model '{request.model}' cannot stream over HTTP",
        hint="Triton streams over gRPC only: open the client with grpc:// (port 8001 unless told otherwise)",
        facts=Facts(model=request.model, version=request.version, request_id=request.request_id),
    )


def to_body(request: InferRequest) -> tuple[bytes, list[bytes | memoryview]]:
    """The body of an inference request: JSON, and the tensors behind it."""
    parameters: dict[str, Any] = {"binary_data_output": True, **request.parameters}
    if request.timeout_us is not None:
        parameters["timeout"] = min(request.timeout_us, _LONGEST_TIMEOUT_US)
    document: dict[str, Any] = {
        "inputs": [_input_document(tensor) for tensor in request.inputs],
        "parameters": parameters,
    }
    if request.request_id:
        document["id"] = request.request_id
    if request.outputs or request.output_slices:
        document["outputs"] = _output_documents(request)
    return _to_json(document), [tensor.data for tensor in request.inputs if tensor.slice is None]


def _input_document(tensor: WireTensor) -> dict[str, Any]:
    parameters = {"binary_data_size": len(tensor.data)} if tensor.slice is None else _slice_document(tensor.slice)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "parameters": parameters}


def _output_documents(request: InferRequest) -> list[dict[str, Any]]:
    slices = request.output_slices
    return [
        {"name": name, "parameters": _slice_document(slices[name]) if name in slices else {"binary_data": True}}
        for name in dict.fromkeys((*request.outputs, *slices))
    ]


def _slice_document(part: RegionSlice) -> dict[str, Any]:
    return {
        "shared_memory_region": part.region,
        "shared_memory_offset": part.offset,
        "shared_memory_byte_size": part.byte_size,
    }


def from_reply(reply: Reply, request: InferRequest, facts: Facts) -> InferResponse:
    """What the answer to ``request`` says.

    Raises:
        RepoClientError: the server refused, or the answer is none of the protocol.
    """
    accept(reply, facts)
    try:
        end = len(reply.body) if reply.header_length is None else int(reply.header_length)
        if not 0 <= end <= len(reply.body):
            raise ValueError("the JSON is longer than the answer")
        document = _DECODE(reply.body[:end].decode())
        return InferResponse(
            model=document["model_name"],
            version=document.get("model_version", ""),
            request_id=document.get("id", ""),
            outputs=_outputs(
                document.get("outputs", ()), memoryview(reply.body).toreadonly(), end, request.output_slices
            ),
            parameters=document.get("parameters", {}),
        )
    except (*_NOT_JSON, KeyError, TypeError, AttributeError, OverflowError) as error:  # JSON of Python has Infinity
        raise _not_the_protocol(reply, facts) from error


def _outputs(
    documents: Sequence[Any], body: memoryview, start: int, slices: Mapping[str, RegionSlice]
) -> tuple[WireTensor, ...]:
    tensors = []
    for document in documents:
        name = document["name"]
        size = document.get("parameters", {}).get("binary_data_size")
        part = slices.get(name) if size is None else None  # Triton does not repeat over HTTP that it went there
        end = start if part else start + size
        tensors.append(
            WireTensor(
                name=name,
                datatype=document["datatype"],
                shape=tuple(map(int, document["shape"])),
                data=body[start:end],
                slice=part,
            )
        )
        start = end
    return tuple(tensors)


def accept(reply: Reply, facts: Facts) -> None:
    """Return if the server did what was asked.

    Raises:
        RepoClientError: it refused.
    """
    if reply.status != 200:
        raise _refused(reply, facts)


def read_named(reply: Reply, facts: Facts) -> Document:
    """The JSON object that describes a model or the server; other servers answer 200 to any path.

    Raises:
        RepoClientError: the server refused, or the answer describes nothing.
    """
    document = _read_json(reply, facts)
    if not isinstance(document, dict) or "name" not in document:
        raise _not_the_protocol(reply, facts)
    return document


def read_list(reply: Reply, facts: Facts, *, key: str | None = None) -> list[Document]:
    """The JSON objects in a list; with ``key`` the list is the member of that name of an object.

    Raises:
        RepoClientError: the server refused, or the answer is no list of objects.
    """
    document = _read_json(reply, facts)
    if key is not None and isinstance(document, dict):
        document = document.get(key)
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise _not_the_protocol(reply, facts)
    return document


def _read_json(reply: Reply, facts: Facts) -> Any:
    accept(reply, facts)
    try:
        return json.loads(reply.body)
    except _NOT_JSON as error:
        raise _not_the_protocol(reply, facts) from error


def _refused(reply: Reply, facts: Facts) -> RepoClientError:
    code = _CODES.get(reply.status) or _GATEWAY_CODES.get(reply.status, "UNKNOWN")
    try:
        document = json.loads(reply.body)
        words = str(document["error"])
    except (*_NOT_JSON, KeyError, TypeError):
        if reply.status not in _GATEWAY_CODES:
            return _not_the_protocol(reply, facts)
        return refusal(code, "", facts, told=f"something in front of the server answered {reply.status}")
    is_answered = reply.status in _ENDINGS and document == {"error": words}  # others say more, or something else
    return refusal(code, words, facts, is_answered=is_answered)


def _not_the_protocol(reply: Reply, facts: Facts) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"the answer is none of the Open Inference Protocol: status {reply.status}, {bytes(reply.body[:80])!r}",
        hint="is this the address of a Triton server, and its HTTP port (8000 unless told otherwise)?",
        facts=facts,
    )
