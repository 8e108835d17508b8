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


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How often something happened and how long it took in all."""

    count: int
    total_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatistics:
    """What one version of a model has done since it was loaded."""

    name: str
    version: str
    inference_count: int  # rows
    execution_count: int  # batches
    last_inference_ms: int  # since the epoch; 0: never
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


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


def read_statistics(models: Sequence[Document]) -> tuple[ModelStatistics, ...]:
    """The statistics of each version of a model."""
    return tuple(_read_model_statistics(model) for model in models)


def _read_model_statistics(document: Document) -> ModelStatistics:
    times: Document = document.get("inference_stats", {})
    kinds = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    return ModelStatistics(
        name=document["name"],
        version=document["version"],
        inference_count=int(document.get("inference_count", 0)),
        execution_count=int(document.get("execution_count", 0)),
        last_inference_ms=int(document.get("last_inference", 0)),
        **{kind: _read_duration(times.get(kind, {})) for kind in kinds},
    )


def _read_duration(document: Document) -> Duration:
    return Duration(count=int(document.get("count", 0)), total_ns=int(document.get("ns", 0)))
