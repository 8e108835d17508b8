# SPDX-License-Identifier: Apache-2.0
"""The values that cross the seam between client and transport: no protocol's own, tensors already as bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WireTensor:
    """A tensor as it travels: little-endian and row-major, BYTES as length-prefixed elements."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """One inference request; no ``outputs`` means all of them."""

    model: str
    version: str
    request_id: str
    inputs: tuple[WireTensor, ...]
    outputs: tuple[str, ...] = ()
    timeout_us: int | None = None  # a batching server gives up on the request when it has queued this long


@dataclass(frozen=True, slots=True, kw_only=True)
class InferResponse:
    """The answer to one ``InferRequest``."""

    model: str
    version: str
    request_id: str
    outputs: tuple[WireTensor, ...]
