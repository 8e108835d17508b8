# SPDX-License-Identifier: Apache-2.0
"""The values that cross the seam between client and transport: no protocol's own, tensors already as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

ParameterValue = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSlice:
    """A part of a shared-memory region that the server knows by ``region``."""

    region: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WireTensor:
    """A tensor as it travels: little-endian and row-major, BYTES as length-prefixed elements.

    ``data`` may be a view of the caller's own array, so a transport reads it before its call returns or awaits, and
    never keeps it. It is empty where ``slice`` says which part of a shared-memory region holds it instead.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    slice: RegionSlice | None = None

    def owned(self) -> "WireTensor":
        """The same with bytes of its own."""
        return self if isinstance(self.data, bytes) else replace(self, data=bytes(self.data))


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """One inference request; no ``outputs`` means all of them."""

    model: str
    version: str
    request_id: str
    inputs: tuple[WireTensor, ...]
    outputs: tuple[str, ...] = ()
    timeout_us: int | None = None  # a batching server gives up on the request when it has queued this long
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)  # priority, sequence_id ..., a model's own
    headers: Mapping[str, str] = field(default_factory=dict)  # over those of the client
    output_slices: Mapping[str, RegionSlice] = field(default_factory=dict)  # where the server shall put an output

    def owned(self) -> "InferRequest":
        """The same with bytes of its own, for who keeps it beyond a call."""
        return replace(self, inputs=tuple([tensor.owned() for tensor in self.inputs]))


@dataclass(frozen=True, slots=True, kw_only=True)
class InferResponse:
    """The answer to one ``InferRequest``, or one of the answers of a decoupled model."""

    model: str
    version: str
    request_id: str
    outputs: tuple[WireTensor, ...]
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
