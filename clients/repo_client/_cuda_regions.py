# SPDX-License-Identifier: Apache-2.0
"""Memory of a GPU that a server on this machine can open too. CUDA is imported when it is asked for."""

from ctypes import string_at
from importlib import import_module
from typing import Any
from weakref import finalize

import numpy as np

from repo_client._errors import SharedMemoryError


class CudaRegion:
    """Memory of the current device, for the server to open by ``handle``; freed with this object.

    Raises:
        SharedMemoryError: the device has no room, or cannot share its memory.
    """

    def __init__(self, name: str, byte_size: int) -> None:
        self.name, self.byte_size, self.idle_since = name, byte_size, 0.0
        self._cuda = load_cuda()
        self.device = int(_result(self._cuda, self._cuda.cudaGetDevice()))
        self._address = int(_result(self._cuda, self._cuda.cudaMalloc(byte_size)))
        finalize(self, self._cuda.cudaFree, self._address)
        handle = _result(self._cuda, self._cuda.cudaIpcGetMemHandle(self._address))
        self.handle = string_at(handle.getPtr(), self._cuda.CUDA_IPC_HANDLE_SIZE)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Copy ``data`` to ``offset``, and wait until it is there."""
        source = np.frombuffer(data, np.uint8)
        self._copy(self._address + offset, source.ctypes.data, source.size, "cudaMemcpyHostToDevice")
        # A copy from pageable memory returns when it is staged; another process must not look before it has arrived.
        _result(self._cuda, self._cuda.cudaStreamSynchronize(0))

    def read(self, offset: int, byte_size: int) -> bytes:
        """A copy of what lies at ``offset``."""
        target = np.empty(byte_size, np.uint8)
        self._copy(target.ctypes.data, self._address + offset, byte_size, "cudaMemcpyDeviceToHost")
        return target.tobytes()

    def _copy(self, target: int, source: int, byte_size: int, kind: str) -> None:
        kinds = self._cuda.cudaMemcpyKind
        _result(self._cuda, self._cuda.cudaMemcpy(target, source, byte_size, getattr(kinds, kind)))


def load_cuda() -> Any:
    """The runtime of CUDA, on a machine with a GPU.

    Raises:
        SharedMemoryError: its Python package is not installed, or there is no GPU.
    """
    try:
        cuda: Any = import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise SharedMemoryError(
            "sharing the memory of a GPU needs the Python bindings of CUDA", hint="pip install cuda-bindings"
        ) from error
    _result(cuda, cuda.cudaGetDeviceCount())
    return cuda


def _result(cuda: Any, answer: tuple[Any, ...]) -> Any:
    """What a function of CUDA gave back besides its error."""
    error, *values = answer
    if error != cuda.cudaError_t.cudaSuccess:
        words = cuda.cudaGetErrorString(error)[1].decode()
        raise SharedMemoryError(f"this machine's GPU cannot share memory: {words}", hint='use shared_memory="auto"')
    return values[0] if values else None
