# SPDX-License-Identifier: Apache-2.0
"""From a framework's model to a signature and an artifact that Triton loads; one module per framework."""
