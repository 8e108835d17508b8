# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that work on pictures."""

import io

import numpy as np
from PIL import Image

from support.step_cases import Case, rows_of_bytes

RANDOM = np.random.default_rng(3)


def png(seed, size=(9, 7)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


CASES = {
    "decode_image": Case({"image": rows_of_bytes(*map(png, range(5)))}, {"height": 4, "width": 6, "mode": "RGB"}),
    "normalise": Case(
        {"pixels": RANDOM.integers(0, 255, (5, 4, 6, 3), dtype=np.uint8)}, {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}
    ),
}
