# SPDX-License-Identifier: Apache-2.0
"""Smaller or faster on the way in: an ONNX artifact in half or 8-bit precision, or optimised, if it stays as good."""
