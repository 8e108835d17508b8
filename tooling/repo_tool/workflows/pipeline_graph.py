# SPDX-License-Identifier: Apache-2.0
"""The drawing of a pipeline, in the format that a file's name asks for."""

__all__ = ["GRAPH_FORMATS", "draw_pipeline"]

from collections.abc import Callable, Mapping
from pathlib import Path

from repo_tool.errors import UserMistakeError
from repo_tool.pipelines.compiler import compile_pipeline
from repo_tool.pipelines.drawing import Figure, pipeline_figure, render_markdown, render_mermaid, render_svg
from repo_tool.repository.layout import ModelRepository
from repo_tool.workflows.pipeline_source import published_version, read_pipeline_source

GRAPH_FORMATS: Mapping[str, Callable[[Figure], str]] = {
    ".svg": render_svg,
    ".mmd": render_mermaid,
    ".md": render_markdown,
}


def draw_pipeline(source: str, repository: ModelRepository, *, suffix: str) -> str:
    """The text of the drawing; ``suffix`` is one of ``GRAPH_FORMATS``.

    Raises:
        UserMistakeError: there is no such format.
        PipelineError: there is no such pipeline, or it cannot work.
    """
    render = GRAPH_FORMATS.get(suffix)
    if render is None:
        raise UserMistakeError(
            f"'{suffix}' is no format of drawings" if suffix else "the drawing's file has no suffix",
            cause=f"the suffix says the format: {', '.join(GRAPH_FORMATS)}",
            next_step="e.g. -o graph.svg",
        )
    pipeline = read_pipeline_source(source, repository)
    version = None if Path(source).is_file() else published_version(source, repository)
    return render(pipeline_figure(pipeline, compile_pipeline(pipeline, repository), version=version))
