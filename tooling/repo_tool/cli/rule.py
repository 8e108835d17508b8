# SPDX-License-Identifier: Apache-2.0
"""``repo-tool rule``."""

__all__ = ["rule"]

from typing import Annotated

import typer


def rule(
    code: Annotated[str | None, typer.Argument(help="The rule's code, e.g. CFG101.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List every rule with its severity.")] = False,
) -> None:
    """Explain a rule of repo-tool validate: what is wrong, what is right, and why.

    **Example:**

        repo-tool rule SIG109
    """
    from repo_tool.errors import UserMistakeError
    from repo_tool.rules import RULES, find_rule

    if list_all:
        for each in RULES:
            print(f"{each.code}  {each.severity.value:<7}  {each.title}")
        return
    if code is None:
        raise UserMistakeError(
            "no rule was named", cause="the command explains one rule", next_step="repo-tool rule --list shows all"
        )
    found = find_rule(code)
    print(f"{found.code} ({found.severity.value})\n\n{found.documentation}")
