# SPDX-License-Identifier: Apache-2.0
"""Backends, their platforms and the file that each expects in a version directory.

From Triton's ``constants.h``, and ``docs/model_config.md`` of the FIL backend.
"""

__all__ = ["DEFAULT_FILENAMES", "PLATFORMS", "PLATFORM_FILENAMES", "backend_of_file", "backend_of_platform"]

from collections.abc import Mapping

# The first name is what a message suggests; any of them will do.
DEFAULT_FILENAMES: Mapping[str, tuple[str, ...]] = {
    "fil": ("xgboost.json", "xgboost.ubj", "model.txt", "checkpoint.tl", "xgboost.model"),  # by its model_type
    "onnxruntime": ("model.onnx",),
    "openvino": ("model.xml",),
    "python": ("model.py",),
    "pytorch": ("model.pt", "model.pt2"),
    "sklearn": ("model.skops", "model.joblib"),
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "tensorrt": ("model.plan",),
}

# Where the platform says more than the backend.
PLATFORM_FILENAMES: Mapping[str, tuple[str, ...]] = {
    "tensorflow_graphdef": ("model.graphdef",),
    "tensorflow_savedmodel": ("model.savedmodel",),
}

# Only these backends are held to their platform; any other pair passes (model_config_utils.cc).
PLATFORMS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime_onnx",),
    "pytorch": ("pytorch_libtorch", "torch_aoti"),
    "tensorflow": ("tensorflow_savedmodel", "tensorflow_graphdef"),
    "tensorrt": ("tensorrt_plan",),
}


def backend_of_platform(platform: str) -> str | None:
    """The backend that an old-style ``platform`` alone stands for; None when Triton knows no such platform."""
    return next((backend for backend, platforms in PLATFORMS.items() if platform in platforms), None)


def backend_of_file(filename: str) -> str | None:
    """The backend that Triton guesses from a file in a version directory; None when it cannot."""
    guessed = (backend for backend, names in DEFAULT_FILENAMES.items() if filename in names and backend != "fil")
    return next(guessed, None)
