# SPDX-License-Identifier: Apache-2.0
"""``repo-tool plan``."""

__all__ = ["plan"]

from pathlib import Path
from typing import Annotated

import typer

from repo_tool.cli.console import console


def plan(
    file: Annotated[Path, typer.Argument(help="What the repository should hold.")] = Path("repo-tool.yaml"),
    repository: Annotated[
        Path | None, typer.Option("--repository", "-r", help="Default: the one that the file names.")
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="Remove every model that is not listed, or none. Default: those that apply had added.",
        ),
    ] = None,
    replace: Annotated[
        list[str] | None, typer.Option(metavar="MODEL", help="Plan a new version of it in any case. May be repeated.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the file's JSON schema, for editors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show what `repo-tool apply` would change. Nothing is loaded, started or written.

    Leaves with 0 when the repository is as the file says, 1 when it is not, 2 when it could not look: as a drift check
    in CI.

    **Example:**

        repo-tool plan repo-tool.yaml
    """
    import json

    if schema:
        from repo_tool.workflows.plan_file import file_schema

        print(json.dumps(file_schema(), indent=2))
        return
    from repo_tool.cli.plan_text import show_plan
    from repo_tool.workflows.plan_repository import plan_repository

    planned = plan_repository(file, repository=repository, prune=prune, replace=replace or ())
    if as_json:
        print(json.dumps(planned.to_dict(), indent=2))
    else:
        show_plan(planned, console())
    if planned.plan:
        raise typer.Exit(1)
