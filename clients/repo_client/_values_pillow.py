# SPDX-License-Identifier: Apache-2.0
"""Images of Pillow: rows, columns and channels of uint8, channels last."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from repo_client._refusals import Target, wrong_shape, wrong_type

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels


def read_image(image: Any, target: Target) -> NDArray[Any]:
    """The pixels as ``[1, height, width, channels]``, or with fewer dimensions where the tensor has fewer.

    Raises:
        DatatypeError: the pixels are places in a palette or other colours than red, green and blue, or the model wants
            the bytes of a file.
        ShapeError: another size, other channels, or channels first.
    """
    if target.datatype.name == "BYTES":
        raise wrong_type(target, "a Pillow image", hint="the model decodes images itself: pass the bytes of the file")
    if image.mode in ("P", "PA"):
        raise wrong_type(target, "an image whose pixels are places in a palette", hint='pass image.convert("RGB")')
    if len(image.getbands()) > 2 and image.mode not in _MODES.values():
        mode = _MODES.get(target.tensor.shape[-1], "RGB") if target.tensor.shape else "RGB"
        hint = f'pass image.convert("{mode}"), or numpy.asarray(image) to a model that was trained on {image.mode}'
        raise wrong_type(target, f"an image of {image.mode}", hint=hint)
    pixels = _with_missing_axes(np.asarray(image), target.tensor.shape)
    _check_shape(image, pixels.shape, target)
    return pixels


def _with_missing_axes(pixels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if pixels.ndim == 2 and len(shape) > 2 and (shape[-1] == 1 or (len(shape) == 4 and shape[-1] == -1)):
        pixels = pixels[..., np.newaxis]
    return pixels[np.newaxis] if pixels.ndim == len(shape) - 1 else pixels


def _check_shape(image: Any, found: tuple[int, ...], target: Target) -> None:
    shape = target.tensor.shape
    if all(size in (-1, has) for size, has in zip(shape, found, strict=False)) and len(found) == len(shape):
        return
    channels = len(image.getbands())
    if len(shape) >= 3 and shape[-3] == channels and (shape[-1] != channels or shape[-2:] == found[-3:-1]):
        first = "numpy.ascontiguousarray(numpy.asarray(image).transpose(2, 0, 1)[numpy.newaxis])"
        hint = f"the model's channels come first: pass {first}"
    elif len(shape) >= 3 and shape[-1] in _MODES and shape[-1] != channels:
        hint = f'the image has mode {image.mode}: pass image.convert("{_MODES[shape[-1]]}")'
    else:
        hint = _size_hint(image, shape, channels)
    raise wrong_shape(target, found, hint=hint)


def _size_hint(image: Any, shape: tuple[int, ...], channels: int) -> str:
    sizes = shape[-3:-1] if len(shape) >= 3 and shape[-1] in (-1, channels) else shape[-2:]
    if len(sizes) < 2:
        return ""
    height, width = (size if size > 0 else has for size, has in zip(sizes, (image.height, image.width), strict=True))
    return f"resize it: image.resize(({width}, {height}))"
