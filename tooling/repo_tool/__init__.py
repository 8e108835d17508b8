# SPDX-License-Identifier: Apache-2.0
"""The toolchain: a trained model into a proven NVIDIA Triton model repository."""

__all__ = ["__version__"]

__version__ = "0.1.0"
