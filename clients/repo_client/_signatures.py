# SPDX-License-Identifier: Apache-2.0
"""What a served model takes and gives, as its server tells it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One tensor with its whole shape, the batch dimension included and first: ``(-1, 30)`` for rows of 30 floats."""

    name: str
    datatype: str  # as on the wire: FP32, INT64, BYTES ...
    shape: tuple[int, ...]  # -1 where a request chooses
    optional: bool = False
    columns: tuple[str, ...] = ()  # of ``(-1, n)``: the names of the n columns, where they were published


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """A served model's tensors, in the order of its configuration."""

    name: str
    version: str  # the version asked for; empty where the server chooses
    versions: tuple[str, ...]  # the versions that are loaded
    platform: str
    max_batch_size: int  # 0: the model does not batch, and shapes have no batch dimension of Triton's
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    decoupled: bool = False  # one request may get any number of answers: a model of streams
    sequence_batching: bool = False  # every request belongs to a sequence
