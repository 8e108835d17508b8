# SPDX-License-Identifier: Apache-2.0
"""What deploy/triton/requirements.txt adds to the image: Python models may import it beside numpy."""

__all__ = ["IMAGE_PACKAGES", "IMAGE_VERSIONS"]

from collections.abc import Mapping

# By import name; a test holds the tables and the file together.
IMAGE_PACKAGES: Mapping[str, str] = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "onnx": "onnx",
    "soxr": "soxr",
    "tokenizers": "tokenizers",
}
IMAGE_VERSIONS: Mapping[str, str] = {
    "onnx": "1.23.2",
    "opencv-python-headless": "4.11.0.86",
    "pillow": "13.0.0",
    "soxr": "1.1.0",
    "tokenizers": "0.23.3",
}
