# SPDX-License-Identifier: Apache-2.0
"""Pre- and post-processing as code: a pipeline.yaml compiled to a Triton ensemble."""
