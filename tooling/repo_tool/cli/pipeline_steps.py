# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline steps``."""

__all__ = ["steps"]

from typing import TYPE_CHECKING, Annotated, Any

import typer

from repo_tool.cli.pipeline_arguments import complete_step

if TYPE_CHECKING:
    from repo_tool.pipelines.step_facts import StepFacts


def steps(
    name: Annotated[
        str | None, typer.Argument(help="A step; without it, all.", autocompletion=complete_step, metavar="STEP")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: an object, for all steps an array of them.")] = False,
) -> None:
    """List the steps that ship with repo-tool, or tell what one of them takes.

    **Example:**

        repo-tool pipeline steps resize
    """
    from repo_tool.pipelines.step_facts import all_step_facts, step_facts

    found = [step_facts(name)] if name else all_step_facts()
    if as_json:
        import json

        facts: list[dict[str, Any]] = [each.to_dict() for each in found]
        print(json.dumps(facts[0] if name else facts, indent=2))
    elif name:
        _show(found[0])
    else:
        _show_all(found)


def _show_all(found: "list[StepFacts]") -> None:
    from rich.markup import escape
    from rich.table import Table

    from repo_tool.cli.console import console

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("step", no_wrap=True, style="bold")
    table.add_column("what it does")
    for each in found:
        table.add_row(each.name, escape(each.headline))
    console().print(table)


def _show(found: "StepFacts") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from repo_tool.cli.console import console

    out = console()
    out.print(f"[bold]{found.name}[/]: {escape(found.headline)}")
    if found.about:
        out.print(f"\n{escape(found.about)}")
    out.print(f"\nreads: {escape(', '.join(found.inputs) or 'what its parameters name')}")
    if found.parameters:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("parameter", "type", "default"):
            table.add_column(heading, overflow="fold")
        for parameter in found.parameters:
            table.add_row(parameter.name, escape(parameter.type), escape(parameter.default))
        out.print(table)
    if found.packages:
        out.print(f"needs: {', '.join(found.packages)}")
