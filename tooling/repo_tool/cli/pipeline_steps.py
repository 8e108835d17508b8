# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline steps``."""

__all__ = ["steps"]

from typing import Annotated

import typer


def _complete_step(incomplete: str) -> list[str]:
    from repo_tool.pipelines.catalogue import step_names

    return [name for name in step_names() if name.startswith(incomplete)]


def steps(
    name: Annotated[
        str | None,
        typer.Argument(help="The step, e.g. resize; without it all are listed.", autocompletion=_complete_step),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: an object, without a name an array of them.")] = False,
    as_page: Annotated[bool, typer.Option("--page", help="All steps as a Markdown page.")] = False,
) -> None:
    """Tell what a shipped step does: its parameters, what it takes and gives, and where it runs.

    **Example:**

        repo-tool pipeline steps resize
    """
    if as_page:
        from repo_tool.pipelines.step_page import steps_page

        print(steps_page(), end="")
    elif as_json:
        print(_json(name))
    elif name is None:
        _list()
    else:
        _show(name)


def _json(name: str | None) -> str:
    import json

    from repo_tool.pipelines.catalogue import step_kind, step_names
    from repo_tool.pipelines.step_page import step_facts

    facts = [step_facts(step_kind(each)) for each in ([name] if name else step_names())]
    return json.dumps(facts[0] if name else facts, indent=2, ensure_ascii=False, default=str)


def _list() -> None:
    from repo_tool.pipelines.catalogue import step_kind, step_names
    from repo_tool.pipelines.step_page import step_facts

    widest = max(map(len, step_names()))
    for name in step_names():
        facts = step_facts(step_kind(name))
        print(f"{name:<{widest}}  {'ONNX' if facts['graph'] else '    '}  {facts['summary'].replace('`', '')}")


def _show(name: str) -> None:
    from rich.markdown import Markdown

    from repo_tool.cli.console import console
    from repo_tool.pipelines.catalogue import step_kind
    from repo_tool.pipelines.step_page import step_markdown

    text = f"## {name}\n\n{step_markdown(step_kind(name))}"
    if console().is_terminal:
        console().print(Markdown(text))
    else:
        print(text, end="")
