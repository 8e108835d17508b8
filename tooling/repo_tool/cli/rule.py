# SPDX-License-Identifier: Apache-2.0
"""``repo-tool rule``."""

__all__ = ["rule"]

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from repo_tool.rules import Rule


def _complete_code(incomplete: str) -> list[str]:
    from repo_tool.rules import RULES

    return [each.code for each in RULES if each.code.startswith(incomplete.upper())]


def rule(
    code: Annotated[
        str | None, typer.Argument(help="The rule's code, e.g. CFG101.", autocompletion=_complete_code)
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List every rule with its severity.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: an object, with --list an array of them.")] = False,
    as_page: Annotated[bool, typer.Option("--page", help="All rules as a Markdown page.")] = False,
) -> None:
    """Explain a rule of repo-tool validate: what is wrong, what is right, and why.

    **Example:**

        repo-tool rule SIG109
    """
    from repo_tool.errors import UserMistakeError
    from repo_tool.rules import RULES, find_rule

    if as_page:
        from repo_tool.rules.render_page import known_disagreements, render_page

        print(render_page(RULES, known_disagreements()), end="")
    elif list_all:
        _show_all(as_json=as_json)
    elif code is None:
        raise UserMistakeError(
            "no rule was named", cause="the command explains one rule", next_step="repo-tool rule --list shows all"
        )
    else:
        _show(find_rule(code), as_json=as_json)


def _show_all(*, as_json: bool) -> None:
    from repo_tool.rules import RULES
    from repo_tool.rules.documentation import rule_facts

    if as_json:
        import json

        print(json.dumps([rule_facts(each) for each in RULES], indent=2))
        return
    for each in RULES:
        print(f"{each.code}  {each.severity.value:<7}  {'fix' if each.fixable else '   '}  {each.title}")


def _show(found: "Rule", *, as_json: bool) -> None:
    from repo_tool.rules.documentation import rule_facts

    facts = rule_facts(found)
    if as_json:
        import json

        print(json.dumps(facts, indent=2))
        return
    print(f"{_bold(found.code)} ({found.severity.value}): {facts['title']}\n")
    if facts["text"]:
        print(f"{facts['text']}\n")
    for label in ("wrong", "right"):
        print(f"{_bold(label.capitalize())}:\n\n{textwrap.indent(facts[label], '    ')}\n")
    mended = "by repo-tool validate --fix" if found.fixable else "by hand"
    for label, words in (
        ("Releases", facts["releases"]),
        ("Mended", mended),
        ("Suppress", facts["suppress"] or "no comment can"),
    ):
        print(f"{_bold(label)}:{' ' * (9 - len(label))}{words}")


def _bold(text: str) -> str:
    from repo_tool.cli.console import console

    return typer.style(text, bold=True) if console().is_terminal and not console().no_color else text
