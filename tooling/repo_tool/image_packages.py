# SPDX-License-Identifier: Apache-2.0
"""What deploy/triton/requirements.txt adds to the image: Python models may import it beside numpy."""

__all__ = ["IMAGE_PACKAGES"]

from collections.abc import Mapping

# By import name; a test holds the two together.
IMAGE_PACKAGES: Mapping[str, str] = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "onnx": "onnx",
    "soxr": "soxr",
    "tokenizers": "tokenizers",
}
