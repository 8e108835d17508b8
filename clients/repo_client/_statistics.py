# SPDX-License-Identifier: Apache-2.0
"""What models have done since they were loaded, as typed values; see Triton's statistics extension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How often something happened and how long it took in all."""

    count: int
    total_ns: int

    @property
    def mean_ms(self) -> float:
        """How long it took each time, in milliseconds; 0 where it never happened."""
        return self.total_ns / self.count / 1e6 if self.count else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """The batches of one size that the model was executed with."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseStatistics:
    """The responses of a decoupled model that came in one place: the first ones, the second ones ..."""

    index: int  # 0: the first response to each request
    compute_infer: Duration
    compute_output: Duration
    success: Duration
    fail: Duration
    empty_response: Duration
    cancel: Duration


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
    cache_hit: Duration
    cache_miss: Duration
    batches: tuple[BatchStatistics, ...]  # by batch size
    responses: tuple[ResponseStatistics, ...]  # of decoupled models, by their place; otherwise none


_WHOLE = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
_BATCH = ("compute_input", "compute_infer", "compute_output")
_RESPONSE = ("compute_infer", "compute_output", "success", "fail", "empty_response", "cancel")


def read_statistics(models: Sequence[Document]) -> tuple[ModelStatistics, ...]:
    """The statistics of each version of each model."""
    return tuple(_read_model(model) for model in models)


def _read_model(document: Document) -> ModelStatistics:
    responses: Mapping[str, Document] = document.get("response_stats", {})
    return ModelStatistics(
        name=document["name"],
        version=document["version"],
        inference_count=int(document.get("inference_count", 0)),
        execution_count=int(document.get("execution_count", 0)),
        last_inference_ms=int(document.get("last_inference", 0)),
        batches=tuple(sorted(map(_read_batch, document.get("batch_stats", ())), key=lambda batch: batch.batch_size)),
        responses=tuple(_read_response(int(index), responses[index]) for index in sorted(responses, key=int)),
        **_read_durations(document.get("inference_stats", {}), _WHOLE),
    )


def _read_batch(document: Document) -> BatchStatistics:
    return BatchStatistics(batch_size=int(document.get("batch_size", 0)), **_read_durations(document, _BATCH))


def _read_response(index: int, document: Document) -> ResponseStatistics:
    return ResponseStatistics(index=index, **_read_durations(document, _RESPONSE))


def _read_durations(document: Document, kinds: Sequence[str]) -> dict[str, Duration]:
    return {kind: _read_duration(document.get(kind, {})) for kind in kinds}


def _read_duration(document: Document) -> Duration:
    return Duration(count=int(document.get("count", 0)), total_ns=int(document.get("ns", 0)))
