# SPDX-License-Identifier: Apache-2.0
"""Where each part of a pipeline runs and why, of a file or of what is published."""

__all__ = ["explain_pipeline"]

from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.explain import Explanation, explain
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.pipeline_source import read_pipeline_source


def explain_pipeline(source: str, repository: ModelRepository) -> Explanation:
    """Compile it and say what became of it; nothing is written.

    Raises:
        PipelineError: there is no such pipeline, or it cannot work.
    """
    return explain(compile_pipeline(read_pipeline_source(source, repository), repository))
