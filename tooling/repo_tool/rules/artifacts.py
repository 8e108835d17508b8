# SPDX-License-Identifier: Apache-2.0
"""Backends, their platforms and the file that each expects in a version directory.

From Triton's ``constants.h``, and ``docs/model_config.md`` of the FIL backend.
"""

__all__ = [
    "DEFAULT_FILENAMES",
    "FIRST_WITH_TORCH_AOTI",
    "PLATFORMS",
    "PLATFORM_FILENAMES",
    "backend_of_file",
    "backend_of_platform",
    "fits_guess",
    "platforms_of",
]

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

FIRST_WITH_TORCH_AOTI = "26.03"  # the platform of model.pt2
# What Triton guesses a backend from, where none is named: not the files of FIL and of repo-tool's own backends.
_GUESSED = ("onnxruntime", "openvino", "python", "pytorch", "tensorflow", "tensorrt")
_FOLDERS = ("model.savedmodel",)
_FILES_OR_FOLDERS = ("model.onnx", "model.py", "model.xml")


def platforms_of(backend: str, release: str) -> tuple[str, ...]:
    """The platforms that a backend is held to in a release; empty where any will do."""
    known = PLATFORMS.get(backend, ())
    return tuple(each for each in known if each != "torch_aoti" or release >= FIRST_WITH_TORCH_AOTI)


def fits_guess(filename: str, *, is_folder: bool) -> bool:
    """Whether Triton takes a file, or a folder, of that name for a model when it guesses the backend."""
    return filename in _FILES_OR_FOLDERS or is_folder == (filename in _FOLDERS)


def backend_of_platform(platform: str) -> str | None:
    """The backend that an old-style ``platform`` alone stands for; None when no Triton knows such a platform."""
    return next((backend for backend, platforms in PLATFORMS.items() if platform in platforms), None)


def backend_of_file(filename: str) -> str | None:
    """The backend that Triton guesses from a file in a version directory; None when it cannot."""
    return next((backend for backend in _GUESSED if filename in DEFAULT_FILENAMES[backend]), None)
