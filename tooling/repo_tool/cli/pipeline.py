# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline``: the commands about what happens before and after a model."""

__all__ = ["pipeline"]

import typer

from repo_tool.cli.pipeline_check import check
from repo_tool.cli.pipeline_explain import explain
from repo_tool.cli.pipeline_graph import graph
from repo_tool.cli.pipeline_run import run
from repo_tool.cli.pipeline_schema import schema
from repo_tool.cli.pipeline_steps import steps
from repo_tool.cli.rollback import rollback

pipeline = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Check, explain, draw and run pipelines: what happens before and after a model.

    A pipeline is named by its file (`pipeline.yaml`, `pipeline.py:name`), a published one by its name.
    `repo-tool add-pipeline` publishes it.

    **Example:**

        repo-tool pipeline check pipeline.yaml
    """,
)
pipeline.command("check")(check)
pipeline.command("explain")(explain)
pipeline.command("graph")(graph)
pipeline.command("run")(run)
pipeline.command("steps")(steps)
pipeline.command("rollback", hidden=True)(rollback)  # what it was called while only pipelines could
pipeline.command("schema")(schema)
