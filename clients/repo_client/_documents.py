# SPDX-License-Identifier: Apache-2.0
"""What a server says about models, as typed values: documents in the JSON form of Triton's protocol messages.

Both protocols give the same documents, but for gRPC's habits: 64-bit integers as strings, and zeros left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repo_client._signatures import ModelSignature, TensorSpec

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """One version of one model in the repository; a model that was never loaded has neither version nor state."""

    name: str
    version: str
    state: str  # READY, LOADING, UNLOADING or UNAVAILABLE
    reason: str  # why it is not ready, in the server's own words

    @property
    def is_ready(self) -> bool:
        """Whether this version answers inference requests."""
        return self.state == "READY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetadata:
    """What a server says of itself."""

    name: str
    version: str
    extensions: tuple[str, ...]  # of the Open Inference Protocol


def read_signature(metadata: Document, config: Document, *, version: str) -> ModelSignature:
    """The signature told by a model's metadata (shapes with the batch dimension) and its configuration."""
    columns = _read_columns(config)
    optional = {tensor["name"] for tensor in config.get("input", ()) if tensor.get("optional")}
    return ModelSignature(
        name=metadata["name"],
        version=version,
        versions=tuple(metadata.get("versions", ())),
        platform=metadata.get("platform", ""),
        max_batch_size=int(config.get("max_batch_size", 0)),
        inputs=tuple(_read_tensor(tensor, optional, columns) for tensor in metadata.get("inputs", ())),
        outputs=tuple(_read_tensor(tensor, set(), {}) for tensor in metadata.get("outputs", ())),
        decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled", False)),
        sequence_batching="sequence_batching" in config,
    )


def _read_columns(config: Document) -> Mapping[str, Any]:
    """The parameter in which ``repo-tool add-model`` publishes them; somebody else's of that name says nothing."""
    try:
        columns = json.loads(config["parameters"]["columns"]["string_value"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return columns if isinstance(columns, Mapping) else {}


def _read_tensor(document: Document, optional: set[str], columns: Mapping[str, Any]) -> TensorSpec:
    names = columns.get(document["name"])
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return TensorSpec(
        name=document["name"],
        datatype=document["datatype"],
        shape=tuple(int(size) for size in document.get("shape", ())),
        optional=document["name"] in optional,
        columns=tuple(names) if is_list and names else (),
    )


def read_index(entries: Sequence[Document]) -> tuple[IndexEntry, ...]:
    """The repository index."""
    return tuple(
        IndexEntry(name=entry["name"], **{key: entry.get(key, "") for key in ("version", "state", "reason")})
        for entry in entries
    )


def not_ready_words(entries: Sequence[IndexEntry], name: str, version: str) -> str:
    """Why the model is not ready, as far as an index tells; empty for an empty index."""
    if not entries:
        return ""
    of_model = [entry for entry in entries if entry.name == name]
    if not of_model:
        return "the repository has no such model"
    asked = [entry for entry in of_model if version in ("", entry.version)]
    words = [" ".join(part for part in (entry.state, entry.reason) if part) for entry in asked]
    return "; ".join(word for word in words if word) or "it is not loaded"


def read_server_metadata(document: Document) -> ServerMetadata:
    """What a server says of itself."""
    return ServerMetadata(
        name=document.get("name", ""),
        version=document.get("version", ""),
        extensions=tuple(document.get("extensions", ())),
    )
