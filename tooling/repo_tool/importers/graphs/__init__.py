# SPDX-License-Identifier: Apache-2.0
"""What bringing in an ONNX file is made of: its files, its opset, what is mended in it, and ONNX's own evaluator."""
