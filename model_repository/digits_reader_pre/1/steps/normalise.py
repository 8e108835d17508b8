# SPDX-License-Identifier: Apache-2.0
"""Scale uint8 pixels ``[height, width, channels]`` to FP32 by ``(pixel / divide_by - mean) / std``, per channel."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
Layout = Literal["CHW", "HWC"]


def outputs(
    inputs: Wires, *, mean: list[float], std: list[float], divide_by: float = 255.0, layout: Layout = "CHW"
) -> Wires:
    """Pixels become a float tensor, channels first for PyTorch and last for Keras."""
    datatype, dims = inputs["pixels"]
    if datatype != "UINT8" or len(dims) != 3:
        raise ValueError(f"'pixels' must be UINT8 [height, width, channels]; it is {datatype} {list(dims)}")
    height, width, channels = dims
    if not len(mean) == len(std) == channels:
        raise ValueError(f"mean and std need one number for each of the {channels} channels")
    if divide_by == 0 or 0 in std:
        raise ValueError("divide_by and std must not be 0")
    return {"tensor": ("FP32", (channels, height, width) if layout == "CHW" else dims)}


def run(
    pixels: NDArray[Any], *, mean: list[float], std: list[float], divide_by: float = 255.0, layout: Layout = "CHW"
) -> dict[str, NDArray[Any]]:
    """In float32 throughout, in the order that the training code of most libraries has."""
    scaled = pixels.astype(np.float32) / np.float32(divide_by)
    normal = (scaled - np.asarray(mean, dtype=np.float32)) / np.asarray(std, dtype=np.float32)
    tensor = normal.transpose(0, 3, 1, 2) if layout == "CHW" else normal
    return {"tensor": np.ascontiguousarray(tensor, dtype=np.float32)}
