# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline graph``."""

__all__ = ["graph"]

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.pipeline_arguments import RepositoryOption, SourceArgument


def graph(
    pipeline: SourceArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The suffix says the format: svg, mmd (Mermaid), md. `-`: Mermaid, here."),
    ] = Path("-"),
    repository: RepositoryOption = Path("model_repository"),
) -> None:
    """Draw a pipeline: its steps, the Triton models that they become, and what travels between them.

    **Example:**

        repo-tool pipeline graph digits_reader -o graph.svg
    """
    from repo_tool.repository.layout import ModelRepository
    from repo_tool.workflows.pipeline_graph import draw_pipeline

    to_screen = str(output) == "-"
    text = draw_pipeline(pipeline, ModelRepository(repository), suffix=".mmd" if to_screen else output.suffix.lower())
    if to_screen:
        print(text, end="")
        return
    output.write_text(text, encoding="utf-8")
    print(f"wrote {output}")
