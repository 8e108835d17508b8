# SPDX-License-Identifier: Apache-2.0
"""``repo-tool client``: the commands about what calls the models."""

__all__ = ["client"]

import typer

from repo_tool.cli.client_generate import generate

client = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Typed clients of the models.

    **Example:**

        repo-tool client generate -o clients.py
    """,
)


@client.callback()
def _group() -> None:
    """Keep the group, which has one command as yet."""


client.command("generate")(generate)
