# SPDX-License-Identifier: Apache-2.0
"""Tell how large each picture is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSize:
    """Height and width in pixels, before a resize makes all of one size: what ``boxes_to_picture`` needs."""

    def outputs(self, inputs: Wires) -> Wires:
        """Two whole numbers for each picture."""
        datatype, dims = inputs["pixels"]
        if datatype not in ("UINT8", "FP16", "FP32", "FP64") or len(dims) != 3:
            raise ValueError(
                f"'pixels' must be UINT8 or floats [height, width, channels]; they are {datatype} {list(dims)}"
            )
        return {"size": ("INT64", (2,))}

    def run(self, pixels: Any) -> dict[str, NDArray[Any]]:
        """Of each row."""
        return {"size": np.array([picture.shape[:2] for picture in pixels], dtype=np.int64).reshape(-1, 2)}
