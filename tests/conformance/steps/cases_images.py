# SPDX-License-Identifier: Apache-2.0
"""Cases of the steps that work on pictures."""

import base64
import io

import numpy as np
from PIL import Image

from support.step_cases import Case, list_of_rows, rows_of_bytes

RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (5, 9, 7, 1), dtype=np.uint8)
FLOATS = RANDOM.normal(size=(5, 9, 7, 3)).astype(np.float32)
SIZES = [(9, 7, 3), (12, 8, 3), (8, 15, 3), (30, 9, 3), (8, 7, 3)]
PICTURES = list_of_rows(SIZES, np.uint8)


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    return stream.getvalue()


def png(seed, size=(9, 7)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


FILES = [png(seed, size=(9 + seed, 7)) for seed in range(5)]
ROWS_OF_FILES = rows_of_bytes(*FILES)

CASES = {
    "decode_image": Case({"image": rows_of_bytes(*map(png, range(5)))}, {"height": 4, "width": 6, "mode": "RGB"}),
    "decode_image: sizes of their own": Case({"image": ROWS_OF_FILES}, {"mode": "RGBA"}),
    "decode_image: base64": Case(
        {"image": rows_of_bytes(*map(base64.b64encode, FILES))}, {"encoding": "base64", "mode": "L"}
    ),
    "resize": Case({"pixels": PIXELS}, {"height": 5, "width": 11}),
    "resize: pil, nearest": Case({"pixels": PIXELS}, {"height": 5, "width": 11, "interpolation": "nearest"}),
    "resize: pil, bicubic, larger": Case({"pixels": GREY}, {"height": 13, "width": 20, "interpolation": "bicubic"}),
    "resize: pil, area, smaller": Case({"pixels": PIXELS}, {"height": 4, "width": 5, "interpolation": "area"}),
    "resize: pil, lanczos": Case({"pixels": PIXELS}, {"height": 12, "width": 3, "interpolation": "lanczos"}),
    "resize: opencv, nearest, floats": Case(
        {"pixels": FLOATS}, {"shorter": 13, "library": "opencv", "interpolation": "nearest"}
    ),
    "resize: opencv, area, grey": Case(
        {"pixels": GREY}, {"longer": 4, "library": "opencv", "interpolation": "area", "other_side": "round"}
    ),
    "resize: sizes of their own": Case({"pixels": PICTURES}, {"height": 5, "width": 6, "interpolation": "lanczos"}),
    "resize: sizes of their own, the shorter side": Case({"pixels": PICTURES}, {"shorter": 5}),
    "centre_crop": Case({"pixels": PIXELS}, {"height": 4, "width": 4}),
    "centre_crop: torchvision": Case({"pixels": FLOATS}, {"height": 6, "width": 2, "convention": "torchvision"}),
    "centre_crop: sizes of their own": Case({"pixels": PICTURES}, {"height": 8, "width": 6}),
    "pad": Case({"pixels": PIXELS}, {"height": 12, "width": 8, "fill": 114}),
    "pad: a colour, sizes of their own": Case({"pixels": PICTURES}, {"height": 31, "width": 16, "fill": [1, 2, 3]}),
    "pad: floats, at the top left": Case(
        {"pixels": FLOATS}, {"height": 9, "width": 8, "fill": -0.5, "place": "top_left"}
    ),
    "scale": Case({"values": PIXELS}, {"divide_by": 127.5, "offset": -1.0}),
    "scale: by a factor": Case({"values": FLOATS}, {"factor": 1 / 255, "offset": 0.1}),
    "scale: sizes of their own": Case({"values": PICTURES}, {"factor": 0.5}),
    "normalise": Case({"pixels": PIXELS}, {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}),
    "normalise: floats, channels last": Case(
        {"pixels": FLOATS}, {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3], "layout": "HWC"}
    ),
    "normalise: floats, divided": Case(
        {"pixels": FLOATS}, {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3], "divide_by": 127.5}
    ),
    "normalise: sizes of their own": Case({"pixels": PICTURES}, {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}),
    "greyscale": Case({"pixels": PIXELS}),
    "greyscale: opencv": Case({"pixels": PIXELS}, {"library": "opencv"}),
    "greyscale: sizes of their own": Case({"pixels": PICTURES}),
    "channel_order": Case({"pixels": PIXELS}),
    "channel_order: channels first": Case({"pixels": FLOATS.transpose(0, 3, 1, 2)}, {"layout": "CHW"}),
    "channel_order: sizes of their own": Case({"pixels": PICTURES}),
    "layout": Case({"pixels": PIXELS}, {"to": "CHW"}),
    "layout: channels last": Case({"pixels": FLOATS.transpose(0, 3, 1, 2)}, {"to": "HWC"}),
    "layout: sizes of their own": Case({"pixels": PICTURES}, {"to": "CHW"}),
    "cast": Case({"values": PIXELS}, {"datatype": "FP32"}),
    "cast: to integers": Case({"values": FLOATS * 40}, {"datatype": "INT16", "rounding": "nearest"}),
    "cast: to fewer bits": Case({"values": FLOATS}, {"datatype": "FP16"}),
    "cast: sizes of their own": Case({"values": PICTURES}, {"datatype": "INT64"}),
}
