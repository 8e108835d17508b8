# SPDX-License-Identifier: Apache-2.0
"""The parts of the PyTorch importer, and of those that end in a PyTorch module."""
