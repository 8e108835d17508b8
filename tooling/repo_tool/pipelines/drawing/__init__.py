# SPDX-License-Identifier: Apache-2.0
"""Pipelines as pictures: what is drawn, where it lies, and the formats it is written in."""

from repo_tool.pipelines.drawing.figure import Box, BoxKind, Edge, Figure, Node, NodeKind
from repo_tool.pipelines.drawing.from_pipeline import pipeline_figure
from repo_tool.pipelines.drawing.markdown import render_markdown
from repo_tool.pipelines.drawing.mermaid import render_mermaid
from repo_tool.pipelines.drawing.svg import render_svg

__all__ = [
    "Box",
    "BoxKind",
    "Edge",
    "Figure",
    "Node",
    "NodeKind",
    "pipeline_figure",
    "render_markdown",
    "render_mermaid",
    "render_svg",
]
