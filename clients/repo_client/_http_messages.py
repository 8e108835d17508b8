# SPDX-License-Identifier: Apache-2.0
"""Values to the HTTP bodies of Triton's protocol (binary tensor data extension) and back. No I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from repo_client._errors import Facts, RepoClientError, UnexpectedAnswerError
from repo_client._messages import InferRequest, InferResponse, WireTensor
from repo_client._replies import refusal

HEADER_LENGTH = "Inference-Header-Content-Length"
# Triton's src/http_server.cc: everything that is not named there is a 400.
_CODES = {404: "NOT_FOUND", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 400: "INVALID_ARGUMENT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer, as far as the protocol uses it."""

    status: int
    header_length: str | None  # bytes of JSON in front of the tensors; None: the body is JSON to its end
    body: bytes


def model_path(name: str, version: str, rest: str = "") -> str:
    """The path of a model, or of something below it."""
    chosen = f"/versions/{quote(version, safe='')}" if version else ""
    return f"/v2/models/{quote(name, safe='')}{chosen}{rest}"


def control_path(name: str, action: str) -> str:
    """The path that loads or unloads a model."""
    return f"/v2/repository/models/{quote(name, safe='')}/{action}"


def to_body(request: InferRequest) -> tuple[bytes, dict[str, str]]:
    """The body of an inference request and its headers."""
    parameters: dict[str, Any] = {"binary_data_output": True}
    if request.timeout_us is not None:
        parameters["timeout"] = request.timeout_us
    document: dict[str, Any] = {
        "inputs": [_input_document(tensor) for tensor in request.inputs],
        "parameters": parameters,
    }
    if request.request_id:
        document["id"] = request.request_id
    if request.outputs:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in request.outputs]
    header = json.dumps(document, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return b"".join((header, *(tensor.data for tensor in request.inputs))), headers


def _input_document(tensor: WireTensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": tensor.shape,
        "parameters": {"binary_data_size": len(tensor.data)},
    }


def from_reply(reply: Reply, facts: Facts) -> InferResponse:
    """What the answer to an inference request says.

    Raises:
        RepoClientError: the server refused, or the answer is none of the protocol.
    """
    _raise_for_status(reply, facts)
    try:
        end = len(reply.body) if reply.header_length is None else int(reply.header_length)
        document = json.loads(reply.body[:end])
        return InferResponse(
            model=document["model_name"],
            version=document.get("model_version", ""),
            request_id=document.get("id", ""),
            outputs=_outputs(document, reply.body, end),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _not_the_protocol(reply, facts) from error


def _outputs(document: Mapping[str, Any], body: bytes, start: int) -> tuple[WireTensor, ...]:
    tensors = []
    for output in document.get("outputs", ()):
        end = start + output["parameters"]["binary_data_size"]
        tensors.append(
            WireTensor(
                name=output["name"], datatype=output["datatype"], shape=tuple(output["shape"]), data=body[start:end]
            )
        )
        start = end
    return tuple(tensors)


def read_json(reply: Reply, facts: Facts) -> Any:
    """The JSON of an answer; ``None`` for an empty one.

    Raises:
        RepoClientError: the server refused, or the answer is no JSON.
    """
    _raise_for_status(reply, facts)
    try:
        return json.loads(reply.body) if reply.body else None
    except ValueError as error:
        raise _not_the_protocol(reply, facts) from error


def read_model_document(reply: Reply, facts: Facts) -> dict[str, Any]:
    """The JSON object that describes a model; other servers answer 200 to any path.

    Raises:
        RepoClientError: the server refused, or the answer describes no model.
    """
    document = read_json(reply, facts)
    if not isinstance(document, dict) or "name" not in document:
        raise _not_the_protocol(reply, facts)
    return document


def _raise_for_status(reply: Reply, facts: Facts) -> None:
    if reply.status != 200:
        raise _refused(reply, facts)


def _refused(reply: Reply, facts: Facts) -> RepoClientError:
    try:
        words = str(json.loads(reply.body)["error"])
    except (ValueError, KeyError, TypeError):
        return _not_the_protocol(reply, facts)
    return refusal(_CODES.get(reply.status, "UNKNOWN"), words, facts)


def _not_the_protocol(reply: Reply, facts: Facts) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"the answer is none of the Open Inference Protocol: status {reply.status}, {reply.body[:80]!r}",
        hint="is this the address of a Triton server, and its HTTP port (8000 unless told otherwise)?",
        facts=facts,
    )
