# SPDX-License-Identifier: Apache-2.0
"""Turn RGB pixels into BGR ones, or back."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Wires = dict[str, tuple[str, tuple[int, ...]]]
_PLACE = {"HWC": 2, "CHW": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOrder:
    """Red and blue change places; of four channels the last stays, as alpha does. ``layout`` is that of the pixels."""

    layout: Literal["HWC", "CHW"] = "HWC"

    def outputs(self, inputs: Wires) -> Wires:
        """Datatype and dims stay."""
        datatype, dims = inputs["pixels"]
        if len(dims) != 3 or datatype == "BYTES" or dims[_PLACE[self.layout]] not in (3, 4):
            wanted = "[height, width, channels]" if self.layout == "HWC" else "[channels, height, width]"
            raise ValueError(f"'pixels' must be numbers {wanted} of 3 or 4 channels; they are {datatype} {list(dims)}")
        return {"reordered": (datatype, dims)}

    def run(self, pixels: Any) -> dict[str, Any]:
        """All rows at once, or one after another where they have sizes of their own."""
        if isinstance(pixels, list):
            return {"reordered": [self._reordered(picture[None])[0] for picture in pixels]}
        return {"reordered": self._reordered(pixels)}

    def _reordered(self, pixels: NDArray[Any]) -> NDArray[Any]:
        axis = _PLACE[self.layout] + 1
        return np.take(pixels, _order(pixels.shape[axis]), axis=axis)

    def graph(self, op: Any, inputs: Wires, pixels: Any) -> dict[str, Any]:
        """Gather along the channels."""
        channels = inputs["pixels"][1][_PLACE[self.layout]]
        return {"reordered": op.Gather(pixels, _order(channels), axis=_PLACE[self.layout] + 1)}


def _order(channels: int) -> list[int]:
    return [2, 1, 0, *range(3, channels)]
