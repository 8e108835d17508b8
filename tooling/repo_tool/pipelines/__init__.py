# SPDX-License-Identifier: Apache-2.0
"""Pre- and post-processing as code: a pipeline.yaml, or the same in Python, compiled to a Triton ensemble."""

from repo_tool.pipelines.building import Pipeline, Steps, for_each, model, repeat, step, when, wire

__all__ = ["Pipeline", "Steps", "for_each", "model", "repeat", "step", "when", "wire"]
