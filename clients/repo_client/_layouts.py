# SPDX-License-Identifier: Apache-2.0
"""Where the tensors of a request and of its answer lie in a region. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from threading import Lock

from repo_client._datatypes import DATATYPES
from repo_client._messages import InferRequest, InferResponse, RegionSlice, WireTensor
from repo_client._region_pool import Shared

# Below it a request through the network is as quick: measured with perf/shared_memory.py.
LEAST_BYTES = 128 * 1024
_LINE = 64  # tensors begin on cache lines
_MOST_KINDS = 1024

Kind = tuple[str, str, tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]
Sizes = tuple[tuple[str, int], ...]  # of each output; 0 where it has no place in a region


def bytes_of(data: bytes | memoryview) -> int:
    """How many bytes ``data`` has."""
    return data.nbytes if isinstance(data, memoryview) else len(data)


def is_large(tensors: Iterable[WireTensor]) -> bool:
    """Whether the tensors together are worth a region."""
    total = 0
    for tensor in tensors:
        data = tensor.data  # bytes_of, without another call: every request of every size comes by here
        total += data.nbytes if isinstance(data, memoryview) else len(data)
    return total >= LEAST_BYTES


@dataclass(slots=True)
class _Seen:
    sizes: Sizes
    is_steady: bool = False  # twice the same


class AnswerSizes:
    """How large the answers of models were, and will be again for requests of the same shapes.

    The size of an answer is known before the call only from earlier ones: a signature leaves dimensions open. Where
    a model's answers turn out to depend on more than shapes, nothing is foretold of it any more.
    """

    def __init__(self) -> None:
        self._seen: dict[Kind, _Seen] = {}
        self.models: set[str] = set()  # with answers that were worth a region
        self._unsteady: set[str] = set()
        self._lock = Lock()

    def expected(self, request: InferRequest) -> Sizes:
        """The sizes of the outputs of this request; empty where they are not known, or not worth a region."""
        seen = self._seen.get(_kind(request))
        return seen.sizes if seen is not None and seen.is_steady else ()

    def learn(self, request: InferRequest, response: InferResponse) -> None:
        """Remember how large the answer to ``request`` was."""
        if is_large(response.outputs):
            sizes = tuple((output.name, _size(output)) for output in response.outputs)
            with self._lock:
                self._note(request.model, _kind(request), sizes)

    def _note(self, model: str, kind: Kind, sizes: Sizes) -> None:
        if model in self._unsteady:
            return
        self.models.add(model)
        seen = self._seen.get(kind)
        if seen is not None and seen.sizes == sizes:
            seen.is_steady = True
            return
        if len(self._seen) >= _MOST_KINDS:
            self._seen.clear()
        self._seen[kind] = _Seen(sizes)

    def give_up(self, model: str) -> None:
        """The answers of this model cannot be foretold."""
        with self._lock:
            self.models.discard(model)
            self._unsteady.add(model)
            self._seen = {kind: seen for kind, seen in self._seen.items() if kind[0] != model}


def _kind(request: InferRequest) -> Kind:
    return request.model, request.version, request.outputs, tuple((one.name, one.shape) for one in request.inputs)


def _size(output: WireTensor) -> int:
    size = bytes_of(output.data)
    return size if size >= LEAST_BYTES and output.datatype != "BYTES" else 0  # the length of BYTES is in their content


def room_for(request: InferRequest, answer: Sizes) -> int:
    """How many bytes a region needs for this request and its answer."""
    sizes = [bytes_of(tensor.data) for tensor in request.inputs] + [size for _, size in answer]
    return sum(_aligned(size) for size in sizes)


def _aligned(size: int) -> int:
    return -(-size // _LINE) * _LINE


def place(request: InferRequest, answer: Sizes, region: Shared) -> InferRequest:
    """``request`` with its inputs copied into ``region``, and room in it for those outputs that have a size."""
    inputs, offset = [], 0
    for tensor in request.inputs:
        size = bytes_of(tensor.data)
        inputs.append(_placed(tensor, region, offset) if size else tensor)
        offset += _aligned(size)
    slices = {}
    for name, size in answer:
        if size:
            slices[name] = RegionSlice(region=region.name, offset=offset, byte_size=size)
            offset += _aligned(size)
    outputs = tuple(name for name, _ in answer) if slices else request.outputs
    return replace(request, inputs=tuple(inputs), outputs=outputs, output_slices=slices)


def _placed(tensor: WireTensor, region: Shared, offset: int) -> WireTensor:
    region.write(offset, tensor.data)
    part = RegionSlice(region=region.name, offset=offset, byte_size=bytes_of(tensor.data))
    return WireTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, data=b"", slice=part)


def collect(response: InferResponse, region: Shared) -> InferResponse:
    """``response`` with copies of the outputs that lie in ``region``."""
    if all(output.slice is None for output in response.outputs):
        return response
    return replace(response, outputs=tuple(_collected(output, region) for output in response.outputs))


def _collected(output: WireTensor, region: Shared) -> WireTensor:
    part = output.slice
    if part is None:
        return output
    width = 2 if output.datatype == "BF16" else DATATYPES[output.datatype].numpy.itemsize
    data = region.read(part.offset, min(prod(output.shape) * width, part.byte_size))
    return WireTensor(name=output.name, datatype=output.datatype, shape=output.shape, data=data)
